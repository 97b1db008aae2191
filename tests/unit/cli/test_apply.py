"""`apply` at the command line: which token it uses, what it prints, when it stops."""

from pathlib import Path

import pytest

from adapters.gitlab.client import GitLabProject, Way
from cli.apply import lines
from fleet.config.reading import read_config
from fleet.errors import Refused
from operations.apply import Applied
from tests.private_ca import make_ca
from tests.unit.cli.fleet_at_work import FLEET, AtWork

TOKEN = {"MY_TOKEN": "glpat-new"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return str(path)


def test_a_given_token_is_used_and_stored(file: str) -> None:
    at_work = AtWork()
    result = at_work.run("apply", file, "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    assert result.exit_code == 0
    assert at_work.connected == [("https://gitlab.example.com", "glpat-new")]
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-new"}
    assert "glpat-new" not in result.output
    assert "stored the GitLab token in the secret fleet-a/gitlab" in result.stdout
    assert "added docker" in result.stdout
    assert "is in force" in result.stdout.splitlines()[-1]


def test_later_the_stored_token_is_used(file: str) -> None:
    at_work = AtWork()
    at_work.run("apply", file, "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    result = at_work.run("apply", file)
    assert at_work.connected[-1][1] == "glpat-new"
    assert result.stdout.splitlines()[-1].endswith("is in force already, nothing changed")


def test_without_any_token_it_says_how_to_give_one(file: str) -> None:
    at_work = AtWork()
    result = at_work.run("apply", file)
    assert result.exit_code == 1
    assert "--gitlab-token-env GITLAB_TOKEN" in result.stderr
    assert at_work.table.items == {}


def test_an_empty_variable_is_said(file: str) -> None:
    result = AtWork().run("apply", file, "--gitlab-token-env", "NOTHING", env={"NOTHING": ""})
    assert result.exit_code == 1
    assert result.stderr == "Error: put a GitLab token into the environment (variable=NOTHING)\n"


def test_a_wrong_file_stops_it_before_anything_is_asked(file: str) -> None:
    Path(file).write_text(FLEET.replace('"ec2"', '"k8s"'))
    at_work = AtWork()
    result = at_work.run("apply", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("fleet.toml line 6: pools.docker.backend: must be")
    assert (at_work.table.items, at_work.connected) == ({}, [])


def test_a_missing_file_is_a_usage_error() -> None:
    assert AtWork().run("apply", "nothing.toml").exit_code == 2


def test_watched_projects_and_warnings_are_told(tmp_path: Path) -> None:
    at_work = AtWork()
    at_work.gitlab.add_project(GitLabProject(id=77, path="acme/demo"))
    path = tmp_path / "fleet.toml"
    text = FLEET.replace('"group:42"\n', '"group:42"\nwatch = { projects = [77] }\n')
    path.write_text(text.replace(', "m7a.large"', ""))
    result = at_work.run("apply", str(path), "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    assert "watching acme/demo" in result.stdout
    assert "warning: fleet.toml line 9: pools.docker.instance_types" in result.stderr


def test_everything_that_changed_has_its_line() -> None:
    applied = Applied(
        version="0123456789ab",
        added=("a",),
        changed=("b", "c"),
        removed=("d",),
        gitlab_changed=True,
        records_made=("a",),
        records_updated=("b",),
        records_deleted=("d",),
        leaving=("e",),
        notes=("no project",),
    )
    assert list(lines(applied)) == [
        "added a",
        "changed b, c",
        "removed d",
        "made the GitLab runner record of a",
        "updated the GitLab runner record of b",
        "deleted the GitLab runner record of d",
        "changed [gitlab]",
        "e still has runners, which end after their jobs: apply again later",
        "note: no project",
        "version 0123456789ab is in force",
    ]


def test_a_warning_names_the_file_as_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "prod.toml"
    path.write_text(FLEET.replace(', "m7a.large"', ""))
    result = AtWork().run("apply", str(path), "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: prod.toml line 8: pools.docker.instance_types")


@pytest.mark.parametrize("call", ["runner", "create_runner"])
def test_a_token_that_does_not_do_is_not_stored(file: str, call: str) -> None:
    at_work = AtWork()
    at_work.run("apply", file, "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    unknown = Refused("GitLab does not know this token", status=401)
    at_work.gitlab.failing[call] = unknown
    Path(file).write_text(FLEET.replace("pools.docker", "pools.other"))
    if call == "runner":
        Path(file).write_text(FLEET)
    arguments = ("apply", file, "--gitlab-token-env", "MY_TOKEN")
    result = at_work.run(*arguments, env={"MY_TOKEN": "glpat-worse"})
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {unknown}\n"
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-new"}


def test_a_token_that_is_stored_already_is_not_told_of(file: str) -> None:
    at_work = AtWork()
    for _ in range(2):
        result = at_work.run("apply", file, "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    assert "stored" not in result.stdout
    later = at_work.run(
        "apply", file, "--gitlab-token-env", "MY_TOKEN", env={"MY_TOKEN": "glpat-b"}
    )
    assert later.stdout.startswith("stored the GitLab token in the secret fleet-a/gitlab\n")
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-b"}
    assert "glpat" not in later.output


def test_nothing_new_is_one_line() -> None:
    applied = Applied(version="0123456789ab", watched=("acme/demo",))
    assert list(lines(applied)) == [
        "watching acme/demo",
        "version 0123456789ab is in force already, nothing changed",
    ]


def test_another_comment_is_another_version_in_force(file: str) -> None:
    at_work = AtWork()
    at_work.run("apply", file, "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
    Path(file).write_text(f"# ours\n{FLEET}")
    version = read_config(Path(file).read_text()).version
    assert at_work.run("apply", file).stdout == f"version {version} is in force\n"


class TestPrivateAuthority:
    """A GitLab that no public authority vouches for, and one behind a proxy."""

    @pytest.fixture
    def told(self, tmp_path: Path) -> Path:
        make_ca(tmp_path)
        path = tmp_path / "fleet.toml"
        keys = 'tls_ca_file = "ca.pem"\nproxy = "http://proxy:3128/"\n'
        path.write_text(FLEET.replace("\n[pools", f"{keys}\n[pools"))
        return path

    def test_it_is_used_and_kept_for_the_functions(self, told: Path) -> None:
        at_work = AtWork()
        result = at_work.run("apply", str(told), "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
        assert result.exit_code == 0
        (way,) = at_work.ways
        stored = at_work.fleet.config()
        assert stored is not None
        assert way == Way(tls_ca=stored.tls_ca or "", proxy="http://proxy:3128")
        assert way.tls_ca.startswith("-----BEGIN CERTIFICATE-----")
        at_work.run("explain", "7#9", env={"GITLAB_TOKEN": "glpat-1"})
        assert at_work.ways[-1] == way

    def test_another_certificate_is_a_change_and_none_takes_it_away(self, told: Path) -> None:
        at_work = AtWork()
        at_work.run("apply", str(told), "--gitlab-token-env", "MY_TOKEN", env=TOKEN)
        again = at_work.run("apply", str(told))
        assert again.stdout.splitlines()[-1].endswith("nothing changed")
        (told.parent / "other").mkdir()
        make_ca(told.parent / "other").authority.replace(told.parent / "ca.pem")
        assert "changed [gitlab]" in at_work.run("apply", str(told)).stdout
        told.write_text(FLEET)
        at_work.run("apply", str(told))
        stored = at_work.fleet.config()
        assert stored is not None
        assert stored.tls_ca is None

    @pytest.mark.parametrize("command", [("apply",), ("validate", "--live")])
    def test_a_file_that_will_not_do_stops_it(self, command: tuple[str, ...], told: Path) -> None:
        (told.parent / "ca.pem").write_text("nothing")
        at_work = AtWork()
        env = {**TOKEN, "GITLAB_TOKEN": "glpat-1"}
        more = ("--gitlab-token-env", "MY_TOKEN") if command == ("apply",) else ()
        result = at_work.run(*command, str(told), *more, env=env)
        assert result.exit_code == 1
        assert "tls_ca_file holds no certificate" in result.stderr
        assert (at_work.connected, at_work.table.items) == ([], {})

    def test_without_asking_gitlab_the_file_may_be_elsewhere(self, told: Path) -> None:
        (told.parent / "ca.pem").unlink()
        assert AtWork().run("validate", str(told)).exit_code == 0
