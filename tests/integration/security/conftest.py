"""A stack of its own, whose rules are off: only the tests make its roles act."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from local.aws.engine import REGION, Engine
from local.aws.stack import Stack, StackOptions, deploy_stack
from tests.integration.conftest import STANDINS
from tests.integration.security.scene import role_arns

ANYONE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """A deployed stack in which nothing happens by itself."""

    engine: Engine
    stack: Stack
    arns: dict[str, str]  # of its roles, by logical id


@pytest.fixture(scope="session")
def quiet(engine: Engine) -> Iterator[Quiet]:
    """The template with stand-in functions and without its rules."""
    stack = deploy_stack(engine, StackOptions(name="quiet", sources=STANDINS))
    events = engine.client("events")
    for bus in ("default", stack.bus):
        for rule in events.list_rules(EventBusName=bus, NamePrefix="quiet-")["Rules"]:
            events.disable_rule(Name=rule["Name"], EventBusName=bus)
    arns = role_arns(engine, stack)
    for arn in arns.values():  # services take some of them for one resource only, and no person
        engine.client("iam").update_assume_role_policy(
            RoleName=arn.rpartition("/")[2], PolicyDocument=json.dumps(ANYONE)
        )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", engine.url)
        environment.setenv("AWS_REGION", REGION)
        yield Quiet(engine=engine, stack=stack, arns=arns)
