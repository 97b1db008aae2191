"""Registering the webhook: what reaches GitLab and the store, in which order, also when it fails.

`tests/integration/test_hooks.py` shows on a GitLab that deliveries are accepted afterwards.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookTarget, Registered
from adapters.gitlab.hooks import (
    hook_health,
    list_hooks,
    register_webhook,
    scope_of,
    test_hook as send_sample,
)
from fleet.errors import FleetError, Refused, Transient
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import (
    KEPT,
    AllWebhookSecrets,
    WebhookSecrets,
    secret_id,
    webhook_name,
)
from tests.unit.adapters.fake_gitlab import FakeGitLab

URL = "https://hooks.example.com/webhook"
SCOPE = HookScope(kind="project", id=77)
NAME = webhook_name(SCOPE, URL)
SINCE = datetime(2026, 11, 26, 7, tzinfo=UTC)
HOOKS, OURS = "/projects/77/hooks", "/projects/77/hooks/5"
OLD = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OLDER = "whsec_HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
SIGNED = {"signing_token_present": True}
PLAIN = {"token_present": True}


def hook(**facts: object) -> dict[str, Any]:
    """Our hook as GitLab shows it."""
    hook = {"id": 5, "url": URL, "job_events": True, "enable_ssl_verification": True}
    return hook | facts


class Store:
    """Secrets Manager in memory; keeps each version and how far GitLab was asked then."""

    def __init__(self, fake: FakeGitLab) -> None:
        self.fake = fake
        self.secrets = WebhookSecrets()  # of our hook
        self.written: list[tuple[int, WebhookSecrets]] = []

    def read(self) -> AllWebhookSecrets:
        others = {"project:7@0": WebhookSecrets(tokens=("of another hook",))}
        return others | ({} if self.secrets.is_empty else {NAME: self.secrets})

    def change(self, hook: str, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        assert hook == NAME
        assert before == self.secrets
        self.secrets = secrets
        self.written.append((len(self.changes), secrets))

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What GitLab was asked to change."""
        return [
            (request.verb, request.path) for request in self.fake.requests if request.verb != "GET"
        ]


class Site:
    """A scripted GitLab, the store, and what was recorded."""

    def __init__(self, fake: FakeGitLab, gitlab: GitLab) -> None:
        self.fake, self.gitlab = fake, gitlab
        self.store = Store(fake)
        self.recorded: list[Registered] = []
        self.pauses: list[int] = []  # how far GitLab was asked then

    def has(self, *hooks: dict[str, Any], signing: tuple[str, ...] = (), tokens: Any = ()) -> None:
        """GitLab has these hooks, and the store these secrets."""
        self.fake.answers("GET", HOOKS, list(hooks))
        self.store.secrets = WebhookSecrets(signing=signing, tokens=tokens)

    def saves(self, *answers: dict[str, Any], verb: str = "PUT") -> None:
        """The next savings of our hook make it this."""
        for answer in answers:
            self.fake.answers(verb, OURS if verb == "PUT" else HOOKS, hook(**answer))

    def register(self, *, rotate: bool = False) -> tuple[str, bool]:
        """How the hook is proven afterwards, and whether it was changed."""
        registered = register_webhook(
            self.gitlab,
            self.store,
            HookTarget(scope=SCOPE, url=URL),
            record=self.recorded.append,
            rotate=rotate,
            since=SINCE,
            pause=lambda _: self.pauses.append(len(self.store.changes)),
        )
        assert self.recorded.pop() == registered
        assert (registered.hook_id, registered.scope) == (5, SCOPE)
        assert registered.secret_ids == tuple(map(secret_id, self.store.secrets.demanded))
        return registered.verification, registered.changed

    def delivered(self, *statuses: str, at: str = "2026-11-26T08:00:00Z") -> None:
        """GitLab lists these deliveries."""
        listed = [{"response_status": status, "created_at": at} for status in statuses]
        self.fake.answers("GET", f"{OURS}/events", listed)

    def refused(self, kind: type[FleetError], status: int) -> None:
        """A rotation that GitLab answers so."""
        self.fake.refuses("PUT", OURS, status)
        with pytest.raises(kind):
            self.register(rotate=True)
        assert self.recorded == []

    def sent(self) -> list[dict[str, Any]]:
        """The secrets that GitLab was given."""
        bodies = [
            request.body for request in self.fake.requests if request.verb != "GET" and request.body
        ]
        return [{k: v for k, v in body.items() if k.endswith("token")} for body in bodies]


@pytest.fixture
def site(fake: FakeGitLab, gitlab: GitLab) -> Site:
    return Site(fake, gitlab)


@pytest.mark.parametrize(
    ("shown", "secrets", "verification"),
    [
        (SIGNED, {"signing": (OLD,)}, "signing-token"),
        (PLAIN, {"tokens": ("t",)}, "secret-token"),
    ],
)
def test_a_hook_that_is_as_it_should_be_is_left_alone(
    shown: Any, secrets: Any, verification: str, site: Site
) -> None:
    other = hook(id=4, url="https://elsewhere.example.com/webhook")
    site.has(other, hook(**shown, url=f"{URL}/"), **secrets)
    assert site.register() == (verification, False)
    assert (site.store.changes, site.store.written) == ([], [])


def test_a_changed_hook_is_corrected_with_the_newest_secret(site: Site) -> None:
    site.has(hook(**SIGNED, push_events=True), signing=(OLD, OLDER), tokens=("t",))
    site.saves(SIGNED)
    assert site.register() == ("signing-token", True)
    assert site.store.changes == [("PUT", OURS)]
    assert site.sent() == [{"signing_token": OLD}], "the plain one would prove nothing"
    assert site.store.written == []


@pytest.mark.parametrize(
    "custom",
    [
        {"custom_webhook_template": '{"object_kind": "build"}'},
        {"custom_headers": [{"key": "Webhook-Id"}]},
    ],
)
def test_a_hook_with_a_template_or_headers_is_corrected(custom: dict[str, Any], site: Site) -> None:
    site.has(hook(**SIGNED, **custom), signing=(OLD,))
    site.saves(SIGNED)
    assert site.register() == ("signing-token", True)
    (sent,) = (request.body for request in site.fake.requests if request.verb == "PUT")
    assert sent["custom_webhook_template"] == ""
    assert ("custom_headers" in sent) is ("custom_headers" in custom)
    assert not sent.get("custom_headers")


def test_a_missing_hook_is_made_with_its_own_secret(site: Site) -> None:
    site.has(tokens=("new", "old"))
    site.saves(PLAIN, verb="POST")
    assert site.register() == ("secret-token", True)
    assert (site.store.changes, site.sent()) == ([("POST", HOOKS)], [{"token": "new"}])


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("signing", [(), (OLD,)], ids=["new", "any more"])
def test_a_hook_that_cannot_sign_gets_a_secret_token(
    there: bool, signing: tuple[str, ...], site: Site
) -> None:
    site.has(*([hook(**PLAIN)] if there else []), signing=signing)
    site.saves({}, verb="PUT" if there else "POST")
    site.saves({}, PLAIN)
    assert site.register() == ("secret-token", True)
    assert site.store.secrets.signing == ()
    assert site.sent()[-1] == {"token": site.store.secrets.tokens[0]}
    assert len(site.store.secrets.tokens[0]) >= 32
    assert {verb for verb, _ in site.store.changes[1:]} == {"PUT"}, "the hook that was just made"


@pytest.mark.parametrize("secrets", [{"signing": (OLD,)}, {"tokens": ("old",)}])
def test_a_hook_whose_deliveries_are_refused_gets_a_new_secret(secrets: Any, site: Site) -> None:
    site.has(hook(**SIGNED, **PLAIN), **secrets)
    site.delivered("401", "202")
    site.saves(SIGNED | PLAIN)
    assert site.register() == ("signing-token", True)
    assert site.store.changes == [("PUT", OURS)]
    current = site.store.secrets
    assert site.sent()[0]["signing_token"] == current.signing[0] != OLD
    assert {old for kind in secrets.values() for old in kind} <= {*current.signing, *current.tokens}


@pytest.mark.parametrize(
    ("statuses", "at"),
    [
        (("202", "503"), "2026-11-26T08:00:00Z"),
        (("401", "401"), "2026-11-26T06:59:59Z"),  # before it was registered last
        (("500", "internal error", "500"), "2026-11-26T08:00:00Z"),
        (("404",), "2026-11-26T08:00:00Z"),
        ((), ""),
    ],
)
def test_failures_with_another_cause_change_no_secret(
    statuses: tuple[str, ...], at: str, site: Site
) -> None:
    site.has(hook(**SIGNED), signing=(OLD,))
    site.delivered(*statuses, at=at)
    assert site.register() == ("signing-token", False)


def test_a_new_secret_is_stored_before_gitlab_has_it(site: Site) -> None:
    site.has()
    site.saves(SIGNED, verb="POST")
    assert site.register() == ("signing-token", True)
    ((before, stored),) = site.store.written
    assert (before, stored.tokens) == (0, ())
    assert site.sent() == [{"signing_token": stored.signing[0]}]


def test_older_secrets_stay_until_gitlab_uses_the_new_secret(site: Site) -> None:
    site.has(hook(**SIGNED), signing=(OLD, OLDER))
    site.saves(SIGNED)
    site.register(rotate=True)
    newest, *before = site.store.secrets.signing
    assert before == [OLD, OLDER]
    assert newest not in {OLD, OLDER}
    assert site.sent() == [{"signing_token": newest}]
    # Every function can know it before GitLab gets it.
    assert (site.store.written[0][0], site.pauses) == (0, [0])


def test_many_rotations_that_gitlab_does_not_answer_push_nothing_out(site: Site) -> None:
    site.has(hook(**SIGNED), signing=(OLD,))
    for _ in range(3 * KEPT):
        site.refused(Transient, 502)
        assert site.store.secrets.signing[-1] == OLD
    # whichever of them GitLab took is among those that are valid
    assert {sent["signing_token"] for sent in site.sent()} <= set(site.store.secrets.signing)


def test_a_hook_sends_both_proofs_before_signatures_are_demanded(site: Site) -> None:
    site.has(hook(**PLAIN), tokens=("old", "older"))
    site.saves(SIGNED | PLAIN)
    assert site.register(rotate=True) == ("signing-token", True)
    (asked_1, first), (asked_2, second) = site.store.written
    assert (asked_1, first.signing, first.tokens[1:]) == (0, (), ("old", "older"))
    assert (asked_2, second.tokens) == (1, first.tokens)
    assert site.sent() == [{"signing_token": second.signing[0], "token": first.tokens[0]}]


@pytest.mark.parametrize("status", [200, 500])
def test_where_gitlab_does_not_sign_none_is_demanded(status: int, site: Site) -> None:
    site.has(hook(**PLAIN), tokens=("old", "older"))
    if status == 200:
        site.saves(PLAIN)
        assert site.register(rotate=True) == ("secret-token", True)
    else:  # GitLab may still have the new secret
        site.refused(Transient, status)
    assert site.store.secrets.signing == ()
    assert site.store.secrets.tokens[1:] == ("old", "older")


@pytest.mark.parametrize("tried", [1, 2])
@pytest.mark.parametrize("secrets", [{"signing": (OLD, OLDER)}, {"tokens": ("old", "older")}])
def test_what_gitlab_refuses_does_not_push_out_what_the_hook_has(
    tried: int, secrets: Any, site: Site
) -> None:
    site.has(hook(), **secrets)
    for _ in range(tried):
        site.refused(Refused, 422)
    assert site.store.secrets == WebhookSecrets(**secrets)


def test_every_secret_is_another(site: Site) -> None:
    site.has()
    site.saves(SIGNED, verb="POST")
    secrets = set()
    for _ in range(3):
        site.store.secrets = WebhookSecrets()
        site.register()
        secrets.add(site.store.secrets.signing[0])
    assert len(secrets) == 3
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret) for secret in secrets), "32 bytes"


def test_all_hooks_of_a_scope_on_all_pages(site: Site) -> None:
    site.fake.pages(HOOKS, [hook(id=4)], [hook(alert_status="disabled")])
    hooks = list_hooks(site.gitlab, SCOPE)
    assert [(hook.hook_id, hook.is_executable) for hook in hooks] == [(4, True), (5, False)]


def test_a_deleted_hook_is_missing(site: Site) -> None:
    assert hook_health(site.gitlab, SCOPE, 5) is None


def test_a_sample_is_a_job_event(site: Site) -> None:
    site.fake.answers("POST", f"{OURS}/test/job_events", {"message": "201 Created"}, status=201)
    send_sample(site.gitlab, SCOPE, 5)
    assert site.store.changes == [("POST", f"{OURS}/test/job_events")]


@pytest.mark.parametrize(
    ("ask", "path", "scope"),
    [
        (lambda g: scope_of(g, project="acme/demo"), "/projects/acme%2Fdemo", "project:77"),
        (lambda g: scope_of(g, project=77), "/projects/77", "project:77"),
        (lambda g: scope_of(g, group="acme/a"), "/groups/acme%2Fa", "group:77"),
    ],
)
def test_a_scope_by_its_path(
    ask: Callable[[GitLab], HookScope], path: str, scope: str, site: Site
) -> None:
    site.fake.answers("GET", path, {"id": 77, "path_with_namespace": "acme/demo"})
    assert str(ask(site.gitlab)) == scope


@pytest.mark.parametrize("owner", [{}, {"project": 7, "group": 4}])
def test_a_scope_is_either_a_project_or_a_group(owner: Any, site: Site) -> None:
    with pytest.raises(Refused, match="either"):
        scope_of(site.gitlab, **owner)
    assert site.fake.requests == []
