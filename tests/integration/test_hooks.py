"""Registering the webhook against the simulated GitLab, old and new."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from adapters.gitlab import hooks
from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.gitlab.hook_values import HookHealth, HookTarget, Registered
from adapters.gitlab.hooks import register_webhook, scope_of
from fleet.errors import BadDelivery, Refused, Transient
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, webhook_name
from local.gitlab.chaos import ApiChaos, ChaosOrder
from local.gitlab.options import Options
from local.gitlab.seed import create_project
from local.gitlab.server import SimulatorServer
from local.gitlab.webhooks.hooks import Hook
from local.gitlab.webhooks.signing import signature
from tests.integration.local.gitlab.receiver import Receiver
from tests.unit.webhook.deliveries import AT, VECTOR_ID, VECTOR_STAMP, encoded, headers
from webhook.delivery import read_delivery

URL = "https://hooks.example.com/webhook"


@dataclass
class Store:
    """Secrets Manager in memory. Calls `watch` after each writing."""

    by_hook: dict[str, WebhookSecrets] = field(default_factory=dict)
    writings: int = 0
    watch: Callable[[], None] = lambda: None

    def read(self) -> AllWebhookSecrets:
        return dict(self.by_hook)

    def change(self, hook: str, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        assert self.by_hook.get(hook, WebhookSecrets()) == before
        self.by_hook[hook] = secrets
        self.writings += 1
        self.watch()


@dataclass
class Site:
    """A GitLab with a project and a group, the stored secrets, and the recorded results."""

    server: SimulatorServer
    gitlab: GitLab
    scope: HookScope
    store: Store = field(default_factory=Store)
    recorded: list[Registered] = field(default_factory=list)

    def register(
        self, *, rotate: bool = False, url: str = URL, scope: HookScope | None = None
    ) -> Registered:
        """Register, and check that deliveries are accepted afterwards."""
        registered = register_webhook(
            self.gitlab,
            self.store,
            HookTarget(scope=scope or self.scope, url=url),
            record=self.recorded.append,
            rotate=rotate,
            pause=lambda _: None,
        )
        assert self.recorded[-1] == registered
        assert self.is_accepted(registered.hook_id)
        return registered

    @property
    def own(self) -> WebhookSecrets:
        """The secrets of the project's hook."""
        return self.store.by_hook.get(self.name, WebhookSecrets())

    @own.setter
    def own(self, secrets: WebhookSecrets) -> None:
        self.store.by_hook[self.name] = secrets

    @property
    def name(self) -> str:
        return webhook_name(self.scope, URL)

    def hook(self, hook_id: int) -> Hook:
        """The record in GitLab, with its secrets."""
        return self.server.world.hooks.by_id[hook_id]

    def is_accepted(self, hook_id: int) -> bool:
        """Whether a delivery sent now would be accepted."""
        hook = self.hook(hook_id)
        body = encoded(project_id=hook.owner.id)
        proof: dict[str, str | None] = {"x_gitlab_token": hook.token}
        if hook.signing_token:
            proof["webhook_signature"] = signature(
                hook.signing_token, delivery_id=VECTOR_ID, timestamp=VECTOR_STAMP, body=body
            )
        try:
            read_delivery(headers(**proof), body, secrets=self.store.by_hook, at=AT)
        except BadDelivery:
            return False
        return True

    def watch(self, hook_id: int) -> list[bool]:
        """After each writing of secrets from now on, whether a delivery would be accepted."""
        accepted: list[bool] = []
        self.store.watch = lambda: accepted.append(self.is_accepted(hook_id))
        return accepted

    def puts(self) -> int:
        """How often hooks were made or changed."""
        calls = self.server.ask(lambda world: dict(world.calls))
        return sum(
            count for name, count in calls.items() if "hooks" in name and name[:3] in ("POS", "PUT")
        )

    def breaks(self, status: int | None) -> None:
        """Let changes of a hook fail from now on."""
        fault = ApiChaos(status=status, paths=r"hooks/\d+$")
        self.server.ask(
            lambda world: world.chaos.apply(ChaosOrder(api=fault), at=world.clock.now())
        )


def serve(folder: pytest.TempPathFactory, version: str) -> Iterator[SimulatorServer]:
    with SimulatorServer(folder.mktemp("gitlab"), Options(gitlab_version=version)) as server:
        yield server


@pytest.fixture(scope="module")
def new_gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorServer]:
    yield from serve(tmp_path_factory, "19.3.0")


@pytest.fixture(scope="module")
def old_gitlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorServer]:
    yield from serve(tmp_path_factory, "18.2.1")


def site_of(server: SimulatorServer, name: str) -> Site:
    path = f"acme/p{abs(hash(name))}"
    project = create_project(server.url, server.root_token, path, {})
    allowance = OwnAllowance(calls_per_minute=3000, clock=lambda: datetime.now(UTC))
    gitlab = GitLab(server.url, server.root_token, allowance=allowance)
    return Site(server=server, gitlab=gitlab, scope=HookScope(kind="project", id=project.id))


@pytest.fixture
def site(new_gitlab: SimulatorServer, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = site_of(new_gitlab, request.node.name)
    yield made
    made.breaks(None)


@pytest.fixture
def old_site(old_gitlab: SimulatorServer, request: pytest.FixtureRequest) -> Site:
    return site_of(old_gitlab, request.node.name)


@pytest.mark.parametrize("fixture", ["site", "old_site"])
def test_the_life_of_a_hook(fixture: str, request: pytest.FixtureRequest) -> None:
    """Made, left alone, put right, rotated, made again: on a GitLab that signs, and on one before.

    Each registration also checks that a delivery is accepted afterwards.
    """
    site: Site = request.getfixturevalue(fixture)
    proof = "signing-token" if fixture == "site" else "secret-token"
    first = site.register()
    of_hook = "signing_token" if fixture == "site" else "token"
    stored = "signing" if fixture == "site" else "tokens"
    hook = site.hook(first.hook_id)
    assert (first.verification, first.scope, first.url) == (proof, site.scope, URL)
    assert getattr(site.own, stored) == (getattr(hook, of_hook),)
    assert [name for name, wanted in hook.events.items() if wanted] == ["job_events"]
    assert hook.enable_ssl_verification
    secrets, puts = site.own, site.puts()
    assert site.register(url=f"{URL}/") == replace(first, changed=False)
    assert (site.own, site.puts()) == (secrets, puts)
    hook.events.update(push_events=True)
    assert site.register().changed
    assert not site.register().changed
    accepted = site.watch(first.hook_id)
    assert site.register(rotate=True).changed
    new, former = getattr(site.own, stored)
    assert former != new == getattr(site.hook(first.hook_id), of_hook)
    assert accepted == [True]
    site.store.watch = lambda: None
    site.gitlab.api.delete(f"/projects/{site.scope.id}/hooks/{first.hook_id}")
    assert site.register().hook_id != first.hook_id


def test_on_a_group(site: Site) -> None:
    scope = scope_of(site.gitlab, group="acme")
    registered = site.register(scope=scope, url=f"http://127.0.0.1:9/{site.scope.id}")
    assert registered.scope == scope == HookScope(kind="group", id=scope.id)
    assert not site.hook(registered.hook_id).enable_ssl_verification


@pytest.mark.parametrize("rotate", [False, True])
def test_a_hook_goes_back_to_a_secret_token_where_gitlab_cannot_sign(
    rotate: bool, old_site: Site
) -> None:
    old_site.own = WebhookSecrets(signing=("whsec_of_another_gitlab",))
    assert old_site.register(rotate=rotate).verification == "secret-token"
    assert old_site.own.signing == ()


def test_moves_to_signatures_once_gitlab_was_upgraded(site: Site) -> None:
    registered = site.register()
    hook = site.hook(registered.hook_id)
    hook.signing_token, hook.token = None, "token-of-older-days"
    site.own = WebhookSecrets(tokens=("token-of-older-days",))
    assert site.register().verification == "secret-token"
    accepted = site.watch(registered.hook_id)
    assert site.register(rotate=True).verification == "signing-token"
    assert accepted == [True, True]
    assert len(site.own.signing) == 1


def test_a_rotation_that_may_have_worked_keeps_both_secrets_and_says_none(site: Site) -> None:
    registered = site.register()
    (first,) = site.own.signing
    site.breaks(502)
    with pytest.raises(Transient) as caught:
        site.register(rotate=True)
    assert "whsec_" not in "".join(traceback.format_exception(caught.value)) + repr(site.recorded)
    site.breaks(None)
    assert site.own.signing[1] == first
    assert site.is_accepted(registered.hook_id)


def test_a_rotation_locks_out_no_other_hook(site: Site) -> None:
    other = site_of(site.server, f"{site.scope.id}-other")
    other.store = site.store
    hooked = [hook_site.register().hook_id for hook_site in (site, other)]
    for hook_site in (other, site, other):
        hook_site.register(rotate=True)
        assert [site.is_accepted(hook) for hook in hooked] == [True, True]


def test_a_successful_test_enables_a_disabled_hook(site: Site) -> None:
    ci = {".gitlab-ci.yml": "unit: {script: 'true', tags: [none]}"}
    path = f"acme/health-{site.scope.id}"
    project = create_project(site.server.url, site.server.root_token, path, ci)
    scope = HookScope(kind="project", id=project.id)

    def health() -> HookHealth:
        (hook,) = hooks.list_hooks(site.gitlab, scope)
        assert hooks.hook_health(site.gitlab, scope, hook.hook_id) == hook
        return hook

    with Receiver() as receiver:
        registered = site.register(url=receiver.url, scope=scope)
        assert (health().hook_id, health().is_executable) == (registered.hook_id, True)
        site.hook(registered.hook_id).is_disabled = True
        assert (health().alert_status, health().is_executable) == ("disabled", False)
        receiver.status = 503
        with pytest.raises(Refused) as caught:
            hooks.test_hook(site.gitlab, scope, registered.hook_id)
        assert caught.value.facts["status"] == 422
        receiver.status = 202
        hooks.test_hook(site.gitlab, scope, registered.hook_id)
        assert health().is_executable
        assert [delivery.body["object_kind"] for delivery in receiver.received] == [
            "build",
            "build",
        ]
