"""`validate`: every problem by its line, the scopes that are needed, and GitLab's own word."""

from pathlib import Path
from typing import Any

import pytest

from adapters.gitlab import GitLabToken
from cli.token_check import check_token
from fleet.config import read_config
from fleet.errors import Refused
from tests.fakes import FakeGitLab
from tests.unit.cli.fleet_at_work import FLEET, AtWork

SCOPES = frozenset({"read_api", "create_runner", "manage_runner"})
TOKEN = {"GITLAB_TOKEN": "glpat-1"}


class FakeAccounts(FakeGitLab):
    """A GitLab that tells about the token and its user's places."""

    def __init__(self, scopes: frozenset[str] = SCOPES, **facts: Any) -> None:
        super().__init__()
        self.token = GitLabToken(scopes=scopes, **facts)
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
        return group_id in self.owned

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


def test_a_good_file_is_told_with_what_it_needs(file: Path) -> None:
    result = AtWork().run("validate", str(file))
    assert result.exit_code == 0
    assert "valid, 1 pool (docker), version " in result.stdout
    for scope in SCOPES:
        assert f"  {scope} " in result.stdout
    assert "GitLab says" not in result.stdout


def test_infra_retry_needs_the_whole_api(file: Path) -> None:
    file.write_text(FLEET + "infra_retry = true\n")
    result = AtWork().run("validate", str(file))
    assert "  api            retries jobs that a machine failed" in result.stdout
    assert "read_api" not in result.stdout


def test_every_problem_has_its_line(file: Path) -> None:
    file.write_text(FLEET.replace("ceiling = 5", 'ceiling = 0\nsize = "2GB"'))
    result = AtWork().run("validate", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "fleet.toml line 9: pools.docker.ceiling: must be 1 or more (is 0)",
    ]


def test_a_file_that_is_not_text_is_said(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
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
    found = [one.holds for one in check_token(config, accounts) if claim in one.claim]
    assert found == [holds]


@pytest.mark.parametrize(("role", "holds"), [(50, True), (40, True), (30, False)])
def test_making_project_runners_needs_a_maintainer(role: int, holds: bool) -> None:
    accounts = FakeAccounts()
    accounts.roles = {9: role}
    config = read_config(FLEET.replace("group:42", "project:9"))
    (found,) = [one for one in check_token(config, accounts) if "project 9" in one.claim]
    assert found.holds is holds


def test_watched_places_must_be_there() -> None:
    watch = 'watch = { projects = ["acme/demo"], groups = [42, 43] }\n'
    config = read_config(FLEET.replace('"group:42"\n', f'"group:42"\n{watch}'))
    found = {one.claim: one.holds for one in check_token(config, FakeAccounts())}
    assert found["project acme/demo is there"] is False
    assert found["group 42 is there"] is True
    assert found["group 43 is there"] is False
