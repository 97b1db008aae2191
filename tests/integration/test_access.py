"""What each role may do on the real policies, and what it may not."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from adapters.aws.secrets import pool_secret
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
    return f"{standins.stack.machine_role_id}:{instance}"


def item(pk: str, sk: str = "credential") -> dict[str, dict[str, str]]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def may(call: Callable[..., Any], **request: Any) -> bool:
    """Whether IAM lets a call through, whatever else is wrong with it."""
    try:
        return not refused(call, **request)
    except ClientError:
        return True


def allowed(dynamodb: Any, table: str, pk: str) -> set[str]:
    """The forms of access that IAM lets through, of all that DynamoDB has for one partition."""
    key, row = item(pk, "x"), item(pk, "x") | {"kind": {"S": "retry"}}
    query = {
        "KeyConditionExpression": "#k = :k",
        "ExpressionAttributeNames": {"#k": "pk"},
        "ExpressionAttributeValues": {":k": {"S": pk}},
    }
    by_index = query | {"IndexName": "kinds", "ExpressionAttributeNames": {"#k": "kind"}}
    update = {
        "UpdateExpression": "SET kind = :k",
        "ExpressionAttributeValues": {":k": {"S": "retry"}},
    }
    on_table = {"TableName": table}
    check = {"ConditionExpression": "attribute_not_exists(none)"}
    sql = f"""INTO "{table}" VALUE {{'pk': '{pk}', 'sk': 'y'}}"""
    calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "get": (dynamodb.get_item, {**on_table, "Key": key}),
        "put": (dynamodb.put_item, {**on_table, "Item": row}),
        "update": (dynamodb.update_item, {**on_table, "Key": key, **update}),
        "delete": (dynamodb.delete_item, {**on_table, "Key": key}),
        "query": (dynamodb.query, {**on_table, **query}),
        "index": (dynamodb.query, {**on_table, **by_index}),
        "scan": (dynamodb.scan, on_table),
        "scan of an index": (dynamodb.scan, {**on_table, "IndexName": "open"}),
        "batch get": (dynamodb.batch_get_item, {"RequestItems": {table: {"Keys": [key]}}}),
        "batch write": (
            dynamodb.batch_write_item,
            {"RequestItems": {table: [{"PutRequest": {"Item": row}}]}},
        ),
        "transact get": (
            dynamodb.transact_get_items,
            {"TransactItems": [{"Get": {**on_table, "Key": key}}]},
        ),
        "select": (
            dynamodb.execute_statement,
            {"Statement": f"""SELECT * FROM "{table}" WHERE pk = '{pk}'"""},
        ),
        "insert": (dynamodb.execute_statement, {"Statement": f"INSERT {sql}"}),
        "batch insert": (
            dynamodb.batch_execute_statement,
            {"Statements": [{"Statement": f"INSERT {sql}"}]},
        ),
        "transact insert": (
            dynamodb.execute_transaction,
            {"TransactStatements": [{"Statement": f"INSERT {sql}"}]},
        ),
        "describe": (dynamodb.describe_table, on_table),
    }
    parts: dict[str, dict[str, Any]] = {
        "Put": {"Item": row},
        "Update": {"Key": key, **update},
        "Delete": {"Key": key},
        "ConditionCheck": {"Key": key, **check},
    }
    for kind, body in parts.items():
        request = {"TransactItems": [{kind: {**on_table, **body}}]}
        calls[f"transact {kind}"] = (dynamodb.transact_write_items, request)
    return {name for name, (call, request) in calls.items() if may(call, **request)}


@pytest.fixture(scope="module")
def machine(standins: Standins) -> Role:
    """A machine, as its instance metadata makes it."""
    return Role(standins.engine, standins.stack.machine_role, INSTANCE)


OWN = {"get", "update", "delete", "transact get", "transact Update", "transact Delete"}
PUTS = {"put", "transact Put"}


def test_a_machine_reaches_its_own_mailbox_and_nothing_of_the_ledger(
    standins: Standins, machine: Role
) -> None:
    identity = machine.client("sts").get_caller_identity()
    assert identity["UserId"] == mailbox(standins, INSTANCE)
    stack, dynamodb = standins.stack, machine.client("dynamodb")
    own = mailbox(standins, INSTANCE)
    assert allowed(dynamodb, stack.mailbox_table, own) == OWN
    for other in (mailbox(standins, OTHER), own + "0", own[:-1], "lambda:rf-a:1", "*"):
        assert allowed(dynamodb, stack.mailbox_table, other) == set(), other
    for pk in (own, f"owner#{own}", f"machine#{own}", "config", "pool#docker", "job#x"):
        assert allowed(dynamodb, stack.ledger_table, pk) == set(), pk


def test_a_sandbox_reaches_mailboxes_of_sandboxes_and_nothing_of_the_ledger(
    standins: Standins,
) -> None:
    stack, dynamodb = standins.stack, standins.role("Runner4gbRole").client("dynamodb")
    own = "lambda:rf-a:77"
    assert allowed(dynamodb, stack.mailbox_table, own) == OWN | PUTS
    for other in (mailbox(standins, INSTANCE), "rf-a", "*"):
        assert allowed(dynamodb, stack.mailbox_table, other) == set(), other
    for pk in (own, f"owner#{own}", "config", "pool#docker"):
        assert allowed(dynamodb, stack.ledger_table, pk) == set(), pk


def test_one_request_for_its_own_and_another_s_mailbox_is_refused_whole(
    standins: Standins, machine: Role
) -> None:
    table, dynamodb = standins.stack.mailbox_table, machine.client("dynamodb")
    both = [
        {"Delete": {"TableName": table, "Key": item(mailbox(standins, instance))}}
        for instance in (INSTANCE, OTHER)
    ]
    assert refused(dynamodb.transact_write_items, TransactItems=both)


@pytest.mark.parametrize(
    ("role", "forms"),
    [
        ("ScaleRole", {*PUTS, "batch get"}),
        ("SettleRole", {*PUTS, "delete", "transact Delete", "batch get"}),
        ("SweepRole", {"delete", "transact Delete", "batch get"}),
        ("ReconcileRole", {"batch get"}),
        ("RouteRole", set()),
        ("WebhookRole", set()),
    ],
)
def test_a_function_does_with_mailboxes_what_it_is_for(
    role: str, forms: set[str], standins: Standins
) -> None:
    dynamodb = standins.role(role).client("dynamodb")
    assert allowed(dynamodb, standins.stack.mailbox_table, mailbox(standins, OTHER)) == forms


class Safe:
    """The mailboxes' key: what scale sealed, and who may open it."""

    def __init__(self, standins: Standins) -> None:
        self.key = standins.stack.mailbox_key
        self.scale = standins.role("ScaleRole").client("kms")

    def seal(self, box: str) -> bytes:
        """A secret, sealed for a mailbox."""
        context = {"mailbox": box}
        sealed = self.scale.encrypt(KeyId=self.key, Plaintext=b"glrt", EncryptionContext=context)
        return bytes(sealed["CiphertextBlob"])

    def opens(self, role: Role, sealed: bytes, context: dict[str, str]) -> bool:
        """Whether a role opens it under this context; with and without naming the key."""
        kms = role.client("kms")
        request = {"CiphertextBlob": sealed, "EncryptionContext": context}
        answers = {may(kms.decrypt, **request, **named) for named in ({}, {"KeyId": self.key})}
        (is_open,) = answers
        return is_open


def test_a_machine_opens_what_was_sealed_for_it_and_nothing_else(
    standins: Standins, machine: Role
) -> None:
    safe = Safe(standins)
    own, other = mailbox(standins, INSTANCE), mailbox(standins, OTHER)
    opened = machine.client("kms").decrypt(
        CiphertextBlob=safe.seal(own), EncryptionContext={"mailbox": own}
    )
    assert opened["Plaintext"] == b"glrt"
    sealed = safe.seal(other)
    for context in ({"mailbox": other}, {}, {"Mailbox2": own}, {"other": own}):
        assert not safe.opens(machine, sealed, context), context
    with pytest.raises(ClientError, match="InvalidCiphertext"):  # IAM knows the context alone
        machine.client("kms").decrypt(CiphertextBlob=sealed, EncryptionContext={"mailbox": own})


def test_a_sandbox_opens_nothing_that_is_a_machine_s(standins: Standins) -> None:
    safe, runner = Safe(standins), standins.role("Runner4gbRole")
    assert safe.opens(runner, safe.seal("lambda:rf-a:77"), {"mailbox": "lambda:rf-a:77"})
    own = mailbox(standins, INSTANCE)
    assert not safe.opens(runner, safe.seal(own), {"mailbox": own})
    assert not safe.opens(runner, safe.seal(own), {})


@pytest.mark.parametrize(
    "role",
    ["ScaleRole", "SettleRole", "SweepRole", "ReconcileRole", "RouteRole", "WebhookRole"],
)
def test_no_function_opens_a_credential_and_scale_alone_seals(
    role: str, standins: Standins
) -> None:
    safe, session = Safe(standins), standins.role(role)
    own = mailbox(standins, INSTANCE)
    assert not safe.opens(session, safe.seal(own), {"mailbox": own})
    request = {"KeyId": safe.key, "Plaintext": b"x", "EncryptionContext": {"mailbox": own}}
    assert refused(session.client("kms").encrypt, **request) is (role != "ScaleRole")


@pytest.mark.parametrize("logical_id", ["MachineRole", "Runner4gbRole"])
def test_a_machine_seals_nothing_and_has_no_say_over_the_key(
    logical_id: str, standins: Standins
) -> None:
    kms, key = standins.role(logical_id).client("kms"), standins.stack.mailbox_key
    context = {"mailbox": "lambda:rf-a:77"}
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)
    assert refused(kms.generate_data_key, KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    assert refused(kms.get_key_policy, KeyId=key, PolicyName="default")
    assert refused(kms.create_grant, KeyId=key, GranteePrincipal="*", Operations=["Decrypt"])


def test_a_role_that_may_do_everything_in_the_account_opens_no_credential(
    standins: Standins,
) -> None:
    safe, session = Safe(standins), standins.role("RouteRole")
    grant = {
        "RoleName": session.name,
        "PolicyName": "all",
        "PolicyDocument": json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
            }
        ),
    }
    iam, own = standins.engine.client("iam"), mailbox(standins, INSTANCE)
    iam.put_role_policy(**grant)
    try:
        assert not safe.opens(session, safe.seal(own), {"mailbox": own})
        kms = session.client("kms")
        assert refused(kms.create_grant, KeyId=safe.key, GranteePrincipal="*", Operations=[])
        assert may(kms.describe_key, KeyId=safe.key), "the account looks after it"
    finally:
        iam.delete_role_policy(RoleName=session.name, PolicyName="all")


def test_a_machine_reaches_nothing_else(standins: Standins, machine: Role) -> None:
    files = machine.client("s3")
    assert refused(files.get_object, Bucket="fleet-code", Key="any")
    secret = {"SecretId": standins.stack.gitlab_secret}
    assert refused(machine.client("secretsmanager").get_secret_value, **secret)
    assert refused(machine.client("ec2").describe_instances)
    assert refused(machine.client("ec2").terminate_instances, InstanceIds=[OTHER])
    assert refused(machine.client("sqs").receive_message, QueueUrl=standins.stack.ec2_queue_url)


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


def fleet(standins: Standins, tags: dict[str, str]) -> dict[str, Any]:
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


@pytest.mark.parametrize(
    ("is_protected", "readers"), [(False, {"Scale", "Reconcile"}), (True, {"Reconcile"})]
)
def test_who_reads_the_pools_credentials(
    standins: Standins, *, is_protected: bool, readers: set[str]
) -> None:
    prefix = standins.stack.pool_secret_prefix
    name = pool_secret(prefix, "docker", is_protected=is_protected)
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
    assert able == readers


def test_a_sandbox_puts_failures_of_invocations_and_nothing_else(standins: Standins) -> None:
    """Lambda puts them with the runner's role, and so may a job that has the role's keys."""
    put = standins.role("Runner4gbRole").client("events").put_events
    kind = "Lambda Function Invocation Result - Failure"
    failure = {"DetailType": kind, "Detail": "{}", "Source": "lambda"}
    ours = {**failure, "EventBusName": standins.stack.bus}
    job_event = {**ours, "Source": "runner-fleet.webhook", "DetailType": "job.finished"}
    assert not refused(put, Entries=[ours])
    assert refused(put, Entries=[failure]), "the default bus"
    assert refused(put, Entries=[job_event]), "in the webhook's name"
    assert refused(put, Entries=[ours, job_event])


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
    # The next test of this session shares the queue: the stand-in of scale stops at an "x".
    standins.engine.client("sqs").purge_queue(QueueUrl=url)
