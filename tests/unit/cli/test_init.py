"""`init`: what it asks, what it says, what it writes, and when it writes nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner, Result

from adapters.aws.clients import Clients
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import GitLabProject
from adapters.gitlab.way import DIRECT, Way
from cli.init import InitWorld
from cli.main import app
from fleet.config.reading import read_config
from fleet.errors import Refused
from tests.unit.cli.cloudformation import FakeAws, refusal
from tests.unit.cli.session import Session
from tests.unit.cli.test_validate import SCOPES, FakeAccounts

ALL = SCOPES | {"api"}
GROUP = ("--in", "https://gitlab.example.com/groups/42/-/runners")


class Account(FakeAws):
    """AWS with quotas and one network of two subnets."""

    def __init__(self, *, vcpus: int = 64, at_once: int = 1000) -> None:
        super().__init__()
        self.vcpus = vcpus
        self.executions = self.unreserved = at_once

    def clients(self) -> Clients:
        known = super().clients()
        more = dict.fromkeys(("quotas", "functions", "ec2"), self)
        return cast("Clients", SimpleNamespace(**(vars(known) | more)))

    def get_service_quota(self, **request: str) -> dict[str, Any]:
        """A quota that the account never raised has no value of its own."""
        self._called(request["QuotaCode"])
        raise refusal("NoSuchResourceException")

    def get_aws_default_service_quota(self, **_: str) -> dict[str, Any]:
        return {"Quota": {"Value": float(self.vcpus)}}

    def describe_subnets(self, **request: Any) -> dict[str, Any]:
        (vpc,) = request["Filters"][0]["Values"]
        subnets = [{"SubnetId": f"subnet-{zone}", "AvailabilityZone": zone} for zone in "ab"]
        return {"Subnets": subnets if vpc == "vpc-1" else []}


class Place(FakeAccounts):
    """GitLab with project 7 and group 42, which the token's user owns."""

    def project(self, id_or_path: int | str) -> GitLabProject:
        """The project, by number or path."""
        if str(id_or_path) not in {"7", "acme/demo"}:
            raise Refused("no", status=404)
        return GitLabProject(id=7, path="acme/demo")

    def group(self, id_or_path: int | str) -> int:
        if str(id_or_path) != "42":
            raise Refused("no", status=404)
        return 42


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITLAB_TOKEN", raising=False)
    monkeypatch.delenv("GITLAB_URL", raising=False)
    return tmp_path


@pytest.mark.usefixtures("folder")
class TestInit:
    """One folder without a fleet.toml."""

    session = Session()

    def run(
        self,
        *arguments: str,
        session: Session | None = None,
        typed: str | None = None,
        token: str = "glpat-1",
        **facts: Any,
    ) -> Result:
        """The command; `typed` is what a person answers."""
        scopes, account = facts.pop("scopes", ALL), facts.pop("account", None) or Account()

        def connect(url: str, token: str, way: Way = DIRECT) -> GitLab:
            assert (url, token) == ("https://gitlab.example.com", "glpat-1")
            return Place(scopes, **{"roles": {7: 40}, **facts})

        world = InitWorld(aws=lambda _: account.clients(), connect=connect, asks=typed is not None)
        env = {"GITLAB_TOKEN": token} if token else {}
        result = CliRunner().invoke(
            app, ["init", *arguments], obj=world, env=env, input=typed, prog_name="runner-fleet"
        )
        return (session or Session()).show(["init", *arguments], result)

    def test_all_that_init_says(self, folder: Path, screen: Callable[[str, str], None]) -> None:
        session = Session()
        assert self.run(*GROUP, session=session).exit_code == 0
        session.show(["cat", "fleet.toml"], file_as_result(folder))
        assert self.run(*GROUP, session=session).exit_code == 1  # it is there
        project = ("--in", "acme/demo", "--gitlab-url", "https://gitlab.example.com", "--force")
        options = ("--socket", "--vpc", "vpc-1", "--region", "eu-central-1")
        small = Account(vcpus=5, at_once=10)
        assert self.run(*project, *options, session=session, account=small).exit_code == 0
        session.show(["cat", "fleet.toml"], file_as_result(folder))
        weak = self.run(*project, session=session, scopes=SCOPES, roles={7: 30})
        assert weak.exit_code == 1
        for wrong in (
            ("--force",),
            ("--in", "acme", "--force"),
            ("--in", "https://gitlab.example.com/nobody", "--force"),
            (*project, "--runners-in", "group"),
            (*GROUP, "--force", "--vpc", "vpc-2"),
            (*GROUP, "--force", "--vpc", "vpc-1", "--subnet", "subnet-c"),
            (*GROUP, "--force", "--subnet", "subnet-a"),
            (*GROUP, "--force", "--runners-in", "instance"),
        ):
            result = self.run(*wrong, session=session)
            assert result.exit_code in {1, 2}
            assert result.stderr.count("\n") == 1
        assert self.run(*GROUP, "--force", session=session, token="").exit_code == 1
        screen("init", str(session))

    def test_a_person_is_asked_for_what_no_flag_says(
        self, folder: Path, screen: Callable[[str, str], None]
    ) -> None:
        session = Session()
        (folder / "fleet.toml").write_text("mine")
        assert self.run(typed="n\n", session=session).exit_code == 1
        assert (folder / "fleet.toml").read_text() == "mine"
        address = "https://gitlab.example.com/groups/42"
        answers = f"y\n{address}\nglpat-1\nn\ny\nvpc-1\n"
        assert self.run(typed=answers, token="", session=session).exit_code == 0
        config = read_config((folder / "fleet.toml").read_text())
        assert config.gitlab.runners_in.kind == "group"
        assert config.pools[0].docker.socket
        screen("init_asks", str(session))


def file_as_result(folder: Path) -> Result:
    """The file, as a command would print it."""
    text = (folder / "fleet.toml").read_bytes()
    return cast("Result", SimpleNamespace(stdout=text.decode(), stderr="", exit_code=0))
