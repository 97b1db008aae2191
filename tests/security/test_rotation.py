"""Secrets that are rotated under load: no genuine delivery is refused and no machine goes without.

GitLab may take a secret and not answer, or answer and not have taken it.
"""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.aws.hook_secrets import HookSecretStore
from adapters.aws.secrets import SecretStore
from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookTarget
from adapters.gitlab.hooks import register_webhook
from adapters.ledger.fleet import FleetRows
from fleet.errors import FleetError, Transient
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import secret_id
from tests.fakes import Clock, FakeTable
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab
from tests.unit.orchestrator.scene import SHARED
from tests.unit.orchestrator.test_pool_tokens import expiring, minutes
from tests.unit.webhook.deliveries import encoded, headers, signed
from tests.unit.webhook.test_app import Bus, Context, http_event
from webhook.app import WebhookWorld, serve

URL = "https://hooks.example.com/webhook"
SCOPE = HookScope(kind="project", id=77)
OURS = "/projects/77/hooks/5"
SHOWN = {"id": 5, "url": URL, "job_events": True, "enable_ssl_verification": True}
NAME = "fleet/webhook"
pytestmark = pytest.mark.usefixtures("closed_event_loop")


class SecretsManager:
    """Secrets Manager's two calls, in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803
        return {"SecretString": self.texts.get(SecretId, "")}

    def put_secret_value(self, *, SecretId: str, SecretString: str) -> None:  # noqa: N803
        self.texts[SecretId] = SecretString


class Load:
    """A webhook under load: functions with copies of their own, and processes that rotate."""

    def __init__(self, gitlab: FakeGitLab) -> None:
        self.fake = gitlab
        self.clock = Clock()
        self.manager = SecretsManager()
        self.rows = FleetRows(FakeTable())
        self.bus = Bus()
        self.gitlab = GitLab(
            gitlab.url, "glpat-1", allowance=OwnAllowance(calls_per_minute=300, clock=self.clock)
        )
        self.worlds = [
            WebhookWorld(secrets=self.store(), secret_name=NAME, bus=self.bus, clock=self.clock)
            for _ in range(3)
        ]
        saved = SHOWN | {"signing_token_present": True}
        gitlab.answers("GET", "/projects/77/hooks", [])
        gitlab.answers("GET", "/projects/77/hooks", [SHOWN])
        gitlab.answers("POST", "/projects/77/hooks", saved)
        self.uses = ""  # what GitLab signs with
        self.during: Callable[[], object] = lambda: None  # while a rotation waits

    def store(self) -> SecretStore:
        """The secrets with the cache of one process."""
        client: Any = self.manager
        return SecretStore(client, timedelta(seconds=60), self.clock)

    def hooks(self) -> HookSecretStore:
        """The secrets as a process changes them."""

        def pause(seconds: float) -> None:
            self.clock.go(seconds)

        return HookSecretStore(self.store(), NAME, self.rows, self.clock, pause=pause)

    def answers(self, status: int) -> None:
        """GitLab takes each next secret and answers so."""
        self.fake.answers("PUT", OURS, SHOWN | {"signing_token_present": True}, status=status)

    def rotate(self) -> None:

        def pause(seconds: float) -> None:
            during, self.during = self.during, lambda: None
            during()
            self.clock.go(seconds)

        try:
            register_webhook(
                self.gitlab,
                self.hooks(),
                HookTarget(scope=SCOPE, url=URL),
                record=lambda _: None,
                rotate=True,
                pause=pause,
            )
        finally:
            proofs = [
                request.body["signing_token"]
                for request in self.fake.requests
                if request.verb in {"PUT", "POST"} and request.body
            ]
            self.uses = proofs[-1] if proofs else self.uses

    def deliver(self) -> None:
        """A delivery at each function, and a forged one before it."""
        for world in self.worlds:
            body = encoded()
            forged = http_event("/webhook", body) | {"headers": headers(webhook_signature="v1,x")}
            forged["requestContext"]["http"]["sourceIp"] = "203.0.113.7"
            assert serve(world, forged, Context())["statusCode"] in {401, 429}
            genuine = http_event("/webhook", body)
            genuine["headers"] = signed(body, secret=self.uses, at=self.clock())
            assert serve(world, genuine, Context())["statusCode"] == 202

    def reconcile_secrets(self) -> None:
        """Reconcile drops what is older than the secret that GitLab uses."""
        name = self.bus.events[-1].hook
        assert name is not None
        self.hooks().drop_older(name, secret_id(self.uses))


@pytest.fixture
def load() -> Iterator[Load]:
    with fake_gitlab() as fake:
        made = Load(fake)
        made.rotate()
        yield made


def test_two_rotations_in_a_row_refuse_no_delivery(load: Load) -> None:
    load.answers(200)
    for _ in range(2):
        load.deliver()
        load.during = load.deliver
        load.rotate()
        load.deliver()
        load.clock.go(0.5)
        load.deliver()


@pytest.mark.parametrize("taken", [True, False])
def test_rotations_that_gitlab_does_not_answer_refuse_no_delivery(load: Load, taken: bool) -> None:
    load.answers(502)
    for _ in range(6):
        before = load.uses
        load.during = load.deliver
        with pytest.raises(Transient):
            load.rotate()
        if not taken:
            load.uses = before
        load.deliver()
    load.reconcile_secrets()
    load.deliver()


def test_two_rotations_at_once_leave_gitlab_with_a_secret_that_is_valid(load: Load) -> None:
    """The second begins while the first waits for the functions to know its secret."""
    load.answers(200)
    failed: list[FleetError] = []

    def second() -> None:
        load.during = load.deliver
        try:
            load.rotate()
        except FleetError as error:
            failed.append(error)
        load.deliver()

    load.during = second
    try:
        load.rotate()
    except FleetError as error:
        failed.append(error)
    load.deliver()
    assert len(failed) <= 1


def test_two_rotations_that_read_at_once_leave_a_valid_secret(load: Load) -> None:
    """Both have read what is stored before either of them writes."""
    store = load.hooks()
    hook = next(iter(store.read()))
    before = store.read()[hook]
    newer = [base64.b64encode(bytes([n]) * 32).decode() for n in range(2)]
    first, second = (type(before)(signing=(f"whsec_{text}", *before.signing)) for text in newer)
    store.change(hook, first, before=before)
    with pytest.raises(Transient):
        store.change(hook, second, before=before)
    assert store.read()[hook] == first


def test_a_rotated_gitlab_token_is_used_within_the_caches_lifetime() -> None:
    """The old one may be revoked a minute later."""
    manager, clock = SecretsManager(), Clock()
    client: Any = manager
    store = SecretStore(client, timedelta(seconds=60), clock)
    store.store_gitlab_token("fleet/gitlab", "first")
    assert store.gitlab_token("fleet/gitlab") == "first"
    for token in ("second", "third"):
        clock.go(59)
        manager.texts["fleet/gitlab"] = f'{{"token": "{token}"}}'
        clock.go(1)
        assert store.gitlab_token("fleet/gitlab") == token


def test_two_renewals_of_a_pools_token_while_gitlab_is_away_cost_no_machine_its_own() -> None:
    """Machines are launched before and between them, and each is still valid after both."""
    scene = expiring(SHARED, hours=2)
    tokens = []
    for number in (1, 2):
        old = scene.pool_tokens["docker"]
        (runner,) = scene.launched(number)
        assert runner.pool_record_id == old.runner_id
        tokens.append(old.token)
        scene.gitlab.failing["create_runner"] = Transient(status=503)
        while scene.world.fleet.pool("docker").renewal_failed is None:
            minutes(scene, 1)
        minutes(scene, 5)
        assert scene.pool_tokens["docker"] == old
        scene.gitlab.failing.clear()
        minutes(scene, 2)
        assert scene.pool_tokens["docker"] != old
        assert scene.gitlab.is_valid(old.token)
    assert len(set(tokens)) == 2
