"""Webhooks of GitLab: registration and health. Source: GitLab REST API, v4, hooks."""

import base64
import secrets as randomness
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Protocol

from adapters.gitlab.client import GitLab, with_id
from adapters.gitlab.hook_values import (
    GitLabHook,
    HookHealth,
    HookTarget,
    Registered,
    SampleReceipt,
    Verification,
    deliveries_in,
    hooks_path,
    receipts_in,
)
from fleet.errors import Refused
from fleet.hook_scope import HookScope
from fleet.rules.hook_health import HookFault, judge_deliveries
from fleet.webhook_secrets import DOUBT_EVERY, KEPT, AllWebhookSecrets, WebhookSecrets, secret_id

# By then every function knows a stored secret, and GitLab gets it.
SETTLE_S = DOUBT_EVERY.total_seconds() + 1.0

# GitLab's newest deliveries of a hook: one page of its list is enough to judge by.
_LOOKED_AT = 5
_RECEIPTS = 20


class WebhookSecretStore(Protocol):
    """Stores the secrets of all hooks; see `HookSecretStore`."""

    def read(self) -> AllWebhookSecrets:
        """The stored secrets, by hook."""

    def change(self, hook: str, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        """Store the secrets of one hook instead of those `before`; all others stay."""


def register_webhook(  # noqa: PLR0913  # the clock and the time of before among them
    gitlab: GitLab,
    store: WebhookSecretStore,
    target: HookTarget,
    *,
    record: Callable[[Registered], None],
    rotate: bool = False,
    since: datetime | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Registered:
    """Make or correct the hook of `target`, and call `record` with it. May be repeated.

    Each hook has secrets of its own. A new secret is stored before GitLab gets it, and older ones
    stay valid until a delivery uses it, so no delivery is refused meanwhile. A correct hook stays
    as it is, unless `rotate`; a hook whose deliveries were refused after `since`, its last
    registration, gets a new secret.
    """
    hooks = (hook for hook in _hooks(gitlab, target.scope) if hook.is_for(target))
    registration = _Registration(
        gitlab=gitlab,
        store=store,
        target=target,
        hook=next(hooks, None),
        stored=store.read().get(target.name, WebhookSecrets()),
        pause=pause,
    )
    if rotate or registration.stored.is_empty or registration.is_refused(since):
        registered = registration.renew()
    else:
        registered = registration.keep()
    record(registered)
    return registered


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registration:
    gitlab: GitLab
    store: WebhookSecretStore
    target: HookTarget
    hook: GitLabHook | None  # in GitLab, before
    stored: WebhookSecrets  # before
    pause: Callable[[float], None]

    def is_refused(self, since: datetime | None) -> bool:
        """Whether the stored secrets refuse GitLab's deliveries."""
        if self.hook is None:
            return False
        fault = hook_fault(self.gitlab, self.target.scope, self.hook.id, since=since)
        return fault is not None and fault.needs_secret

    def keep(self) -> Registered:
        """With the newest secret that is stored for it."""
        kind: Verification = "signing-token" if self.stored.signing else "secret-token"
        if self.hook and self.hook.fits(self.target, kind):
            return self._registered(self.hook, self.stored, changed=False)
        saved = self._save(self.hook, _demanded(self.stored))
        if self.stored.signing and not saved.signing_token_present:
            # this GitLab can no longer sign
            return replace(self, hook=saved).renew()
        return self._registered(saved, self.stored)

    def renew(self) -> Registered:
        """With a new signing token, or a new secret token where GitLab cannot sign."""
        if self.stored.tokens and not self.stored.signing:
            return self._move_to_signing()
        newer = WebhookSecrets(signing=_with_newest(self.stored.signing, _new_signing_token))
        saved = self._store_then_save(self.hook, newer)
        if saved.signing_token_present:
            return self._registered(saved, newer)
        # GitLab before 19.0 ignores the parameter
        older = WebhookSecrets(tokens=_with_newest(self.stored.tokens, _new_token))
        return self._registered(self._store_then_save(saved, older, before=newer), older)

    def _move_to_signing(self) -> Registered:
        """With a new secret token, and a signing token where GitLab now can.

        The hook then sends both proofs, so the webhook function may change over at any time.
        """
        newer = WebhookSecrets(tokens=_with_newest(self.stored.tokens, _new_token))
        both = WebhookSecrets(signing=(_new_signing_token(),), tokens=newer.tokens)
        saved = self._store_then_save(self.hook, newer, sends=both)
        if not saved.signing_token_present:
            return self._registered(saved, newer)
        self._put(both, before=newer)
        return self._registered(saved, both)

    def _store_then_save(
        self,
        hook: GitLabHook | None,
        newer: WebhookSecrets,
        *,
        before: WebhookSecrets | None = None,
        sends: WebhookSecrets | None = None,
    ) -> GitLabHook:
        self._put(newer, before=self.stored if before is None else before)
        if hook is not None:
            self.pause(SETTLE_S)
        try:
            return self._save(hook, sends or newer)
        except Refused:
            # GitLab has not taken it: it is of no use, and one more try stores another
            self._put(self.stored, before=newer)
            raise

    def _put(self, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        self.store.change(self.target.name, secrets, before=before)

    def _save(self, hook: GitLabHook | None, secrets: WebhookSecrets) -> GitLabHook:
        body = self.target.body()
        if secrets.signing:
            body["signing_token"] = secrets.signing[0]
        if secrets.tokens:
            body["token"] = secrets.tokens[0]
        if hook and hook.custom_headers:
            body["custom_headers"] = []
        path = self.target.path
        api = self.gitlab.api
        return GitLabHook.read(api.put(f"{path}/{hook.id}", body) if hook else api.post(path, body))

    def _registered(
        self, hook: GitLabHook, secrets: WebhookSecrets, *, changed: bool = True
    ) -> Registered:
        return Registered(
            hook_id=hook.id,
            name=self.target.name,
            url=hook.url,
            scope=self.target.scope,
            verification="signing-token" if secrets.signing else "secret-token",
            secret_ids=tuple(map(secret_id, secrets.demanded)),
            changed=changed,
        )


def require_one_owner(*, project: str | int | None, group: str | int | None) -> None:
    """Raise `Refused` unless exactly one of the two is given."""
    if (project is None) == (group is None):
        raise Refused("name either a project or a group")


def scope_of(
    gitlab: GitLab, *, project: str | int | None = None, group: str | int | None = None
) -> HookScope:
    """The scope by id or path; raises `Refused` unless exactly one of the two is given."""
    require_one_owner(project=project, group=group)
    if project is not None:
        return HookScope(kind="project", id=gitlab.project(project).id)
    assert group is not None
    return HookScope(kind="group", id=gitlab.group(group))


def list_hooks(gitlab: GitLab, scope: HookScope) -> list[HookHealth]:
    """Every hook of the scope, ours or not."""
    return [hook.health for hook in _hooks(gitlab, scope)]


def hooks_at(gitlab: GitLab, target: HookTarget) -> list[HookHealth]:
    """Those hooks of the target's scope that post to its address."""
    return [hook.health for hook in _hooks(gitlab, target.scope) if hook.is_for(target)]


def delete_hook(gitlab: GitLab, scope: HookScope, hook_id: int) -> None:
    """Delete a hook that may be gone already."""
    try:
        gitlab.api.delete(f"{hooks_path(scope)}/{hook_id}")
    except Refused as exc:
        if exc.facts.get("status") != 404:
            raise


def hook_health(gitlab: GitLab, scope: HookScope, hook_id: int) -> HookHealth | None:
    """Whether GitLab still calls the hook; None for a deleted hook."""
    try:
        hook = GitLabHook.read(gitlab.api.get(f"{hooks_path(scope)}/{hook_id}"))
    except Refused as exc:
        if exc.facts.get("status") == 404:
            return None
        raise
    return with_id(hook, hook_id).health


def test_hook(gitlab: GitLab, scope: HookScope, hook_id: int) -> None:
    """Have GitLab send a sample job event, which also enables a disabled hook.

    Raises `Refused` when our answer was not 2xx or there is no job to sample; GitLab allows five
    a minute, then `Transient`.
    """
    gitlab.api.post(f"{hooks_path(scope)}/{hook_id}/test/job_events")


def receipts(gitlab: GitLab, scope: HookScope, hook_id: int) -> tuple[SampleReceipt, ...]:
    """What our webhook answered to GitLab's newest deliveries, newest first; none without a list.

    GitLab has it from 17.3 on. Source: GitLab REST API, "List all events for a project webhook".
    """
    try:
        listed = gitlab.api.pages(f"{hooks_path(scope)}/{hook_id}/events", per_page=_RECEIPTS)
        read = receipts_in(islice(listed, _RECEIPTS))
    except Refused:
        return ()
    return tuple(sorted(read, key=lambda receipt: receipt.id, reverse=True))


def resend(gitlab: GitLab, scope: HookScope, hook_id: int, delivery_id: int) -> None:
    """Have GitLab send a delivery again; five a minute, then `Transient`."""
    gitlab.api.post(f"{hooks_path(scope)}/{hook_id}/events/{delivery_id}/resend")


def hook_fault(
    gitlab: GitLab, scope: HookScope, hook_id: int, *, since: datetime | None
) -> HookFault | None:
    """What GitLab's own list of deliveries after `since` says is wrong; None also without a list.

    GitLab has it from 17.3 on. Source: GitLab REST API, "List all events for a project webhook".
    """
    try:
        listed = gitlab.api.pages(f"{hooks_path(scope)}/{hook_id}/events", per_page=_LOOKED_AT)
        deliveries = deliveries_in(islice(listed, _LOOKED_AT))
    except Refused:
        return None  # an older GitLab, or a token that may not see it
    return judge_deliveries(deliveries, since=since)


def _hooks(gitlab: GitLab, scope: HookScope) -> Iterator[GitLabHook]:
    return (GitLabHook.read(body) for body in gitlab.api.pages(hooks_path(scope)))


def _demanded(secrets: WebhookSecrets) -> WebhookSecrets:
    """Without secret tokens where a signing token makes them useless."""
    return WebhookSecrets(signing=secrets.signing) if secrets.signing else secrets


def _with_newest(kept: tuple[str, ...], make: Callable[[], str]) -> tuple[str, ...]:
    """With a new secret first, unless `KEPT` of them are unconfirmed."""
    return kept if len(kept) >= KEPT else (make(), *kept)


def _new_signing_token() -> str:
    return "whsec_" + base64.b64encode(randomness.token_bytes(32)).decode()


def _new_token() -> str:
    return randomness.token_urlsafe(32)
