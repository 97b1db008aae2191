"""How the commands find a stack, what it made and what it stores."""

from typing import Any, cast

import pytest

from adapters.aws.clients import Clients
from fleet.errors import FleetError, Refused, Transient
from operations.deploy import Deployment
from operations.deploy_check import check_deployment
from operations.fleet_handle import find
from operations.stacks import find_stack
from operations.webhooks import wiring
from tests.fakes import FakeSecrets
from tests.unit.cli.cloudformation import FakeAws, refusal
from tests.unit.cli.fleet_at_work import AtWork

# Each queue's address has another length, which is what the fake says is in it.
OUTPUTS = {
    "LedgerTable": "fleet-a-ledger",
    "MailboxTable": "fleet-a-mailboxes",
    "Ec2QueueUrl": "q" * 1,
    "Ec2DeadLetterUrl": "q" * 2,
    "LambdaQueueUrl": "q" * 3,
    "LambdaDeadLetterUrl": "q" * 4,
    "EventDeadLetterUrl": "q" * 5,
    "ExpiryDeadLetterUrl": "q" * 6,
    "GitlabSecret": "fleet-a/gitlab",
    "WebhookSecret": "fleet-a/webhook",
    "PoolSecretPrefix": "fleet-a/pool/",
    "WebhookUrl": "https://hook.example.com/webhook",
}


def aws_with(**changes: str | None) -> FakeAws:
    """AWS with a fleet's stack, with these outputs otherwise; None: without."""
    aws = FakeAws({})
    outputs = OUTPUTS | changes
    aws.outputs = {key: value for key, value in outputs.items() if value is not None}
    return aws


# Stacks


def test_a_fleet_is_found_by_its_stacks_outputs() -> None:
    aws = aws_with()
    deployed = find("fleet-a", aws.clients())
    assert aws.described == ["fleet-a"]
    assert (deployed.stack, deployed.table.name) == ("fleet-a", "fleet-a-ledger")
    assert deployed.mail.name == "fleet-a-mailboxes"
    assert (deployed.gitlab_secret, deployed.pool_secret_prefix) == (
        "fleet-a/gitlab",
        "fleet-a/pool/",
    )


def test_each_queue_has_its_own_dead_letters() -> None:
    deployed = find("fleet-a", aws_with().clients())
    lengths = {name: (queue.depth(), queue.dead()) for name, queue in deployed.queues.items()}
    assert lengths == {"ec2": (1, 2), "lambda": (3, 4)}
    dead_letters = {name: queue.depth() for name, queue in deployed.dead_letters.items()}
    assert dead_letters == {"events": 5, "expiries": 6}


@pytest.mark.parametrize("output", sorted(OUTPUTS.keys() - {"WebhookUrl", "WebhookSecret"}))
def test_a_stack_without_one_of_them_is_no_fleet(output: str) -> None:
    with pytest.raises(Refused, match="not a runner fleet, or an older one") as refused:
        find("fleet-a", aws_with(**{output: None}).clients())
    assert refused.value.facts == {"stack": "fleet-a", "lacks": output}


def test_the_webhook_needs_a_table_a_secret_and_an_address() -> None:
    world = wiring(aws_with().clients(), "fleet-a")
    assert world.url == OUTPUTS["WebhookUrl"]
    with pytest.raises(Refused, match="not a fleet's stack") as refused:
        wiring(aws_with(WebhookUrl=None, WebhookSecret=None).clients(), "fleet-a")
    assert refused.value.facts["lacking"] == ["WebhookSecret", "WebhookUrl"]


@pytest.mark.parametrize("reach", [find, lambda name, aws: wiring(aws, name)])
def test_the_error_of_a_missing_stack_names_the_region(reach: Any) -> None:
    with pytest.raises(Refused) as refused:
        reach("nowhere", FakeAws().clients())
    assert str(refused.value) == (
        "there is no such stack here: run `runner-fleet deploy`, or name another with --stack "
        "(stack=nowhere, region=eu-central-1)"
    )


def test_no_stack_is_none_and_no_name_is_refused() -> None:
    aws = FakeAws()
    assert find_stack(aws.clients(), "nowhere") is None
    with pytest.raises(Refused, match="--stack"):
        find_stack(aws.clients(), "")
    assert aws.described == ["nowhere"]


@pytest.mark.parametrize(("code", "kind"), [("Throttling", Transient), ("AccessDenied", Refused)])
def test_an_answer_that_says_nothing_of_the_stack_is_not_taken_for_one(
    code: str, kind: type[FleetError]
) -> None:
    aws = aws_with()
    aws.failing["describe_stacks"] = refusal(code)
    with pytest.raises(kind) as raised:
        find_stack(aws.clients(), "fleet-a")
    assert raised.value.facts == {"call": "cloudformation.DescribeStacks", "code": code}


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    class Misled:
        """Clients that botocore will not make."""

        @property
        def cloudformation(self) -> Any:
            raise ValueError("Invalid endpoint: not-an-address")

    misled = cast("Clients", Misled())
    for call in (find_stack, lambda aws, name: check_deployment(aws, Deployment(stack=name))):
        with pytest.raises(Refused, match="check AWS_ENDPOINT_URL") as refused:
            call(misled, "fleet-a")
        assert "Invalid endpoint: not-an-address" in str(refused.value)


# What is stored


def test_a_stored_configuration_that_is_wrong_by_now_is_named_as_stored() -> None:
    at_work = AtWork().configure()
    row = at_work.table.items["config", "current"]
    row["toml"] = str(row["toml"]).replace('"ec2"', '"k8s"')
    result = at_work.run("status")
    assert result.exit_code == 1
    assert result.stderr.startswith("the applied fleet.toml line 6: pools.docker.backend")


class Guarded(FakeSecrets):
    """Secrets that say this when they are read."""

    def __init__(self, error: Refused) -> None:
        super().__init__()
        self.error = error

    def gitlab_token(self, name: str) -> str:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        Refused(call="secretsmanager.GetSecretValue", code="ResourceNotFoundException"),
        Refused("this secret is not as we write it", fields="token"),
    ],
)
def test_an_empty_secret_is_no_token(error: Refused) -> None:
    assert AtWork(secrets=Guarded(error)).deployed.stored_token() is None


def test_a_secret_that_may_not_be_read_is_not_an_empty_one() -> None:
    denied = Refused(call="secretsmanager.GetSecretValue", code="AccessDeniedException")
    with pytest.raises(Refused, match="AccessDenied"):
        AtWork(secrets=Guarded(denied)).deployed.stored_token()
