"""`deploy` on the embedded engine: made, left alone, changed, and why it does not come about."""

from dataclasses import replace
from typing import Any

import boto3
import pytest

from adapters.aws.clients import Clients, patient
from fleet.errors import Refused
from infra import package
from local.aws.engine import Engine
from operations.deploy import Deployment, deploy, describe

# MiniStack has no archives.
ORDER = Deployment(stack="deployed", parameters={"KeepArchive": "false"}, every_s=0.2)


class EngineSession(boto3.Session):
    """Clients of the engine, as AWS_ENDPOINT_URL would make them."""

    def __init__(self, engine: Engine) -> None:
        keys = engine.environment()
        self.url = keys["AWS_ENDPOINT_URL"]
        super().__init__(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_REGION"],
        )

    def client(self, *args: Any, **options: Any) -> Any:
        """A client at the engine's address."""
        return super().client(*args, endpoint_url=self.url, **options)  # type: ignore[call-overload]


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
    broken = replace(ORDER, stack="broken", parameters={"NoSuchParameter": "1", "VpcId": "vpc-1"})
    with pytest.raises(Refused) as refused:
        deploy(aws, broken, code)
    assert str(refused.value)


def test_no_stack_is_none(aws: Clients) -> None:
    assert describe(aws, "nowhere") is None
