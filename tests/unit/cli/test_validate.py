"""`validate`: every problem by its line, the scopes that are needed, and GitLab's own word."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gitlab.values import GitLabProject, GitLabToken
from fleet.config.reading import read_config
from fleet.errors import Refused
from operations.token_check import check_token
from tests.fakes import FakeGitLab
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork
from tests.unit.cli.session import Session

SCOPES = frozenset({"read_api", "create_runner", "manage_runner"})
TOKEN = {"GITLAB_TOKEN": "glpat-1"}
NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 9\nmax_job_time = "11m"\n'
WATCH = 'watch = { projects = ["acme/demo"], groups = [43, 42] }\n'


class FakeAccounts(FakeGitLab):
    """A GitLab with a token and its user's places."""

    def __init__(self, scopes: frozenset[str] = SCOPES, **facts: Any) -> None:
        super().__init__()
        day = facts.pop("expires_at", None)
        self.is_admin: bool = facts.pop("is_admin", False)
        self.owned: set[int] = facts.pop("owned", {42})
        self.roles: dict[int, int] = facts.pop("roles", {})
        expires_at = date.fromisoformat(day) if day else None
        self.token = GitLabToken(scopes=scopes, expires_at=expires_at, **facts)
        self.add_project(GitLabProject(id=7, path="acme/demo"))

    def own_token(self) -> GitLabToken:
        return self.token

    def is_administrator(self) -> bool:
        """Whether the user is an administrator."""
        return self.is_admin

    def has_group(self, group_id: int, *, role: int) -> bool:
        """Whether the user owns a group."""
        return role == 50 and group_id in self.owned  # GitLab's number for an owner

    def role_in_project(self, id_or_path: int | str) -> int:
        """The user's role in a project; a hidden project is refused."""
        if int(id_or_path) not in self.roles:
            raise Refused(status=404)
        return self.roles[int(id_or_path)]

    def group(self, id_or_path: int | str) -> int:
        if int(id_or_path) not in self.owned:
            raise Refused(status=404)
        return int(id_or_path)


# The words, whole


def test_a_valid_file_prints_the_scopes_that_it_needs(
    file: Path, screen: Callable[[str, str], None]
) -> None:
    session = Session()

    def validate(text: str, *options: str, accounts: FakeAccounts | None = None) -> int:
        file.write_text(text)
        at_work = AtWork(session=session, gitlab=accounts or FakeAccounts())
        code = at_work.run("validate", *options, env=TOKEN).exit_code
        assert at_work.connected == ([("https://gitlab.example.com", "glpat-1")] * bool(options))
        return code

    assert validate(FLEET) == 0
    assert validate(FLEET + NODE) == 0
    assert validate(f"{FLEET}infra_retry = true\n") == 0
    assert validate(FLEET.replace(', "m7a.large"', "")) == 0
    everything = FakeAccounts(SCOPES | {"api"}, expires_at="2027-01-31")
    assert validate(FLEET, "--live", accounts=everything) == 0
    watched = FLEET.replace('"group:42"\n', f'"group:42"\n{WATCH}')
    soon = str(AT.date() + timedelta(days=13))
    assert validate(watched, "--live", accounts=FakeAccounts(expires_at=soon)) == 1
    blind = FakeAccounts(frozenset({"create_runner"}), active=False)
    assert validate(watched, "--live", accounts=blind) == 1
    screen("validate", str(session))


BAD_FILES: dict[str, bytes] = {
    "two faults": FLEET.replace("ceiling = 5", 'ceiling = 0\nsize = "2GB"').encode(),
    "no TOML": b"x = [1\n",
    "empty": b"",
    "unknown and missing keys": FLEET.replace(
        "ceiling = 5", 'ceilng = 5\nmarket = "free"'
    ).encode(),
    "wrong types and tables": (
        FLEET.replace('"ec2"', "5").replace("https://gitlab", "gitlab") + "\n[pool.x]\n"
    ).encode(),
    "unknown pool": f'{FLEET}overflow = "dcker"\n'.encode(),
    "unknown instance type": FLEET.replace("m7i.large", "m7i.lrge").encode(),
    "no text": b"\xfe\x00",
    "UTF-16": FLEET.encode("utf-16"),
    "UTF-16 without a mark": FLEET.encode("utf-16-be"),
    "Latin-1": b"# a\n# b\n# gr\xfc\xdfe\n" + FLEET.encode(),
    "too long": b"\xef\xbb\xbf" + b"#" * 2_000_000,
    "JSON": b'{"gitlab": 1}',
}


def test_a_file_that_is_not_valid_is_a_line_for_each_problem(
    file: Path, screen: Callable[[str, str], None]
) -> None:
    lines = []
    for name, raw in BAD_FILES.items():
        file.write_bytes(raw)
        at_work = AtWork()
        result = at_work.run("validate", str(file))
        assert (result.exit_code, result.stdout) == (1, "")
        assert max(map(len, result.stderr.splitlines())) < 300
        lines.append(f"{name}:\n{result.stderr}".replace(str(file), "fleet.toml"))
        applied = at_work.run("apply", str(file))
        assert (applied.exit_code, applied.stderr) == (1, result.stderr)
        assert (at_work.connected, at_work.table.items) == ([], {})
    screen("validate_errors", "\n".join(lines))


# What the token must be able to do


@pytest.mark.parametrize(
    ("where", "accounts", "claim", "holds"),
    [
        ("group:42", FakeAccounts(), "owner of group 42", True),
        ("group:43", FakeAccounts(), "owner of group 43", False),
        ("instance", FakeAccounts(), "its user is an administrator", False),
        ("instance", FakeAccounts(is_admin=True), "its user is an administrator", True),
        ("project:9", FakeAccounts(), "maintainer of project 9", False),
        ("project:9", FakeAccounts(roles={9: 30}), "maintainer of project 9", False),
        ("project:9", FakeAccounts(roles={9: 40}), "maintainer of project 9", True),
        ("project:9", FakeAccounts(roles={9: 50}), "maintainer of project 9", True),
        ("project", FakeAccounts(), "maintainer of every project", None),
        ("group:42", FakeAccounts(frozenset({"api"})), "scope create_runner", True),
        ("group:42", FakeAccounts(frozenset({"read_api"})), "scope create_runner", False),
        ("group:42", FakeAccounts(frozenset({"create_runner"})), "its user has the role", None),
        ("group:42", FakeAccounts(), "scope api", None),  # the fleet works without it
        ("group:42", FakeAccounts(active=False), "the token is active", False),
    ],
)
def test_each_claim_holds_or_does_not_or_cannot_be_seen(
    where: str, accounts: FakeAccounts, claim: str, holds: bool | None
) -> None:
    config = read_config(FLEET.replace("group:42", where).replace("idle", "# idle"))
    answers = [need.is_met for need in check_token(config, accounts, AT) if claim in need.need]
    assert answers == [holds]


def test_json_has_the_problems_or_what_the_file_is(file: Path) -> None:
    good = AtWork().run("validate", str(file), "--json")
    answer = json.loads(good.stdout)
    assert (good.exit_code, answer["pools"], answer["problems"]) == (0, ["docker"], [])
    file.write_text(FLEET.replace("ceiling = 5", "ceiling = 0"))
    bad = AtWork().run("validate", str(file), "--json")
    (problem,) = json.loads(bad.stdout)["problems"]
    assert (bad.exit_code, "ceiling: must be 1 or more" in problem) == (1, True)
