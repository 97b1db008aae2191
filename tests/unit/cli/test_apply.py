"""`apply` at the command line: which token it uses, what it prints, when it stops."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.gitlab.values import GitLabProject
from adapters.gitlab.way import Way
from cli.apply import lines, plan_lines
from fleet.errors import Refused
from operations.apply import Applied
from operations.plan import ConfigPlan, PoolChange
from tests.private_ca import PrivateCa, make_ca
from tests.unit.cli.fleet_at_work import FLEET, AtWork

TOKEN = {"MY_TOKEN": "glpat-new"}
GIVEN = ("--gitlab-token-env", "MY_TOKEN")


def test_all_that_apply_says(file: Path, screen: Callable[[str, str], None]) -> None:
    at_work = AtWork()
    at_work.gitlab.add_project(GitLabProject(id=77, path="acme/demo"))

    def apply(*options: str, env: dict[str, str] | None = None) -> int:
        return at_work.run("apply", *options, env=env).exit_code

    assert apply("nothing.toml") == 2
    assert apply() == 1
    assert at_work.table.items == {}
    assert apply("--gitlab-token-env", "NOTHING", env={"NOTHING": ""}) == 1
    assert apply(*GIVEN, env=TOKEN) == 0
    assert at_work.connected == [("https://gitlab.example.com", "glpat-new")]
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-new"}
    assert apply() == 0
    assert apply("--json") == 0
    assert apply(*GIVEN, env=TOKEN) == 0
    file.write_text(f"# ours\n{FLEET}")
    assert apply() == 0
    other = FLEET.replace("pools.docker", "pools.other").replace("ceiling = 5", "ceiling = 6")
    file.write_text(other)
    assert apply() == 1  # no terminal can be asked whether the pool may go
    assert at_work.deployed.config().pool("docker") is not None
    assert apply("--yes") == 0
    file.write_text(other.replace("ceiling = 6", "ceiling = 7\ndocker = { socket = true }"))
    assert apply() == 0
    file.write_text(FLEET)
    assert apply("--yes") == 0
    file.rename(file.with_name("prod.toml"))
    text = FLEET.replace('"group:42"\n', '"group:42"\nwatch = { projects = [77] }\n')
    file.with_name("prod.toml").write_text(text.replace(', "m7a.large"', ""))
    assert apply("prod.toml", *GIVEN, env={"MY_TOKEN": "glpat-b"}) == 0
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-b"}
    assert {token for _, token in at_work.connected} == {"glpat-new", "glpat-b"}
    assert "glpat" not in str(at_work.session)
    everything = Applied(
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
    screen("apply", "\n".join([str(at_work.session), "", "everything:", *lines(everything)]))


@pytest.mark.parametrize("call", ["runner", "create_runner"])
def test_a_token_that_gitlab_refuses_is_not_stored(file: Path, call: str) -> None:
    at_work = AtWork()
    at_work.run("apply", *GIVEN, env=TOKEN)
    refusal = Refused("GitLab does not know this token", status=401)
    at_work.gitlab.failing[call] = refusal
    file.write_text(FLEET if call == "runner" else FLEET.replace("pools.docker", "pools.other"))
    result = at_work.run("apply", *GIVEN, "--yes", env={"MY_TOKEN": "glpat-worse"})
    assert result.exit_code == 1
    assert result.stderr == f"Error: {refusal}\n"
    assert at_work.secrets.gitlab == {"fleet-a/gitlab": "glpat-new"}


NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 2\nsize = "4GB"\n'


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        pytest.param({}, "", id="the template's own limits"),
        pytest.param(
            {"largest_runner": "2gb"},
            "this stack's Lambda runners have up to 2GB, and pool node wants 4GB: choose a smaller"
            " size, or deploy with --parameter LargestRunner=4gb",
            id="a stack with small functions",
        ),
        pytest.param(
            {"lambda_wall": timedelta(minutes=12)},
            "Lambda ends this stack's runners after 12m, and the max_lifetime of pool node is 15m:"
            " set it lower, or deploy with --parameter LambdaTimeout=900",
            id="a stack with an early wall",
        ),
    ],
)
def test_a_pool_that_the_stacks_functions_do_not_serve_is_refused(
    file: Path, stack: dict[str, Any], says: str
) -> None:
    file.write_text(FLEET + NODE)
    at_work = AtWork()
    deployed = replace(at_work.deployed, **stack)
    result = at_work.run_on(deployed, "apply", *GIVEN, env=TOKEN)
    assert (result.exit_code, f"Error: {says}\n" in result.stderr) == (bool(says), bool(says))
    assert bool(at_work.table.items) is (not says)


class TestPrivateAuthority:
    """A GitLab with a private certificate authority, and a GitLab behind a proxy."""

    @pytest.fixture
    def private(self, file: Path, ca: PrivateCa) -> Path:
        (file.parent / "ca.pem").write_text(ca.pem)
        keys = 'tls_ca_file = "ca.pem"\nproxy = "http://proxy:3128/"\n'
        file.write_text(FLEET.replace("\n[pools", f"{keys}\n[pools"))
        return file

    def test_it_is_used_and_kept_for_the_functions(self, private: Path) -> None:
        at_work = AtWork()
        result = at_work.run("apply", str(private), *GIVEN, env=TOKEN)
        assert result.exit_code == 0
        (way,) = at_work.ways
        stored = at_work.fleet.config()
        assert stored is not None
        assert way == Way(tls_ca=stored.tls_ca or "", proxy="http://proxy:3128")
        assert way.tls_ca.startswith("-----BEGIN CERTIFICATE-----")
        at_work.run("explain", "7#9", env={"GITLAB_TOKEN": "glpat-1"})
        assert at_work.ways[-1] == way

    def test_another_certificate_is_a_change_and_none_takes_it_away(self, private: Path) -> None:
        at_work = AtWork()
        at_work.run("apply", *GIVEN, env=TOKEN)
        assert len(at_work.run("apply").stdout.splitlines()) == 1  # nothing changed
        other = private.parent / "other"
        other.mkdir()
        make_ca(other).authority.replace(private.parent / "ca.pem")
        assert len(at_work.run("apply").stdout.splitlines()) == 2
        private.write_text(FLEET)
        at_work.run("apply")
        stored = at_work.fleet.config()
        assert stored is not None
        assert stored.tls_ca is None

    @pytest.mark.parametrize("command", [("apply", *GIVEN), ("validate", "--live")])
    def test_a_file_without_a_certificate_stops_it(
        self, command: tuple[str, ...], private: Path
    ) -> None:
        (private.parent / "ca.pem").write_text("nothing")
        at_work = AtWork()
        result = at_work.run(*command, env={**TOKEN, "GITLAB_TOKEN": "glpat-1"})
        assert result.exit_code == 1
        assert "tls_ca_file" in result.stderr
        assert (at_work.connected, at_work.table.items) == ([], {})

    def test_without_asking_gitlab_the_file_may_be_elsewhere(self, private: Path) -> None:
        (private.parent / "ca.pem").unlink()
        assert AtWork().run("validate", str(private)).exit_code == 0


def test_json_is_one_object_with_what_changed(file: Path) -> None:
    at_work = AtWork()
    answer = json.loads(at_work.run("apply", *GIVEN, "--json", env=TOKEN).stdout)
    assert answer["is_change"]
    assert answer["lines"][-1] == f"version {answer['version']} is in force"
    assert "glpat" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("living", "waiting", "has"),
    [
        (0, 0, ""),
        (1, 0, ": 1 live runner ends after its job"),
        (
            2,
            1,
            ": 2 live runners end after their jobs; 1 waiting job goes to another pool that fits",
        ),
    ],
)
def test_what_a_pool_that_goes_has_is_counted(living: int, waiting: int, has: str) -> None:
    change = PoolChange(name="docker", word="remove", living=living, waiting=waiting)
    planned = ConfigPlan(before="1", after="2", pools=(change,))
    assert [*plan_lines(planned)] == [f"- pool docker{has}"]
