"""`deploy` on the embedded engine: a stack is made, changed, left alone or refused."""

from dataclasses import replace

import pytest

from adapters.aws.clients import Clients, patient
from fleet.errors import Refused
from infra import package
from local.aws.engine import Engine
from operations.deploy import Deployment, deploy, describe
from tests.integration.operations.engine_session import EngineSession

# MiniStack has no archives.
ORDER = Deployment(stack="deployed", parameters={"KeepArchive": "false"}, every_s=0.2)


@pytest.fixture(scope="module")
def aws(engine: Engine) -> Clients:
    return Clients(EngineSession(engine), patient())


@pytest.fixture(scope="module")
def code() -> bytes:
    return package.functions_zip()


def parameters(aws: Clients) -> dict[str, str]:
    stack = describe(aws, ORDER.stack)
    assert stack is not None
    return {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}


def test_a_stack_is_made_and_brought_up_to_date(aws: Clients, code: bytes) -> None:
    first = deploy(aws, ORDER, code)
    assert first.word == "created"
    assert first.outputs["GitlabSecret"] == "deployed/gitlab"
    assert parameters(aws)["CodeBucket"] == "deployed-code-123456789012-us-east-1"
    days = replace(ORDER, parameters={"CacheDays": "3"})
    second = deploy(aws, days, code)
    assert second.word == "updated"
    assert parameters(aws)["CacheDays"] == "3"
    assert parameters(aws)["KeepArchive"] == "false"  # nobody gave it this time


def test_a_template_that_aws_refuses_says_why(aws: Clients, code: bytes) -> None:
    broken = replace(ORDER, stack="broken", parameters={"CacheDays": "many"})
    with pytest.raises(Refused) as refused:
        deploy(aws, broken, code)
    assert str(refused.value)


def test_no_stack_is_none(aws: Clients) -> None:
    assert describe(aws, "nowhere") is None
