"""Webhooks of GitLab: register ours once, look after it. Source: GitLab REST API, v4, hooks."""

import base64
import secrets as randomness
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from adapters.gitlab import GitLab, same
from adapters.hook_values import (
    Hook,
    HookHealth,
    HookScope,
    HookTarget,
    Registered,
    Verification,
)
from fleet.errors import Refused
from fleet.webhook_secrets import WebhookSecrets

__all__ = [
    "HookHealth",
    "HookScope",
    "HookTarget",
    "Registered",
    "Verification",
    "WebhookSecretStore",
    "hook_health",
    "list_hooks",
    "register_webhook",
    "scope_of",
    "test_hook",
]


class WebhookSecretStore(Protocol):
    """Where the secrets are kept; see `SecretStore`."""

    def webhook_secrets(self, name: str) -> WebhookSecrets:
        """What is stored; empty where nothing is."""

    def store_webhook_secrets(self, name: str, secrets: WebhookSecrets) -> None:
        """Store all of them."""


def register_webhook(
    gitlab: GitLab,
    store: WebhookSecretStore,
    target: HookTarget,
    *,
    record: Callable[[Registered], None],
    rotate: bool = False,
) -> Registered:
    """Make or mend the hook of `target`; `record` is told what it is now. May be repeated.

    A new secret is stored before GitLab gets it and the one before it stays valid, so no delivery
    is refused on the way. A hook that is as it should be is left alone unless `rotate`.
    """
    stored = store.webhook_secrets(target.secret_name)
    found = (hook for hook in _hooks(gitlab, target.scope) if hook.is_for(target))
    registration = _Registration(
        gitlab=gitlab, store=store, target=target, hook=next(found, None), stored=stored
    )
    if not rotate and not stored.is_empty:
        registered = registration.keep()
    elif stored.tokens and not stored.signing:
        registered = registration.move_to_signing()
    else:
        registered = registration.renew()
    record(registered)
    return registered


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registration:
    gitlab: GitLab
    store: WebhookSecretStore
    target: HookTarget
    hook: Hook | None  # as found
    stored: WebhookSecrets  # as found

    def keep(self) -> Registered:
        """With the secret that is stored: the stack's other hooks use it too."""
        kind: Verification = "signing-token" if self.stored.signing else "secret-token"
        if self.hook and self.hook.fits(self.target, kind):
            return self.hook.registered(self.target, kind, changed=False)
        saved = self._save(self.hook, _demanded(self.stored))
        if self.stored.signing and not saved.signing_token_present:
            if self.hook is None:
                self.gitlab.api.delete(f"{self.target.scope.path}/{saved.id}")
            raise Refused(
                "this GitLab takes no signing token, but the stack demands one: "
                "run it with --rotate to go back to a secret token"
            )
        return saved.registered(self.target, kind)

    def renew(self) -> Registered:
        """With a new signing token, or a new secret token where GitLab cannot sign."""
        stored = self.stored
        newer = WebhookSecrets(signing=(_new_signing_token(), *stored.signing[:1]))
        saved = self._store_then_save(self.hook, newer)
        if saved.signing_token_present:
            return saved.registered(self.target, "signing-token")
        # GitLab before 19.0 ignores the parameter without a word
        older = WebhookSecrets(tokens=(_new_token(), *stored.tokens[:1]))
        saved = self._store_then_save(saved, older)
        return saved.registered(self.target, "secret-token")

    def move_to_signing(self) -> Registered:
        """With a new secret token, and a signing token where GitLab now can.

        The hook then sends both proofs, so the webhook function may change over at any time.
        """
        newer = WebhookSecrets(tokens=(_new_token(), *self.stored.tokens[:1]))
        both = WebhookSecrets(signing=(_new_signing_token(),), tokens=newer.tokens)
        saved = self._store_then_save(self.hook, newer, sends=both)
        if not saved.signing_token_present:
            return saved.registered(self.target, "secret-token")
        self._put(both)
        return saved.registered(self.target, "signing-token")

    def _store_then_save(
        self, hook: Hook | None, newer: WebhookSecrets, *, sends: WebhookSecrets | None = None
    ) -> Hook:
        self._put(newer)
        try:
            return self._save(hook, sends or newer)
        except Refused:
            # GitLab has not taken it: a second try must not push out what the hook still has
            self._put(self.stored)
            raise

    def _put(self, secrets: WebhookSecrets) -> None:
        self.store.store_webhook_secrets(self.target.secret_name, secrets)

    def _save(self, hook: Hook | None, secrets: WebhookSecrets) -> Hook:
        body = self.target.body()
        if secrets.signing:
            body["signing_token"] = secrets.signing[0]
        if secrets.tokens:
            body["token"] = secrets.tokens[0]
        path = self.target.scope.path
        api = self.gitlab.api
        return Hook.read(api.put(f"{path}/{hook.id}", body) if hook else api.post(path, body))


def scope_of(
    gitlab: GitLab, *, project: str | int | None = None, group: str | int | None = None
) -> HookScope:
    """The scope by id or path; raises `Refused` unless exactly one of the two is given."""
    if (project is None) == (group is None):
        raise Refused("name either a project or a group")
    if project is not None:
        return HookScope(kind="project", id=gitlab.project(project).id)
    assert group is not None
    return HookScope(kind="group", id=gitlab.group(group))


def list_hooks(gitlab: GitLab, scope: HookScope) -> list[HookHealth]:
    """Every hook of the scope, ours or not."""
    return [hook.health for hook in _hooks(gitlab, scope)]


def hook_health(gitlab: GitLab, scope: HookScope, hook_id: int) -> HookHealth | None:
    """Whether GitLab still calls the hook; None when somebody deleted it."""
    try:
        hook = Hook.read(gitlab.api.get(f"{scope.path}/{hook_id}"))
    except Refused as exc:
        if exc.facts.get("status") == 404:
            return None
        raise
    return same(hook, hook_id).health


def test_hook(gitlab: GitLab, scope: HookScope, hook_id: int) -> None:
    """Have GitLab send a sample job event: also what brings a disabled hook back.

    Raises `Refused` when our answer was not 2xx or there is no job to sample; GitLab allows five
    a minute, then `Transient`.
    """
    gitlab.api.post(f"{scope.path}/{hook_id}/test/job_events")


def _hooks(gitlab: GitLab, scope: HookScope) -> Iterator[Hook]:
    return (Hook.read(body) for body in gitlab.api.pages(scope.path))


def _demanded(secrets: WebhookSecrets) -> WebhookSecrets:
    """Without secret tokens where a signing token makes them useless."""
    return WebhookSecrets(signing=secrets.signing) if secrets.signing else secrets


def _new_signing_token() -> str:
    return "whsec_" + base64.b64encode(randomness.token_bytes(32)).decode()


def _new_token() -> str:
    return randomness.token_urlsafe(32)
