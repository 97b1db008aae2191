from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.gitlab.hooks import Registered
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from cli.webhook import HookWorld, app, applied_way, keep, registered_at
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, webhook_name
from tests.fakes import AT, FakeTable
from tests.private_ca import Passed, make_ca, small_proxy, tls_door
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab

URL = "https://abc.execute-api.eu-central-1.amazonaws.com/webhook"
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

    def change(self, hook: str, secrets: WebhookSecrets) -> None:
        self.by_hook[hook] = secrets

    def of(self, scope: str) -> WebhookSecrets:
        return self.by_hook[webhook_name(scope, URL)]


@dataclass
class Shell:
    """Runs the command against a GitLab and a stack that are not there."""

    fake: FakeGitLab
    store: Store = field(default_factory=Store)
    recorded: list[tuple[str, Registered]] = field(default_factory=list)
    rows: FleetRows = field(default_factory=lambda: FleetRows(FakeTable()))

    def run(self, command: str, *options: str, token: str | None = "glpat-hidden") -> Result:
        world = HookWorld(
            store=self.store,
            url=URL,
            record=lambda instance, hook: self.recorded.append((instance, hook)),
            since=lambda *_: AT,
            way=lambda url: applied_way(self.rows, url),
            pause=lambda _: None,
        )
        arguments = [command, "--gitlab-url", self.fake.url, *options]
        return CliRunner().invoke(app, arguments, obj=world, env={"GITLAB_TOKEN": token})


@pytest.fixture
def shell() -> Iterator[Shell]:
    with fake_gitlab() as fake:
        fake.answers("GET", "/projects/acme%2Fdemo", {"id": 77, "path_with_namespace": "acme/demo"})
        fake.answers("GET", "/groups/acme", {"id": 42})
        fake.answers("GET", "/projects/77/hooks", [])
        yield Shell(fake)


class TestRegister:
    """`webhook register`."""

    def test_a_project(self, shell: Shell) -> None:
        shell.fake.answers("POST", "/projects/77/hooks", HOOK, status=201)
        done = shell.run("register", "--project", "acme/demo")
        assert done.exit_code == 0
        assert done.output == f"registered: hook 5 on project:77, signing token\n  {URL}\n"
        ((instance, hook),) = shell.recorded
        assert instance == shell.fake.url.removeprefix("http://")
        assert (hook.hook_id, hook.scope, hook.changed) == (5, "project:77", True)

    def test_never_prints_the_secret(self, shell: Shell) -> None:
        shell.fake.answers("POST", "/projects/77/hooks", HOOK, status=201)
        done = shell.run("register", "--project", "acme/demo")
        (secret,) = shell.store.of("project:77").signing
        assert shell.fake.asked[-1].body["signing_token"] == secret
        assert secret not in done.output
        assert "glpat-hidden" not in done.output

    def test_a_group_at_an_address_of_its_own(self, shell: Shell) -> None:
        made = HOOK | {"url": "https://hooks.example.com/"}
        shell.fake.answers("GET", "/groups/42/hooks", [])
        shell.fake.answers("POST", "/groups/42/hooks", made, status=201)
        done = shell.run("register", "--group", "acme", "--url", "https://hooks.example.com/")
        assert "hook 5 on group:42" in done.output
        assert shell.fake.asked[-1].body["url"] == "https://hooks.example.com/"

    def test_again(self, shell: Shell) -> None:
        shell.store.by_hook[webhook_name("project:77", URL)] = WebhookSecrets(signing=("whsec_a",))
        shell.fake.answers("GET", "/projects/77/hooks", [HOOK])
        shell.fake.answers("GET", "/projects/77/hooks", [HOOK])
        shell.run("register", "--project", "acme/demo")  # the fixture's first answer: none
        done = shell.run("register", "--project", "acme/demo")
        assert done.output.startswith("already registered, nothing changed: hook 5")

    def test_again_and_again_asks_for_nothing_and_makes_no_secret(self, shell: Shell) -> None:
        stored = WebhookSecrets(signing=("whsec_a",))
        shell.store.by_hook[webhook_name("group:42", URL)] = stored
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        outputs = {shell.run("register", "--group", "acme").output for _ in range(3)}
        assert outputs == {
            f"already registered, nothing changed: hook 5 on group:42, signing token\n  {URL}\n"
        }
        assert {asked.verb for asked in shell.fake.asked} == {"GET"}
        assert shell.store.of("group:42") is stored
        # The ledger hears of it each time: somebody may have emptied it.
        assert [hook.changed for _, hook in shell.recorded] == [False, False, False]

    @pytest.mark.parametrize(
        "fault",
        [
            {"push_events": True},
            {"job_events": False},
            {"signing_token_present": False},
            {"pipeline_events": True},
        ],
    )
    def test_a_hook_that_somebody_changed_is_mended(
        self, fault: dict[str, Any], shell: Shell
    ) -> None:
        shell.store.by_hook[webhook_name("group:42", URL)] = WebhookSecrets(signing=("whsec_a",))
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK | fault])
        shell.fake.answers("PUT", "/groups/42/hooks/5", HOOK)
        done = shell.run("register", "--group", "acme")
        assert done.output.startswith("registered: hook 5 on group:42, signing token\n")
        sent = shell.fake.asked[-1]
        assert (sent.verb, sent.body["job_events"], sent.body["push_events"]) == (
            "PUT",
            True,
            False,
        )
        assert sent.body["signing_token"] == "whsec_a"
        assert "whsec_a" not in done.output

    def test_a_gitlab_that_cannot_sign_gets_a_secret_token_unsaid(self, shell: Shell) -> None:
        plain = HOOK | {"signing_token_present": False, "token_present": True}
        shell.fake.answers("POST", "/projects/77/hooks", plain, status=201)
        shell.fake.answers("PUT", "/projects/77/hooks/5", plain)
        done = shell.run("register", "--project", "acme/demo")
        assert done.output == f"registered: hook 5 on project:77, secret token\n  {URL}\n"
        (token,) = shell.store.of("project:77").tokens
        assert shell.fake.asked[-1].body["token"] == token
        assert token not in done.output

    def test_a_rotation_says_neither_the_old_nor_the_new_secret(self, shell: Shell) -> None:
        old = f"whsec_{'A' * 43}="
        shell.store.by_hook[webhook_name("group:42", URL)] = WebhookSecrets(signing=(old,))
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK])
        shell.fake.answers("PUT", "/groups/42/hooks/5", HOOK)
        done = shell.run("register", "--group", "acme", "--rotate")
        assert done.output.startswith("registered: hook 5 on group:42, signing token")
        new, kept = shell.store.of("group:42").signing
        assert (kept, new != old) == (old, True)
        assert old not in done.output
        assert new not in done.output

    def test_a_gitlab_that_repeats_the_secret_is_not_repeated(self, shell: Shell) -> None:
        secret = f"whsec_{'A' * 43}="
        shell.store.by_hook[webhook_name("project:77", URL)] = WebhookSecrets(signing=(secret,))
        said = {"message": f"signing_token {secret} is not valid"}
        shell.fake.answers("POST", "/projects/77/hooks", said, status=422)
        done = shell.run("register", "--project", "acme/demo")
        assert done.exit_code == 1
        assert "said=signing_token whsec_... is not valid" in done.stderr
        assert secret not in done.output
        assert shell.recorded == []

    def test_a_hook_of_somebody_else_is_left_alone(self, shell: Shell) -> None:
        shell.store.by_hook[webhook_name("group:42", URL)] = WebhookSecrets(signing=("whsec_a",))
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK | {"id": 6, "url": "https://x/"}])
        shell.fake.answers("POST", "/groups/42/hooks", HOOK, status=201)
        shell.run("register", "--group", "acme")
        assert [one.verb for one in shell.fake.asked if one.verb != "GET"] == ["POST"]

    def test_rotate(self, shell: Shell) -> None:
        shell.store.by_hook[webhook_name("project:77", URL)] = WebhookSecrets(signing=("whsec_a",))
        shell.fake.answers("POST", "/projects/77/hooks", HOOK, status=201)
        assert shell.run("register", "--project", "acme/demo", "--rotate").exit_code == 0
        assert shell.store.of("project:77").signing[1] == "whsec_a"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ([], "either a project or a group"),
            (["--project", "a", "--group", "b"], "either a project or a group"),
            (["--project", "acme/none"], "hides it"),
            (["--project", "acme/demo", "--token-env", "UNSET"], "variable=UNSET"),
        ],
    )
    def test_what_goes_wrong_is_one_line(
        self, options: list[str], words: str, shell: Shell
    ) -> None:
        done = shell.run("register", *options)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert shell.recorded == []

    def test_a_wrong_call_asks_neither_gitlab_nor_aws(self, shell: Shell) -> None:
        for options in ([], ["--project", "a", "--group", "b"]):
            arguments = ["register", "--gitlab-url", shell.fake.url, *options]
            env = {"GITLAB_TOKEN": "glpat-hidden", "AWS_PROFILE": "nobody-has-this-profile"}
            done = CliRunner().invoke(app, arguments, env=env)  # no stack in place of AWS
            assert done.stderr == "Error: name either a project or a group\n"
        assert shell.fake.asked == []

    def test_a_token_that_gitlab_does_not_know(self, shell: Shell) -> None:
        shell.fake.answers("GET", "/groups/secret", {"message": "401 Unauthorized"}, status=401)
        done = shell.run("register", "--group", "secret")
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: GitLab does not know this token")
        assert "glpat-hidden" not in done.output

    @pytest.mark.parametrize("url", ["", "gitlab.example.com"])
    def test_an_address_that_is_none(self, url: str, shell: Shell) -> None:
        done = shell.run("register", "--project", "acme/demo", "--gitlab-url", url)
        assert done.exit_code == 1
        assert "write GitLab's address as https://" in done.stderr

    def test_without_a_token(self, shell: Shell) -> None:
        done = shell.run("register", "--project", "acme/demo", token=None)
        assert (done.exit_code, shell.fake.asked) == (1, [])
        assert "GITLAB_TOKEN" in done.stderr


class TestKeep:
    """What the ledger knows of a hook: reconcile looks after it from then on."""

    @pytest.mark.parametrize(("scope", "watched"), [("project:77", [77]), ("group:42", [])])
    def test_reconcile_is_told_of_it(self, scope: str, watched: list[int]) -> None:
        rows = FleetRows(FakeTable())
        hook = Registered(
            hook_id=5,
            name=webhook_name(scope, URL),
            scope=scope,
            url=URL,
            verification="signing-token",
            secret_ids=("a", "b"),
            changed=True,
        )
        for _ in range(2):
            keep(rows, "gitlab.example.com", hook, at=AT)
        (row,) = rows.hooks("gitlab.example.com")
        assert (row.scope, row.hook_id, row.url) == (scope, 5, URL)
        assert (row.verification, row.healthy) == ("signing-token", True)
        assert (row.name, row.secret_ids, row.registered_at) == (hook.name, hook.secret_ids, AT)
        assert registered_at(rows, "gitlab.example.com", scope, hook.name) == AT
        assert registered_at(rows, "gitlab.example.com", scope, "another address") is None
        assert registered_at(rows, "elsewhere.example.com", scope, hook.name) is None
        assert [one.project_id for one in rows.watched("gitlab.example.com")] == watched


class TestOthers:
    """`webhook list` and `webhook test`."""

    @pytest.fixture(autouse=True)
    def _hooks(self, shell: Shell) -> None:
        paused = {"alert_status": "temporarily_disabled", "disabled_until": "2026-08-20T09:15:00Z"}
        other = HOOK | {"id": 6, "url": "https://other.example.com", **paused}
        for path in ("/projects/77/hooks", "/groups/42/hooks"):
            shell.fake.answers("GET", path, [HOOK, other])

    def test_list_says_who_is_still_called(self, shell: Shell) -> None:
        done = shell.run("list", "--group", "acme")
        assert done.output.splitlines() == [
            f"5\texecutable\t{URL}",
            "6\ttemporarily_disabled until 2026-08-20 09:15 UTC\thttps://other.example.com",
        ]

    def test_list_of_a_project_without_hooks_is_empty(self, shell: Shell) -> None:
        shell.fake.answers("GET", "/projects/acme%2Fbare", {"id": 9, "path_with_namespace": "b"})
        shell.fake.answers("GET", "/projects/9/hooks", [])
        done = shell.run("list", "--project", "acme/bare")
        assert (done.exit_code, done.output) == (0, "")

    def test_sample_at_an_address_of_its_own(self, shell: Shell) -> None:
        shell.fake.answers("POST", "/groups/42/hooks/6/test/job_events", {}, status=201)
        done = shell.run("test", "--group", "acme", "--url", "https://other.example.com")
        assert done.output == "accepted: hook 6 on group:42\n"

    @pytest.mark.parametrize("command", ["list", "test", "register"])
    @pytest.mark.parametrize(
        ("status", "says"),
        [
            (401, "GitLab does not know this token"),
            (403, "this token may not do this: give it the scope and the role"),
            (404, "GitLab does not have it, or hides it from this token"),
            (500, "GitLab did not answer well"),
        ],
    )
    def test_what_gitlab_refuses_is_one_line(
        self, command: str, status: int, says: str, shell: Shell
    ) -> None:
        shell.fake.refuses("GET", "/groups/closed", status)
        done = shell.run(command, "--group", "closed")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: {says}")
        assert done.stderr.count("\n") == 1
        assert "glpat-hidden" not in done.output

    def test_sample(self, shell: Shell) -> None:
        shell.fake.answers("POST", "/groups/42/hooks/5/test/job_events", {}, status=201)
        done = shell.run("test", "--group", "acme")
        assert done.output == "accepted: hook 5 on group:42\n"

    def test_sample_that_was_not_accepted(self, shell: Shell) -> None:
        said = {"message": "Hook executed successfully but returned HTTP 401"}
        shell.fake.answers("POST", "/groups/42/hooks/5/test/job_events", said, status=422)
        done = shell.run("test", "--group", "acme")
        assert done.exit_code == 1
        assert "returned HTTP 401" in done.stderr

    def test_sample_without_a_hook(self, shell: Shell) -> None:
        done = shell.run("test", "--group", "acme", "--url", "https://nowhere.example.com")
        assert done.exit_code == 1
        assert "`runner-fleet webhook register` makes it" in done.stderr


class TestTheWayToGitLab:
    """A private authority and a proxy are those that `apply` stored; nothing is given again."""

    @pytest.fixture
    def passed(self, shell: Shell, tmp_path: Path) -> Iterator[Passed]:
        ca = make_ca(tmp_path)
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

    @pytest.mark.parametrize("command", ["list", "register", "test"])
    def test_it_is_the_one_that_was_applied(
        self, command: str, shell: Shell, passed: Passed
    ) -> None:
        shell.fake.answers("GET", "/groups/42/hooks", [HOOK] if command != "register" else [])
        shell.fake.answers("POST", "/groups/42/hooks", HOOK, status=201)
        shell.fake.answers("POST", "/groups/42/hooks/5/test/job_events", {}, status=201)
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
        env = {"GITLAB_TOKEN": "glpat-hidden", "AWS_PROFILE": "nobody-has-this-profile"}
        arguments = ["list", "--gitlab-url", fake.url, "--group", "acme"]
        done = CliRunner().invoke(app, arguments, env=env)
    assert (done.exit_code, done.output) == (0, f"5\texecutable\t{URL}\n")
