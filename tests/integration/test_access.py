"""What each role may do on the real policies, and what it may not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.conftest import Role, Standins

INSTANCE = "i-0123456789abcdef0"
OTHER = "i-0fedcba9876543210"


def refused(call: Callable[..., Any], **request: Any) -> bool:
    """Whether IAM says no; any other error is raised."""
    try:
        call(**request)
    except ClientError as error:
        if error.response["Error"]["Code"] in {
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
        }:
            return True
        raise
    return False


def mailbox(standins: Standins, instance: str) -> str:
    return f"machine#{standins.stack.machine_role_id}:{instance}"


def item(pk: str, sk: str = "credential") -> dict[str, dict[str, str]]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


@pytest.fixture(scope="module")
def machine(standins: Standins) -> Role:
    """A machine, as its instance metadata makes it."""
    return Role(standins.engine, standins.stack.machine_role, INSTANCE)


def test_a_machine_has_its_own_mailbox_and_no_other(standins: Standins, machine: Role) -> None:
    identity = machine.client("sts").get_caller_identity()
    assert identity["UserId"] == f"{standins.stack.machine_role_id}:{INSTANCE}"
    table, ledger = standins.stack.ledger_table, machine.client("dynamodb")
    root = standins.engine.client("dynamodb")
    own, other = mailbox(standins, INSTANCE), mailbox(standins, OTHER)
    for box in (own, other):
        root.put_item(TableName=table, Item=item(box))
    assert ledger.get_item(TableName=table, Key=item(own))["Item"] == item(own)
    assert not refused(ledger.put_item, TableName=table, Item=item(own, "report"))
    assert not refused(ledger.delete_item, TableName=table, Key=item(own))
    for call, request in (
        (ledger.get_item, {"Key": item(other)}),
        (ledger.put_item, {"Item": item(other)}),
        (ledger.delete_item, {"Key": item(other)}),
        (ledger.get_item, {"Key": item("config", "current")}),
        (ledger.get_item, {"Key": item(own + "0")}),
    ):
        assert refused(call, TableName=table, **request), request
    assert root.get_item(TableName=table, Key=item(other))["Item"] == item(other)


def test_no_other_kind_of_call_gets_a_machine_past_its_policy(
    standins: Standins, machine: Role
) -> None:
    table, ledger = standins.stack.ledger_table, machine.client("dynamodb")
    own, other = mailbox(standins, INSTANCE), mailbox(standins, OTHER)
    query = {
        "TableName": table,
        "KeyConditionExpression": "#k = :k",
        "ExpressionAttributeNames": {"#k": "pk"},
        "ExpressionAttributeValues": {":k": {"S": other}},
    }
    by_index = query | {"IndexName": "recent", "ExpressionAttributeNames": {"#k": "kind"}}
    both = [{"Put": {"TableName": table, "Item": item(box, "x")}} for box in (own, other)]
    assert refused(ledger.transact_write_items, TransactItems=both)
    assert refused(ledger.batch_get_item, RequestItems={table: {"Keys": [item(own), item(other)]}})
    assert refused(
        ledger.batch_write_item, RequestItems={table: [{"PutRequest": {"Item": item(other)}}]}
    )
    assert refused(ledger.query, **query)
    assert refused(ledger.query, **by_index)
    assert refused(ledger.scan, TableName=table)


def test_a_machine_reaches_nothing_else(standins: Standins, machine: Role) -> None:
    files = machine.client("s3")
    assert refused(files.get_object, Bucket="fleet-code", Key="any")
    secret = {"SecretId": standins.stack.gitlab_secret}
    assert refused(machine.client("secretsmanager").get_secret_value, **secret)
    assert refused(machine.client("ec2").describe_instances)
    assert refused(machine.client("ec2").terminate_instances, InstanceIds=[OTHER])
    assert refused(machine.client("sqs").receive_message, QueueUrl=standins.stack.ec2_queue_url)


def test_a_lambda_runner_reaches_lambda_mailboxes_only(standins: Standins) -> None:
    ledger = standins.role("Runner4gbRole").client("dynamodb")
    table = standins.stack.ledger_table
    assert not refused(ledger.put_item, TableName=table, Item=item("machine#lambda:rf-a"))
    assert refused(ledger.get_item, TableName=table, Key=item(mailbox(standins, OTHER)))
    assert refused(ledger.get_item, TableName=table, Key=item("pool#docker", "pool"))


def test_the_webhook_puts_events_and_reads_its_secret(standins: Standins) -> None:
    role, stack = standins.role("WebhookRole"), standins.stack
    write = {"SecretId": stack.webhook_secret, "SecretString": '{"signing": []}'}
    standins.engine.client("secretsmanager").put_secret_value(**write)
    secrets = role.client("secretsmanager")
    assert not refused(secrets.get_secret_value, SecretId=stack.webhook_secret)
    assert refused(secrets.get_secret_value, SecretId=stack.gitlab_secret)
    assert refused(secrets.put_secret_value, **write)
    read = {"TableName": stack.ledger_table, "Key": item("config", "current")}
    assert refused(role.client("dynamodb").get_item, **read)
    put = role.client("events").put_events
    event = {"DetailType": "job.created", "Detail": "{}", "Source": "runner-fleet.webhook"}
    ours, other = {**event, "EventBusName": stack.bus}, "runner-fleet.other"
    assert not refused(put, Entries=[ours])
    assert refused(put, Entries=[event]), "the default bus"
    assert refused(put, Entries=[{**ours, "Source": other}]), "in another's name"
    assert refused(put, Entries=[ours, {**ours, "Source": other}])


def test_reconcile_writes_the_webhooks_secret_and_not_gitlabs(standins: Standins) -> None:
    write = standins.role("ReconcileRole").client("secretsmanager").put_secret_value
    stack = standins.stack
    assert not refused(write, SecretId=stack.webhook_secret, SecretString="{}")
    assert refused(write, SecretId=stack.gitlab_secret, SecretString="{}")


def fleet(standins: Standins, tags: dict[str, str]) -> dict[str, Any]:
    """A request for one machine."""
    specification = {"LaunchTemplateId": standins.stack.launch_template, "Version": "$Latest"}
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
    tagged = [{"ResourceType": "instance", "Tags": tag_list}] if tags else []
    return {
        "Type": "instant",
        "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": specification}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
        "TagSpecifications": tagged,
    }


def test_scale_launches_only_what_it_tags(standins: Standins) -> None:
    ec2 = standins.role("ScaleRole").client("ec2")
    right = {"runner-fleet:stack": standins.stack.name, "runner-fleet:pool": "docker"}
    assert not refused(ec2.create_fleet, **fleet(standins, right))
    assert refused(ec2.create_fleet, **fleet(standins, {}))
    assert refused(ec2.create_fleet, **fleet(standins, {"runner-fleet:stack": "another"}))


def test_only_machines_of_this_fleet_are_ended(standins: Standins) -> None:
    """One policy gives this right to three roles: tests/unit/infra/test_template.py."""
    root, ec2 = standins.engine.client("ec2"), standins.role("SettleRole").client("ec2")
    tags = {"runner-fleet:stack": standins.stack.name}
    own = root.create_fleet(**fleet(standins, tags))["Instances"][0]["InstanceIds"]
    image = root.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    launched = root.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    foreign = [instance["InstanceId"] for instance in launched]
    assert refused(ec2.terminate_instances, InstanceIds=foreign)
    assert refused(ec2.terminate_instances, InstanceIds=[*own, *foreign])
    assert not refused(ec2.terminate_instances, InstanceIds=own)


def test_scale_invokes_runners_and_makes_timers_of_its_own_group(standins: Standins) -> None:
    role, stack = standins.role("ScaleRole"), standins.stack
    functions, timers = role.client("lambda"), role.client("scheduler")
    assert refused(functions.invoke, FunctionName=f"{stack.name}-settle", InvocationType="Event")
    timer = {
        "Name": "later",
        "ScheduleExpression": "at(2099-01-01T00:00:00)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": stack.expiry_dead_letter_arn, "RoleArn": stack.expiry_role},
    }
    assert not refused(timers.create_schedule, GroupName=stack.schedule_group, **timer)
    assert refused(timers.create_schedule, **timer)


def test_scale_and_reconcile_alone_read_the_pools_credentials(standins: Standins) -> None:
    name = f"{standins.stack.pool_secret_prefix}docker"
    standins.engine.client("secretsmanager").create_secret(Name=name, SecretString="{}")
    functions = ("Scale", "Reconcile", "Settle", "Sweep", "Route")
    able = {
        function
        for function in functions
        if not refused(
            standins.role(f"{function}Role").client("secretsmanager").get_secret_value,
            SecretId=name,
        )
    }
    assert able == {"Scale", "Reconcile"}


@pytest.mark.parametrize("role", ["ScaleRole", "MachineRole"])
def test_the_bus_refuses_a_role_that_its_own_policies_would_let_put(
    standins: Standins, role: str
) -> None:
    session = standins.role(role)
    grant = {
        "RoleName": session.name,
        "PolicyName": "put",
        "PolicyDocument": json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"}],
            }
        ),
    }
    event = {"DetailType": "job.pending", "Detail": "{}", "Source": "runner-fleet.webhook"}
    iam = standins.engine.client("iam")
    iam.put_role_policy(**grant)
    try:
        put = session.client("events").put_events
        assert refused(put, Entries=[{**event, "EventBusName": standins.stack.bus}])
        assert not refused(put, Entries=[event]), (
            "the account's own bus is not the fleet's to close"
        )
    finally:
        iam.delete_role_policy(RoleName=session.name, PolicyName="put")


@pytest.mark.parametrize("queue", ["ec2_queue_url", "ec2_dead_letter_url"])
def test_a_queue_refuses_a_role_that_its_own_policies_would_let_send(
    standins: Standins, queue: str
) -> None:
    session, url = standins.role("ScaleRole"), getattr(standins.stack, queue)
    iam = standins.engine.client("iam")
    right = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [right]})
    iam.put_role_policy(RoleName=session.name, PolicyName="send", PolicyDocument=policy)
    try:
        assert refused(session.client("sqs").send_message, QueueUrl=url, MessageBody="x")
    finally:
        iam.delete_role_policy(RoleName=session.name, PolicyName="send")
    settle = standins.role("SettleRole").client("sqs")
    assert not refused(settle.send_message, QueueUrl=url, MessageBody="x")


def test_scale_reads_images_of_the_fleet_and_of_aws_only(standins: Standins) -> None:
    read = standins.role("ScaleRole").client("ssm").get_parameters
    assert not refused(read, Names=["/runner-fleet/image"])
    assert refused(read, Names=["/database/password"])
