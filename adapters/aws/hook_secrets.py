"""The secrets of all webhooks, which one process at a time changes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from secrets import token_hex
from typing import Protocol

from adapters.aws.secrets import SecretStore
from fleet.errors import Transient
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets

LEASE = "webhook-secrets"
TRIES = 20
TRY_EVERY_S = 0.5


class Leases(Protocol):
    """Gives a lease to one holder at a time; the ledger does."""

    def take_lease(self, name: str, holder: str, *, at: datetime) -> bool:
        """Whether the holder has the lease, alone, until it releases it."""

    def release_lease(self, name: str, holder: str) -> None:
        """Free the lease, unless it has another holder by now."""


class HookSecretStore:
    """One secret holds those of every webhook; each change reads, changes and writes all of it.

    Secrets Manager writes without a condition: of two changes at once the later one would undo the
    earlier one and lock a webhook out. A lease in the ledger prevents that.
    """

    def __init__(
        self,
        store: SecretStore,
        name: str,
        leases: Leases,
        clock: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._name = name
        self._leases = leases
        self._clock = clock
        self._pause = pause

    def read(self) -> AllWebhookSecrets:
        """The stored secrets, by webhook."""
        return self._store.newest_webhook_secrets(self._name)

    def change(self, hook: str, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        """Store the secrets of one webhook instead of those `before`, which the caller has read.

        `Transient` when they are others by now, as GitLab may use one of those, or when another
        process holds the lease.
        """
        with self._alone():
            stored = self.read()
            if stored.get(hook, WebhookSecrets()) != before:
                raise Transient("another process gives this webhook a secret: run this again")
            self._store.store_webhook_secrets(self._name, {**stored, hook: secrets})

    def drop_older(self, hook: str, secret_id: str) -> WebhookSecrets:
        """Delete the secrets of a webhook older than the one that GitLab uses; the kept ones."""
        with self._alone():
            everything = self.read()
            before = everything.get(hook, WebhookSecrets())
            kept = before.without_older_than(secret_id)
            if kept != before:
                self._store.store_webhook_secrets(self._name, {**everything, hook: kept})
            return kept

    @contextmanager
    def _alone(self) -> Iterator[None]:
        holder = token_hex(8)
        for _ in range(TRIES):
            if self._leases.take_lease(LEASE, holder, at=self._clock()):
                break
            self._pause(TRY_EVERY_S)
        else:
            raise Transient("webhook secrets are just being changed by another: try again")
        try:
            yield
        finally:
            self._leases.release_lease(LEASE, holder)
