"""`validate`: every problem by its line, the scopes that are needed, and GitLab's own word."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from adapters.gitlab.client import GitLabProject, GitLabToken
from fleet.config.reading import read_config
from fleet.errors import Refused, Transient
from operations.token_check import check_token
from tests.fakes import FakeGitLab
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork

RETRIES = "retries jobs that a machine failed, "
HEALS = f"{RETRIES}switches webhooks on again that GitLab switched off"

SCOPES = frozenset({"read_api", "create_runner", "manage_runner"})
TOKEN = {"GITLAB_TOKEN": "glpat-1"}


class FakeAccounts(FakeGitLab):
    """A GitLab that tells about the token and its user's places."""

    def __init__(self, scopes: frozenset[str] = SCOPES, **facts: Any) -> None:
        super().__init__()
        day = facts.pop("expires_at", None)
        expires_at = date.fromisoformat(day) if day else None
        self.token = GitLabToken(scopes=scopes, expires_at=expires_at, **facts)
        self.is_admin = False
        self.owned: set[int] = {42}
        self.roles: dict[int, int] = {}

    def own_token(self) -> GitLabToken:
        """The token that was given."""
        return self.token

    def is_administrator(self) -> bool:
        """Whether the user is one."""
        return self.is_admin

    def has_group(self, group_id: int, *, role: int) -> bool:
        """Whether the user owns a group."""
        return role == 50 and group_id in self.owned  # GitLab's number for an owner

    def role_in_project(self, id_or_path: int | str) -> int:
        """The user's role in a project; one that is hidden is refused."""
        if int(id_or_path) not in self.roles:
            raise Refused(status=404)
        return self.roles[int(id_or_path)]

    def group(self, id_or_path: int | str) -> int:
        """A group that is there."""
        if int(id_or_path) not in self.owned:
            raise Refused(status=404)
        return int(id_or_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


def test_every_problem_has_its_line(file: Path) -> None:
    file.write_text(FLEET.replace("ceiling = 5", 'ceiling = 0\nsize = "2GB"'))
    result = AtWork().run("validate", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "fleet.toml line 9: pools.docker.ceiling: must be 1 or more (is 0)",
    ]


def test_a_file_that_is_not_text_is_said(file: Path) -> None:
    file.write_bytes(b"\xfe\x00")
    result = AtWork().run("validate", str(file))
    assert result.exit_code == 1
    assert "is not UTF-8 text" in result.stderr


@pytest.mark.parametrize(("owns", "code"), [(True, 0), (False, 1)])
def test_live_asks_gitlab(file: Path, owns: bool, code: int) -> None:
    at_work = AtWork()
    accounts = FakeAccounts(expires_at="2027-01-31")
    accounts.owned = {42} if owns else set()
    at_work.gitlab = accounts
    result = at_work.run("validate", str(file), "--live", env=TOKEN)
    assert result.exit_code == code
    assert at_work.connected == [("https://gitlab.example.com", "glpat-1")]
    assert "yes  the token is active, valid until 2027-01-31" in result.stdout
    mark = "yes " if owns else "NO  "
    assert f"{mark} its user is owner of group 42" in result.stdout


def test_live_without_a_token_says_where_to_put_it(file: Path) -> None:
    result = AtWork().run("validate", str(file), "--live", env={"GITLAB_TOKEN": ""})
    assert result.exit_code == 1
    assert "GITLAB_TOKEN" in result.stderr


@pytest.mark.parametrize(
    ("where", "accounts", "claim", "holds"),
    [
        ("group:42", FakeAccounts(), "owner of group 42", True),
        ("group:43", FakeAccounts(), "owner of group 43", False),
        ("instance", FakeAccounts(), "its user is an administrator", False),
        ("project:9", FakeAccounts(), "maintainer of project 9", False),
        ("project", FakeAccounts(), "maintainer of every project", None),
        ("group:42", FakeAccounts(frozenset({"api"})), "scope create_runner", True),
        ("group:42", FakeAccounts(frozenset({"read_api"})), "scope create_runner", False),
        ("group:42", FakeAccounts(frozenset({"create_runner"})), "its user has the role", None),
        ("group:42", FakeAccounts(active=False), "the token is active", False),
    ],
)
def test_each_claim_holds_or_does_not_or_cannot_be_seen(
    where: str, accounts: FakeAccounts, claim: str, holds: bool | None
) -> None:
    config = read_config(FLEET.replace("group:42", where).replace("idle", "# idle"))
    found = [one.holds for one in check_token(config, accounts, AT) if claim in one.claim]
    assert found == [holds]


@pytest.mark.parametrize(("role", "holds"), [(50, True), (40, True), (30, False)])
def test_making_project_runners_needs_a_maintainer(role: int, holds: bool) -> None:
    accounts = FakeAccounts()
    accounts.roles = {9: role}
    config = read_config(FLEET.replace("group:42", "project:9"))
    (found,) = [one for one in check_token(config, accounts, AT) if "project 9" in one.claim]
    assert found.holds is holds


# All that is said, whole

NEEDS = [
    "the fleet's GitLab token needs:",
    "  read_api       reads the tags and states of jobs",
    "  create_runner  makes the runners",
    "  manage_runner  deletes the runners of machines that ended",
    f"  api            {RETRIES}switches webhooks on again that GitLab switched off (if you like)",
]
NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 9\nmax_job_time = "11m"\n'


def said(result: Result) -> tuple[int, list[str], list[str]]:
    return result.exit_code, result.stdout.splitlines(), result.stderr.splitlines()


def test_a_good_file_needs_no_more_than_this(file: Path) -> None:
    version = read_config(FLEET).version
    head = f"{file}: valid, 1 pool (docker), version {version}"
    assert said(AtWork().run("validate", str(file))) == (0, [head, *NEEDS], [])


def test_the_pools_are_counted_and_named_as_in_the_file(file: Path) -> None:
    file.write_text(FLEET + NODE)
    (head, *_) = said(AtWork().run("validate", str(file)))[1]
    assert ": valid, 2 pools (docker, node), version " in head


def test_a_pool_that_retries_needs_api_and_nothing_else(file: Path) -> None:
    file.write_text(FLEET + "infra_retry = true\n")
    assert said(AtWork().run("validate", str(file)))[1][1:] == [
        NEEDS[0],
        "  api            retries jobs that a machine failed (infra_retry in docker), "
        "switches webhooks on again that GitLab switched off",
    ]


def test_what_is_only_doubtful_is_a_warning_and_no_failure(file: Path) -> None:
    file.write_text(FLEET.replace(', "m7a.large"', ""))
    code, out, err = said(AtWork().run("validate", str(file)))
    assert (code, out[1:]) == (0, NEEDS)
    (warning,) = err
    assert warning.startswith("warning: fleet.toml line 8: pools.docker.instance_types: ")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "x = [1\n",
            ["fleet.toml line 1: not TOML at column 5: Unclosed array; it starts here"],
        ),
        (
            "",
            ["fleet.toml line 1: there is nothing in it; "],
        ),
        (
            FLEET.replace("ceiling = 5", 'ceilng = 5\nmarket = "free"'),
            [
                "fleet.toml line 5: pools.docker.ceiling: is missing",
                'fleet.toml line 9: pools.docker.ceilng: unknown key; did you mean "ceiling"?',
                "fleet.toml line 10: pools.docker.market: must be",
            ],
        ),
        (
            FLEET.replace('"ec2"', "5").replace("https://gitlab", "gitlab") + "\n[pool.x]\n",
            [
                "fleet.toml line 2: gitlab.url: ",
                "fleet.toml line 6: pools.docker.backend: must be text in quotes (is 5)",
                'fleet.toml line 12: pool: unknown table; did you mean "pools"?',
            ],
        ),
        (
            FLEET + 'overflow = "dcker"\n',
            ["fleet.toml line 11: pools.docker.overflow: "],
        ),
    ],
)
def test_each_problem_is_a_line_of_its_own_in_the_files_order(
    file: Path, text: str, lines: list[str]
) -> None:
    file.write_text(text)
    code, out, err = said(AtWork().run("validate", str(file)))
    assert (code, out) == (1, [])
    assert [one[: len(start)] for one, start in zip(err, lines, strict=True)] == lines


def test_the_file_of_this_folder_is_meant_where_none_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert said(AtWork().run("validate"))[1][0].startswith("fleet.toml: valid, 1 pool (docker)")


# GitLab's own word, whole


def live(file: Path, accounts: FakeAccounts, *more: str) -> tuple[int, list[str]]:
    """The exit code, and what GitLab is told to say."""
    at_work = AtWork(gitlab=accounts)
    result = at_work.run("validate", str(file), "--live", *more, env=TOKEN | {"MY": "glpat-2"})
    assert "glpat" not in result.output
    lines = result.stdout.splitlines()
    return result.exit_code, lines[lines.index("GitLab says:") + 1 :]


def test_a_token_that_may_do_everything_passes(file: Path) -> None:
    assert live(file, FakeAccounts(SCOPES | {"api"})) == (
        0,
        [
            "  yes  the token is active, does not expire",
            "  yes  it has the scope read_api: reads the tags and states of jobs",
            "  yes  it has the scope create_runner: makes the runners",
            "  yes  it has the scope manage_runner: deletes the runners of machines that ended",
            f"  yes  it has the scope api: {HEALS}",
            "  yes  its user is owner of group 42",
        ],
    )


def test_what_one_may_do_without_is_no_failure(file: Path) -> None:
    code, lines = live(file, FakeAccounts())
    assert code == 0
    assert lines[4] == (
        f"  ?    it has the scope api: {RETRIES}switches webhooks on again that GitLab switched off"
    )


def test_each_scope_that_lacks_is_a_no(file: Path) -> None:
    code, lines = live(file, FakeAccounts(frozenset({"read_api", "manage_runner"})))
    assert (code, [line[:6] for line in lines]) == (
        1,
        ["  yes ", "  yes ", "  NO  ", "  yes ", "  ?   ", "  yes "],
    )


def test_without_read_api_places_cannot_be_seen(file: Path) -> None:
    text = FLEET.replace('"group:42"\n', '"group:42"\nwatch = { projects = ["acme/demo"] }\n')
    file.write_text(text)
    code, lines = live(file, FakeAccounts(frozenset({"create_runner", "manage_runner"})))
    assert (code, lines[1][:6]) == (1, "  NO  ")
    assert lines[5:] == ["  ?    its user has the role that making runners needs"]


def test_watched_places_are_told_last_projects_before_groups(file: Path) -> None:
    watch = 'watch = { projects = ["acme/demo"], groups = [43, 42] }\n'
    file.write_text(FLEET.replace('"group:42"\n', f'"group:42"\n{watch}'))
    accounts = FakeAccounts()
    accounts.add_project(GitLabProject(id=7, path="acme/demo"))
    code, lines = live(file, accounts)
    assert (code, lines[6:]) == (
        1,
        [
            "  yes  project acme/demo is there",
            "  NO   group 43 is there",
            "  yes  group 42 is there",
        ],
    )


@pytest.mark.parametrize(("days", "warned"), [(13, True), (14, False)])
def test_a_token_that_ends_soon_is_doubtful(file: Path, days: int, warned: bool) -> None:
    ends_on = AT.date() + timedelta(days=days)
    code, lines = live(file, FakeAccounts(expires_at=str(ends_on)))
    assert code == 0
    assert any(line.startswith("  ?    it is valid for two weeks more") for line in lines) is warned


def test_a_token_that_is_not_active_fails_whatever_it_may_do(file: Path) -> None:
    code, lines = live(file, FakeAccounts(active=False, expires_at="2026-01-31"))
    assert code == 1
    assert lines[0] == "  NO   the token is active, valid until 2026-01-31"
    assert lines[-1] == "  yes  its user is owner of group 42"


def test_the_token_of_another_variable_is_asked_for(file: Path) -> None:
    at_work = AtWork(gitlab=FakeAccounts())
    arguments = ("validate", str(file), "--live", "--token-env", "MY")
    assert at_work.run(*arguments, env=TOKEN | {"MY": "glpat-2"}).exit_code == 0
    assert at_work.connected == [("https://gitlab.example.com", "glpat-2")]


def test_a_gitlab_that_does_not_answer_is_said_after_what_the_file_says(file: Path) -> None:
    class Silent(FakeAccounts):
        """A GitLab that nobody reaches."""

        def own_token(self) -> GitLabToken:
            raise Transient("GitLab did not answer", call="GET /x", error="ConnectTimeout")

    result = AtWork(gitlab=Silent()).run("validate", str(file), "--live", env=TOKEN)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:] == NEEDS
    assert result.stderr.startswith("Error: GitLab did not answer: check its address")


def test_an_instances_administrator_may_make_runners_everywhere() -> None:
    config = read_config(FLEET.replace("group:42", "instance"))
    for is_admin in (True, False):
        accounts = FakeAccounts()
        accounts.is_admin = is_admin
        last = check_token(config, accounts, AT)[-1]
        assert (last.claim, last.holds) == ("its user is an administrator", is_admin)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (FLEET.encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
        (FLEET.encode("utf-16-be"), "line 1: the file holds a NUL"),
        (b"# a\n# b\n# gr\xfc\xdfe\n" + FLEET.encode(), "save it as UTF-8 (file="),
        (b"\xef\xbb\xbf" + b"#" * 2_000_000, "line 1: the file has"),
        (b"", "there is nothing in it"),
        (b'{"gitlab": 1}', "this is JSON"),
    ],
)
def test_what_is_no_fleet_file_is_one_line(raw: bytes, says: str, file: Path) -> None:
    file.write_bytes(raw)
    result = AtWork().run("validate", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert says in line
    assert len(line) < 300


def test_the_line_of_what_is_not_utf_8_is_told(file: Path) -> None:
    file.write_bytes(b"# a\n# b\n# gr\xfc\xdfe\n")
    assert "line=3" in AtWork().run("validate", str(file)).stderr


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    result = AtWork().run("validate", str(tmp_path))
    assert result.exit_code == 2
    assert "directory" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["validate", "apply"])
def test_instance_types_are_held_against_aws_s_list(command: str, file: Path) -> None:
    file.write_text(FLEET.replace("m7i.large", "m7i.lrge"))
    result = AtWork().run(command, str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert 'AWS has no "m7i.lrge"; did you mean "m7i.large"?' in result.stderr
