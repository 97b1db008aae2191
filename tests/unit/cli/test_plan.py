"""`plan`: what it says before, between and after deployments, to people and to scripts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app
from cli.plan import PlanWorld
from fleet.errors import Refused
from infra.compose import as_yaml, compose
from infra.package import TEMPLATE, sources_version
from operations.fleet_handle import Deployed
from tests.unit.cli.fleet_at_work import FLEET, AtWork
from tests.unit.cli.session import Session
from tests.unit.cli.test_init import Account

OTHER = """
[pools.node]
backend = "lambda"
tags = ["node"]
ceiling = 2000
"""


class Stacks(Account):
    """AWS with a stack of this template, of which some resources are different."""

    def __init__(self, *, vcpus: int = 64) -> None:
        super().__init__(vcpus=vcpus)
        self.template: dict[str, Any] = compose(TEMPLATE.read_text())

    def get_template(self, **_: str) -> dict[str, Any]:
        """The stack's, as it was uploaded."""
        return {"TemplateBody": as_yaml(self.template)}


def run(aws: Stacks, at_work: AtWork | None, session: Session, *options: str) -> Result:
    """The command on this AWS; without a fleet at work the stack is not there."""

    def find(stack: str, _: object) -> Deployed:
        if at_work is None:
            raise Refused("there is no such stack here", stack=stack)
        return at_work.deployed

    world = PlanWorld(aws=lambda _: aws.clients(), find=find)
    result = CliRunner().invoke(app, ["plan", *options], prog_name="runner-fleet", obj=world)
    return session.show(["plan", *options], result)


def test_all_that_plan_says(file: Path, screen: Callable[[str, str], None]) -> None:
    session = Session({sources_version(): "0.1.0+01234567"})
    first = Stacks(vcpus=4)
    count = len(first.template["Resources"])
    assert run(first, None, session).exit_code == 0
    aws, at_work = Stacks(), AtWork()
    aws.stack = {"StackStatus": "CREATE_COMPLETE"}
    aws.outputs["Version"] = sources_version()
    assert at_work.run("apply", "--gitlab-token-env", "T", env={"T": "glpat-1"}).exit_code == 0
    assert run(aws, at_work, session).exit_code == 0
    file.write_text(FLEET.replace("pools.docker", "pools.other").replace("= 5", "= 6") + OTHER)
    aws.outputs["Version"] = "0.0.9+89abcdef"
    aws.template["Resources"]["Old"] = {"Type": "AWS::SQS::Queue"}
    aws.template["Resources"]["Ledger"]["Properties"] = {}
    del aws.template["Resources"]["Mailboxes"]
    assert run(aws, at_work, session).exit_code == 0
    assert at_work.deployed.config().pool("docker") is not None  # nothing is done
    assert run(aws, at_work, session, "nothing.toml").exit_code == 2
    file.write_text("x")
    assert run(aws, at_work, session).exit_code == 1
    screen("plan", str(session).replace(f"{count} resources", "all resources"))


def test_the_command_that_it_names_has_the_file_that_it_got(file: Path) -> None:
    file.rename(file.with_name("other.toml"))
    result = run(Stacks(), None, Session(), "other.toml")
    assert "`runner-fleet apply other.toml` puts version" in result.stdout


def test_scripts_get_all_of_it(file: Path) -> None:
    assert file.exists()
    result = run(Stacks(vcpus=4), None, Session(), "--json")
    answer = json.loads(result.stdout)
    assert answer["stack"]["before"] is None
    assert answer["stack"]["after"] == sources_version()
    assert [pool["word"] for pool in answer["fleet"]["pools"]] == ["add"]
    assert {short["quota"]["code"] for short in answer["quotas"]} == {"L-1216C47A", "L-34B43A08"}
