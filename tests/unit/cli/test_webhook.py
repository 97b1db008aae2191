"""`webhook`: what GitLab is asked, what the ledger keeps, and that no secret is printed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.hooks import HEARD_EVERY, HookRow
from cli.main import app
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, webhook_name
from operations.webhooks import HookWorld
from tests.fakes import AT, Clock, FakeTable
from tests.private_ca import Passed, PrivateCa, small_proxy, tls_door
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab
from tests.unit.cli.session import Session

URL = "https://abc.execute-api.eu-central-1.amazonaws.com/webhook"
PROJECT = HookScope(kind="project", id=77)
GROUP = HookScope(kind="group", id=42)
HOOK: dict[str, Any] = {
    "id": 5,
    "url": URL,
    "job_events": True,
    "push_events": False,
    "enable_ssl_verification": True,
    "signing_token_present": True,
    "alert_status": "executable",
}


@dataclass
class Store:
    """Secrets Manager in memory."""

    by_hook: dict[str, WebhookSecrets] = field(default_factory=dict)

    def read(self) -> AllWebhookSecrets:
        return dict(self.by_hook)

    def change(self, hook: str, secrets: WebhookSecrets, *, before: WebhookSecrets) -> None:
        assert self.by_hook.get(hook, WebhookSecrets()) == before
        self.by_hook[hook] = secrets
        if secrets.is_empty:
            del self.by_hook[hook]

    def of(self, scope: HookScope) -> WebhookSecrets:
        return self.by_hook[webhook_name(scope, URL)]


@dataclass
class Shell:
    """Runs the command against a GitLab and a stack in memory."""

    fake: FakeGitLab
    store: Store = field(default_factory=Store)
    rows: FleetRows = field(default_factory=lambda: FleetRows(FakeTable()))
    session: Session = field(default_factory=Session)
    clock: Clock = field(default_factory=Clock)
    own_token: str | None = None
    hears_after: int | None = 2  # pauses, then the fleet has the delivery
    rule_faults: dict[str, str] = field(default_factory=dict)

    @property
    def instance(self) -> str:
        return self.fake.url.removeprefix("http://")

    @property
    def recorded(self) -> tuple[HookRow, ...]:
        return self.rows.hooks(self.instance)

    def pause(self, seconds: float) -> None:
        """A function notes the delivery while the command waits."""
        self.clock.go(seconds)
        if self.hears_after is None:
            return
        self.hears_after -= 1
        if self.hears_after == 0:
            for row in self.recorded:
                self.rows.note_delivery(self.instance, row.name, "used", at=self.clock())

    def run(self, command: str, *options: str, token: str | None = "glpat-hidden") -> Result:
        world = HookWorld(
            store=self.store,
            url=URL,
            rows=self.rows,
            stack="fleet-a",
            rule_fault=self.rule_faults.get,
            token=lambda: self.own_token,
            clock=self.clock,
            pause=self.pause,
        )
        arguments = ["webhook", command, "--gitlab-url", self.fake.url, *options]
        result = CliRunner().invoke(
            app, arguments, prog_name="runner-fleet", obj=world, env={"GITLAB_TOKEN": token}
        )
        return self.session.show(["webhook", command, *options], result)


@pytest.fixture
def shell() -> Iterator[Shell]:
    with fake_gitlab() as fake:
        fake.answers("GET", "/projects/acme%2Fdemo", {"id": 77, "path_with_namespace": "acme/demo"})
        fake.answers("GET", "/groups/acme", {"id": 42})
        fake.answers("GET", "/projects/77/hooks", [])
        yield Shell(fake)


def stored(shell: Shell, scope: HookScope, secret: str = "whsec_a") -> WebhookSecrets:
    """The secret of a hook, as an earlier registration left it."""
    secrets = WebhookSecrets(signing=(secret,))
    shell.store.by_hook[webhook_name(scope, URL)] = secrets
    return secrets


def test_all_that_webhook_says(shell: Shell, screen: Callable[[str, str], None]) -> None:
    """No line has a secret of the hook or a token."""
    fake, secret = shell.fake, f"whsec_{'A' * 43}="
    paused = {"alert_status": "temporarily_disabled", "disabled_until": "2026-08-20T09:15:00Z"}
    other = HOOK | {"id": 6, "url": "https://other.example.com", **paused}
    plain = HOOK | {"signing_token_present": False, "token_present": True}
    group, project = ("--group", "acme"), ("--project", "acme/demo")
    fake.answers("POST", "/projects/77/hooks", HOOK, status=201)
    fake.answers("GET", "/projects/77/hooks", [HOOK])  # after the first look
    shell.run("register", *project)
    stored(shell, PROJECT, secret)
    fake.answers("PUT", "/projects/77/hooks/5", HOOK)
    shell.run("rotate", *project)
    shell.run("register", *project)
    fake.answers("GET", "/groups/42/hooks", [])
    fake.answers("POST", "/groups/42/hooks", plain, status=201)
    fake.answers("PUT", "/groups/42/hooks/5", plain)
    shell.run("register", *group)  # of a GitLab that cannot sign
    refused = {"message": f"signing_token {secret} is not valid"}
    fake.answers("GET", "/projects/acme%2Fbare", {"id": 9, "path_with_namespace": "b"})
    fake.answers("GET", "/projects/9/hooks", [])
    fake.answers("POST", "/projects/9/hooks", refused, status=422)
    stored(shell, HookScope.read("project:9"), secret)
    shell.run("register", "--project", "acme/bare")
    fake.answers("GET", "/groups/42/hooks", [HOOK, other])
    shell.run("list", *group)  # the last time without a hook
    shell.run("list", *group)
    fake.answers("POST", "/groups/42/hooks/5/test/job_events", {}, status=201)
    shell.hears_after = 2
    shell.run("test", *group)
    shell.run("test", *group, "--json")
    shell.run("list", *group, "--json")
    fake.answers("GET", "/projects/77/hooks/5", HOOK | paused)
    fake.answers("GET", "/groups/42/hooks/5", HOOK)
    shell.run("list")  # those of the fleet; one of them is off
    shell.run("test", *group, "--url", "https://other.example.com")  # not the fleet's
    refusal = {"message": "Hook executed successfully but returned HTTP 401"}
    shell.run("test", *group, "--url", "https://nowhere.example.com")
    shell.run("rotate", *group, "--url", "https://nowhere.example.com")
    shell.hears_after = None
    shell.clock.go(60)
    shell.run("test", *group)  # without a word from the fleet
    fake.answers("POST", "/groups/42/hooks/5/test/job_events", refusal, status=422)
    shell.run("test", *group)
    shell.run("test", *group)
    fake.answers("DELETE", "/groups/42/hooks/5", status=204)
    fake.answers("GET", "/groups/42/hooks", [other])  # after the next look
    shell.run("remove", *group)
    shell.run("remove", *group)
    shell.run("remove", *group, "--json")
    shell.run("register")
    shell.run("register", *project, *group)
    shell.run("register", "--project", "acme/none")
    shell.run("register", *project, "--token-env", "UNSET")
    shell.run("register", *project, token=None)
    shell.run("register", *project, "--gitlab-url", "")
    shell.run("register", *project, "--gitlab-url", "gitlab.example.com")
    for status in (401, 403, 404, 500):
        fake.refuses("GET", f"/groups/closed-{status}", status)
        shell.run("register", "--group", f"closed-{status}")
    text = str(shell.session)
    secrets = [secret for by_hook in shell.store.by_hook.values() for secret in by_hook.signing]
    secrets += [secret for by_hook in shell.store.by_hook.values() for secret in by_hook.tokens]
    assert len(secrets) == 3  # the group's are gone
    assert not [secret for secret in (*secrets, "glpat-hidden") if secret in text]
    assert [hook.scope for hook in shell.recorded] == [PROJECT]  # what failed is not recorded
    assert [row.project_id for row in shell.rows.watched(shell.instance)] == [77]
    screen("webhook", text)


class TestRegister:
    """`webhook register`."""

    def test_a_group_at_an_address_of_its_own(self, shell: Shell) -> None:
        made = HOOK | {"url": "https://hooks.example.com/"}
        shell.fake.answers("GET", "/groups/42/hooks", [])
        shell.fake.answers("POST", "/groups/42/hooks", made, status=201)
        shell.run("register", "--group", "acme", "--url", "https://hooks.example.com/")
        assert shell.fake.requests[-1].body["url"] == "https://hooks.example.com/"
        assert shell.recorded[-1].scope == GROUP

    @pytest.mark.parametrize("options", [[], ["--project", "a", "--group", "b"]])
    def test_a_wrong_call_asks_neither_gitlab_nor_aws(
        self, options: list[str], shell: Shell
    ) -> None:
        arguments = ["webhook", "register", "--gitlab-url", shell.fake.url, *options]
        env = {"GITLAB_TOKEN": "glpat-hidden", "AWS_PROFILE": "no-such-profile"}
        done = CliRunner().invoke(
            app, arguments, prog_name="runner-fleet", env=env
        )  # no stack in place of AWS
        assert (done.exit_code, shell.fake.requests) == (2, [])
        assert "AWS" not in done.stderr


class TestRemove:
    """`webhook remove`: GitLab first, then the row, then the secret; again it changes nothing."""

    def test_only_what_is_of_this_address(self, shell: Shell) -> None:
        other = HOOK | {"id": 6, "url": "https://other.example.com"}
        stored(shell, PROJECT)
        mine = stored(shell, GROUP)
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        shell.run("register", "--group", "acme")
        shell.fake.answers("GET", "/projects/77/hooks", [HOOK, other])
        shell.run("register", "--project", "acme/demo")
        shell.fake.answers("DELETE", "/projects/77/hooks/5", status=204)
        assert shell.run("remove", "--project", "acme/demo").exit_code == 0
        assert [hook.scope for hook in shell.recorded] == [GROUP]
        assert shell.store.by_hook == {webhook_name(GROUP, URL): mine}
        deleted = [request.path for request in shell.fake.requests if request.verb == "DELETE"]
        assert deleted == ["/projects/77/hooks/5"]

    def test_what_gitlab_does_not_delete_keeps_its_secret(self, shell: Shell) -> None:
        secrets = stored(shell, GROUP)
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        shell.run("register", "--group", "acme")
        shell.fake.refuses("DELETE", "/groups/42/hooks/5", 403)
        assert shell.run("remove", "--group", "acme").exit_code == 1
        assert shell.store.of(GROUP) is secrets
        assert [hook.scope for hook in shell.recorded] == [GROUP]


def delivery(number: int, event: str, *, accepted: bool = True) -> dict[str, Any]:
    """A delivery as GitLab lists it, with our webhook's answer."""
    answer = {"accepted": accepted, "reason": event}
    return {"id": number, "response_body": json.dumps(answer), "response_status": "202"}


PENDING, FINISHED = delivery(8, "job.pending"), delivery(7, "job.finished")
MANUAL, CREATED = delivery(9, "other_status", accepted=False), delivery(9, "job.created")
OTHER = {"id": 10, "response_body": "<html>"}  # of a proxy before our webhook
DISABLED = {"JobPending": "is disabled"}


class TestTest:
    """`webhook test` ends well only when the fleet itself heard of the sample."""

    def shell_with_hook(self, shell: Shell, answer: Any = None, status: int = 201) -> Shell:
        stored(shell, GROUP)
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        shell.run("register", "--group", "acme")
        path = "/groups/42/hooks/5/test/job_events"
        shell.fake.answers("POST", path, answer or {}, status=status)
        return shell

    @pytest.mark.parametrize(
        ("before", "hears_after", "code"),
        [
            pytest.param(None, 1, 0, id="heard of"),
            pytest.param(None, None, 1, id="never heard of"),
            pytest.param(HEARD_EVERY.total_seconds(), None, 0, id="the last one was just noted"),
            pytest.param(HEARD_EVERY.total_seconds() + 1, None, 1, id="an older one says nothing"),
        ],
    )
    def test_when(
        self, before: float | None, hears_after: int | None, code: int, shell: Shell
    ) -> None:
        at_work = self.shell_with_hook(shell)
        if before is not None:
            (row,) = at_work.recorded
            at_work.rows.note_delivery(at_work.instance, row.name, "used", at=at_work.clock())
            at_work.clock.go(before)
        at_work.hears_after = hears_after
        assert at_work.run("test", "--group", "acme").exit_code == code

    @pytest.mark.parametrize(
        ("listed", "faults", "lost"),
        [
            pytest.param([PENDING], {}, "missing route to ledger", id="its function is broken"),
            pytest.param([PENDING], DISABLED, "missing bus to route", id="its rule is disabled"),
            pytest.param([FINISHED], DISABLED, "missing settle to ledger", id="another rule is"),
            pytest.param([MANUAL], DISABLED, "untried webhook to bus", id="no event"),
            pytest.param([CREATED], {}, "untried webhook to bus", id="an event without a rule"),
            pytest.param([OTHER], {}, "untried webhook to bus", id="an answer of others"),
            pytest.param([OTHER], DISABLED, "missing bus to route or settle", id="and a bad rule"),
            pytest.param(None, {}, "untried webhook to bus", id="no list, as before GitLab 17.3"),
        ],
    )
    def test_it_says_which_hop_is_missing(
        self, listed: Any, faults: dict[str, str], lost: str, shell: Shell
    ) -> None:
        at_work = self.shell_with_hook(shell)
        at_work.hears_after, at_work.rule_faults = None, faults
        if listed is not None:
            at_work.fake.answers("GET", "/groups/42/hooks/5/events", [])
            at_work.fake.answers("GET", "/groups/42/hooks/5/events", listed)
        done = at_work.run("test", "--group", "acme", "--json")
        hops = json.loads(done.stdout)["hops"]
        lines = [f"{hop['result']} {hop['hop']}" for hop in hops]
        first = next(line for line in lines if line.startswith(lost.partition(" ")[0]))
        assert (done.exit_code, first) == (1, lost)
        assert lost.partition(" ")[2] in done.stderr
        assert all("missing" not in line for line in lines if lost.startswith("untried"))

    def test_a_bus_that_takes_no_event_is_a_hop_of_its_own(self, shell: Shell) -> None:
        refusal = {"message": '{"accepted":false,"reason":"the fleet cannot take it now"}'}
        at_work = self.shell_with_hook(shell, refusal, status=422)
        done = at_work.run("test", "--group", "acme")
        assert (done.exit_code, "lost from webhook to bus" in done.stderr) == (1, True)

    def test_where_the_newest_job_has_no_event_an_earlier_delivery_is_sent_again(
        self, shell: Shell
    ) -> None:
        at_work = self.shell_with_hook(shell)
        at_work.hears_after = 1
        at_work.fake.answers("GET", "/groups/42/hooks/5/events", [FINISHED])
        at_work.fake.answers("GET", "/groups/42/hooks/5/events", [MANUAL, FINISHED])
        at_work.fake.answers("POST", "/groups/42/hooks/5/events/7/resend", {}, status=201)
        done = at_work.run("test", "--group", "acme")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "settle to ledger: noted at" in done.stdout


class TestAGroupAbove:
    """A webhook of the fleet on a group brings the jobs of all that is in it."""

    @pytest.fixture
    def covered(self, shell: Shell) -> Shell:
        """`acme/demo` is in the subgroup 43 of the group 42, which has one."""
        stored(shell, GROUP)
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        shell.fake.answers("GET", "/groups/acme%2Fsub", {"id": 43})
        shell.fake.answers("GET", "/groups/43", {"id": 43, "parent_id": 42})
        shell.fake.answers("GET", "/groups/42", {"id": 42, "parent_id": None})
        shell.fake.answers("GET", "/groups/43/hooks", [])
        shell.fake.answers("GET", "/projects/77/groups", [{"id": 43}, {"id": 42}])
        assert shell.run("register", "--group", "acme").exit_code == 0
        shell.fake.requests.clear()
        return shell

    @pytest.mark.parametrize("scope", [("--project", "acme/demo"), ("--group", "acme/sub")])
    def test_no_second_one_is_registered(self, scope: tuple[str, str], covered: Shell) -> None:
        covered.fake.answers("GET", "/groups/42/hooks/5", HOOK)
        for _ in range(2):
            done = covered.run("register", *scope, "--json")
            assert (done.exit_code, json.loads(done.stdout)["scope"]) == (0, "group:42")
        assert "brings the jobs of" in covered.run("register", *scope).stdout
        assert {request.verb for request in covered.fake.requests} == {"GET"}
        assert [hook.scope for hook in covered.recorded] == [GROUP]
        for command in ("test", "rotate"):
            assert "brings the jobs of" in covered.run(command, *scope).stderr
        watched = [row.project_id for row in covered.rows.watched(covered.instance)]
        assert watched == ([77] if scope[0] == "--project" else [])

    @pytest.mark.parametrize("status", [403, 404])
    def test_one_that_gitlab_has_no_more_brings_nothing(self, status: int, covered: Shell) -> None:
        """A token that may not see it (403) goes by what reconcile saw."""
        covered.fake.refuses("GET", "/groups/42/hooks/5", status)
        covered.fake.answers("POST", "/projects/77/hooks", HOOK, status=201)
        covered.run("register", "--project", "acme/demo")
        is_made = PROJECT in {hook.scope for hook in covered.recorded}
        assert is_made is (status == 404)

    def test_a_hook_of_its_own_stays_and_the_command_says_so(self, covered: Shell) -> None:
        covered.fake.answers("GET", "/groups/42/hooks/5", HOOK)
        stored(covered, PROJECT)
        covered.fake.answers("GET", "/projects/77/hooks", [HOOK])
        covered.run("register", "--project", "acme/demo")  # meets the list without one
        done = covered.run("register", "--project", "acme/demo")
        assert done.stdout.startswith("already registered")
        assert "`runner-fleet webhook remove --project 77`" in done.stdout

    def test_one_at_another_address_is_another_fleet(self, covered: Shell) -> None:
        covered.fake.answers("GET", "/groups/42/hooks/5", HOOK)
        url = "https://other.example.com"
        covered.fake.answers("POST", "/projects/77/hooks", HOOK | {"url": url}, status=201)
        covered.run("register", "--project", "acme/demo", "--url", url)
        assert PROJECT in {hook.scope for hook in covered.recorded}


def test_gitlab_and_its_token_are_the_fleet_s_where_none_is_given(shell: Shell) -> None:
    text = (
        f'[gitlab]\nurl = "{shell.fake.url}"\nrunners_in = "group:42"\n'
        '[pools.p]\nbackend = "lambda"\nrun_untagged = true\nceiling = 1\n'
    )
    shell.rows.store_config(StoredConfig(text=text, version="v", applied_at=AT))
    shell.own_token = "glpat-own"
    shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
    world = HookWorld(store=shell.store, url=URL, rows=shell.rows, token=lambda: "glpat-own")
    env = {"GITLAB_URL": None, "GITLAB_TOKEN": None}
    done = CliRunner().invoke(
        app, ["webhook", "list", "--group", "acme"], prog_name="runner-fleet", obj=world, env=env
    )
    assert done.exit_code == 0
    assert {request.token for request in shell.fake.requests} == {"glpat-own"}


def test_a_fleet_without_a_webhook_is_a_problem(shell: Shell) -> None:
    done = shell.run("list")
    assert (done.exit_code, done.stdout.count("webhook register")) == (1, 1)


@pytest.mark.parametrize("command", ["list", "test", "register", "rotate", "remove"])
def test_a_refusal_of_gitlab_is_one_line(command: str, shell: Shell) -> None:
    shell.fake.refuses("GET", "/groups/closed", 403)
    done = shell.run(command, "--group", "closed")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "glpat-hidden" not in done.output


class TestTheWayToGitLab:
    """The private authority and the proxy are those that `apply` stored."""

    @pytest.fixture
    def passed(self, shell: Shell, ca: PrivateCa) -> Iterator[Passed]:
        with (
            tls_door(shell.fake.url, ca) as door,
            small_proxy(leads_to=door) as passed,
        ):
            text = (
                '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"\n'
                f'proxy = "{passed.url}"\n'
                '[pools.p]\nbackend = "lambda"\nrun_untagged = true\nceiling = 1\n'
            )
            stored = StoredConfig(text=text, version="v", applied_at=AT, tls_ca=ca.pem)
            shell.rows.store_config(stored)
            yield passed

    @pytest.mark.parametrize("command", ["list", "register"])
    def test_it_is_the_one_that_was_applied(
        self, command: str, shell: Shell, passed: Passed
    ) -> None:
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK] if command != "register" else [])
        shell.fake.answers("POST", "/groups/42/hooks", HOOK, status=201)
        done = shell.run(command, "--group", "acme", "--gitlab-url", "https://gitlab.example.com")
        assert (done.exit_code, done.stderr) == (0, "")
        assert set(passed.connects) == {"CONNECT gitlab.example.com:443"}

    def test_another_gitlab_is_reached_straight(self, shell: Shell, passed: Passed) -> None:
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        assert shell.run("list", "--group", "acme").exit_code == 0
        assert passed.connects == []


def test_hooks_can_be_listed_without_a_stack() -> None:
    with fake_gitlab() as fake:
        fake.answers("GET", "/groups/acme", {"id": 42})
        fake.answers("GET", "/groups/42/hooks", [HOOK])
        env = {"GITLAB_TOKEN": "glpat-hidden", "AWS_PROFILE": "no-such-profile"}
        arguments = ["webhook", "list", "--gitlab-url", fake.url, "--group", "acme"]
        done = CliRunner().invoke(app, arguments, prog_name="runner-fleet", env=env)
    assert done.exit_code == 0
    assert done.output == f"5\tgroup:42\texecutable\tnot the fleet's\t{URL}\n"
