"""Registering the webhook against the simulated GitLab, old and new."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from adapters.gitlab import hooks
from adapters.gitlab.client import Budget, GitLab
from adapters.gitlab.hooks import HookTarget, Registered, register_webhook, scope_of
from fleet.errors import BadDelivery, FleetError, Refused, Transient
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, secret_id, webhook_name
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
    """A fresh project."""
    path = f"acme/p{abs(hash(name))}"
    project = create_project(server.url, server.root_token, path, {})
    budget = Budget(calls_per_minute=3000, clock=lambda: datetime.now(UTC))
    gitlab = GitLab(server.url, server.root_token, budget=budget)
    return Site(server=server, gitlab=gitlab, scope=HookScope(kind="project", id=project.id))


@pytest.fixture
def site(new_gitlab: SimulatorServer, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = site_of(new_gitlab, request.node.name)
    yield made
    made.breaks(None)


@pytest.fixture
def old_site(old_gitlab: SimulatorServer, request: pytest.FixtureRequest) -> Site:
    return site_of(old_gitlab, request.node.name)


class TestFirstTime:
    """Nothing is there yet."""

    def test_a_signing_token_where_gitlab_can_sign(self, site: Site) -> None:
        registered = site.register()
        assert registered == Registered(
            hook_id=registered.hook_id,
            name=site.name,
            url=URL,
            scope=site.scope,
            verification="signing-token",
            secret_ids=tuple(map(secret_id, site.own.signing)),
            changed=True,
        )
        hook = site.hook(registered.hook_id)
        assert site.own == WebhookSecrets(signing=(str(hook.signing_token),))
        assert hook.token is None

    @pytest.mark.parametrize(("url", "verifies"), [(URL, True), ("http://127.0.0.1:9/x", False)])
    def test_asks_for_job_events_only_and_verifies_the_certificate_of_https(
        self, url: str, verifies: bool, site: Site
    ) -> None:
        hook = site.hook(site.register(url=url).hook_id)
        assert [name for name, wanted in hook.events.items() if wanted] == ["job_events"]
        assert hook.enable_ssl_verification is verifies

    def test_a_secret_token_on_an_older_gitlab(self, old_site: Site) -> None:
        registered = old_site.register()
        assert registered.verification == "secret-token"
        hook = old_site.hook(registered.hook_id)
        assert old_site.own == WebhookSecrets(tokens=(str(hook.token),))

    def test_on_a_group(self, site: Site) -> None:
        scope = scope_of(site.gitlab, group="acme")
        registered = site.register(scope=scope, url=f"{URL}/{site.scope.id}")
        assert registered.scope == scope == HookScope(kind="group", id=scope.id)


class TestAgain:
    """Run once more."""

    @pytest.mark.parametrize("which", ["site", "old_site"])
    def test_changes_nothing(self, which: str, request: pytest.FixtureRequest) -> None:
        site: Site = request.getfixturevalue(which)
        first = site.register()
        secrets, puts = site.own, site.puts()
        second = site.register(url=f"{URL}/")
        assert not second.changed
        assert (second.hook_id, second.verification) == (first.hook_id, first.verification)
        assert (site.own, site.puts()) == (secrets, puts)
        assert site.recorded == [first, second]

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda hook: hook.events.update(push_events=True), id="other events"),
            pytest.param(lambda hook: hook.events.update(job_events=False), id="no job events"),
            pytest.param(lambda hook: setattr(hook, "signing_token", None), id="no secret"),
            pytest.param(
                lambda hook: setattr(hook, "enable_ssl_verification", False), id="no TLS check"
            ),
            pytest.param(
                lambda hook: setattr(hook, "custom_webhook_template", "{}"), id="a template"
            ),
            pytest.param(
                lambda hook: hook.custom_headers.update({"Webhook-Id": "1"}), id="a header"
            ),
        ],
    )
    def test_restores_a_changed_hook(self, damage: Callable[[Hook], None], site: Site) -> None:
        first = site.register()
        damage(site.hook(first.hook_id))
        second = site.register()
        assert second.changed
        assert second.hook_id == first.hook_id
        assert not site.register().changed
        assert site.store.writings == 1

    @pytest.mark.parametrize("which", ["site", "old_site"])
    def test_replaces_a_deleted_hook(self, which: str, request: pytest.FixtureRequest) -> None:
        site: Site = request.getfixturevalue(which)
        first = site.register()
        site.gitlab.api.delete(f"/projects/{site.scope.id}/hooks/{first.hook_id}")
        second = site.register()
        assert second.changed
        assert second.verification == first.verification
        assert site.store.writings == (1 if which == "site" else 2)

    @pytest.mark.parametrize("rotate", [False, True])
    def test_goes_back_to_a_secret_token_where_gitlab_cannot_sign(
        self, rotate: bool, old_site: Site
    ) -> None:
        old_site.own = WebhookSecrets(signing=("whsec_of_another_gitlab",))
        assert old_site.register(rotate=rotate).verification == "secret-token"
        assert old_site.own.signing == ()


class TestRotation:
    """A new secret, without a delivery lost on the way."""

    def test_keeps_the_one_before(self, site: Site) -> None:
        registered = site.register()
        (first,) = site.own.signing
        accepted = site.watch(registered.hook_id)
        assert site.register(rotate=True).changed
        (second, former) = site.own.signing
        assert former == first != second == site.hook(registered.hook_id).signing_token
        site.register(rotate=True)
        assert site.own.signing[1:] == (second, first)
        assert accepted == [True, True]

    @pytest.mark.parametrize("which", ["site", "old_site"])
    def test_of_one_hook_locks_out_no_other(
        self, which: str, request: pytest.FixtureRequest
    ) -> None:
        site: Site = request.getfixturevalue(which)
        group = scope_of(site.gitlab, group="acme")
        others = [site_of(site.server, f"{site.scope.id}-{which}-{n}") for n in range(4)]
        for other in others:
            other.store = site.store
        hooked = [one.register().hook_id for one in (site, *others)]
        assert len({str(one.own) for one in (site, *others)}) == 5
        hooked.append(site.register(scope=group, url=f"{URL}/{site.scope.id}").hook_id)
        for one in (*others, *others, others[0], others[0]):
            one.register(rotate=True)
            assert [site.is_accepted(hook) for hook in hooked] == [True] * len(hooked)

    @pytest.mark.parametrize("failures", [1, 7])
    def test_that_may_have_worked_keeps_both_secrets(self, failures: int, site: Site) -> None:
        registered = site.register()
        (first,) = site.own.signing
        site.breaks(502)
        for _ in range(failures):
            with pytest.raises(Transient):
                site.register(rotate=True)
        site.breaks(None)
        if failures == 1:
            assert site.own.signing[1] == first
            assert not site.register().changed
        assert site.is_accepted(registered.hook_id)
        assert site.register(rotate=True).changed

    def test_of_secret_tokens(self, old_site: Site) -> None:
        registered = old_site.register()
        (first,) = old_site.own.tokens
        accepted = old_site.watch(registered.hook_id)
        assert old_site.register(rotate=True).verification == "secret-token"
        assert old_site.own.tokens[1] == first
        assert accepted == [True]

    def test_moves_to_signatures_once_gitlab_was_upgraded(self, site: Site) -> None:
        registered = site.register()
        hook = site.hook(registered.hook_id)
        hook.signing_token, hook.token = None, "token-of-older-days"
        site.own = WebhookSecrets(tokens=("token-of-older-days",))
        assert site.register().verification == "secret-token"
        accepted = site.watch(registered.hook_id)
        assert site.register(rotate=True).verification == "signing-token"
        assert accepted == [True, True]
        assert len(site.own.signing) == 1


def test_no_message_holds_a_secret(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.register()
    site.breaks(422)
    with pytest.raises(FleetError) as caught:
        site.register(rotate=True)
    captured = capsys.readouterr()
    shown = "".join(traceback.format_exception(caught.value)) + repr(site.recorded)
    shown += captured.out + captured.err
    assert "whsec_" not in shown


def test_a_scope_has_a_path_or_an_id(site: Site) -> None:
    path = site.gitlab.project(site.scope.id).path
    assert scope_of(site.gitlab, project=path) == site.scope
    assert scope_of(site.gitlab, project=site.scope.id) == site.scope


class TestHealth:
    """Whether GitLab still calls the webhook."""

    def test_a_new_hook_is_executable(self, site: Site) -> None:
        registered = site.register()
        (health,) = hooks.list_hooks(site.gitlab, site.scope)
        assert (health.hook_id, health.url) == (registered.hook_id, URL)
        assert health.is_executable
        assert hooks.hook_health(site.gitlab, site.scope, registered.hook_id) == health

    def test_a_successful_test_enables_a_disabled_hook(self, site: Site) -> None:
        ci = {".gitlab-ci.yml": "unit: {script: 'true', tags: [none]}"}
        path = f"acme/health-{site.scope.id}"
        project = create_project(site.server.url, site.server.root_token, path, ci)
        scope = HookScope(kind="project", id=project.id)
        with Receiver() as receiver:
            registered = site.register(url=receiver.url, scope=scope)
            site.hook(registered.hook_id).is_disabled = True
            health = hooks.hook_health(site.gitlab, scope, registered.hook_id)
            assert health is not None
            assert (health.alert_status, health.is_executable) == ("disabled", False)

            receiver.status = 503
            with pytest.raises(Refused) as caught:
                hooks.test_hook(site.gitlab, scope, registered.hook_id)
            assert caught.value.facts["status"] == 422

            receiver.status = 202
            hooks.test_hook(site.gitlab, scope, registered.hook_id)
            health = hooks.hook_health(site.gitlab, scope, registered.hook_id)
            assert health is not None
            assert health.is_executable
            assert [one.body["object_kind"] for one in receiver.received] == ["build", "build"]
