"""What an open pool's machine reaches of a `protected_only` pool, on the real template."""

from typing import Any

import pytest

from tests.integration.conftest import Role, Standins
from tests.integration.test_access import item, refused

INSTANCE = "i-0123456789abcdef0"


def machine(standins: Standins, *, is_protected: bool) -> Role:
    """A machine's session, as its instance metadata makes it."""
    stack = standins.stack
    role = stack.protected_machine_role if is_protected else stack.machine_role
    return Role(standins.engine, role, INSTANCE)


def mailbox(standins: Standins, *, is_protected: bool) -> str:
    stack = standins.stack
    role_id = stack.protected_machine_role_id if is_protected else stack.machine_role_id
    return f"{role_id}:{INSTANCE}"


@pytest.mark.parametrize("is_protected", [False, True])
def test_a_machine_of_one_trust_level_opens_no_mailbox_of_the_other(
    standins: Standins, *, is_protected: bool
) -> None:
    table = standins.stack.mailbox_table
    ledger = machine(standins, is_protected=is_protected).client("dynamodb")
    own = item(mailbox(standins, is_protected=is_protected))
    other = item(mailbox(standins, is_protected=not is_protected))
    for entry in (own, other):
        standins.engine.client("dynamodb").put_item(TableName=table, Item=entry)
    assert ledger.get_item(TableName=table, Key=own)["Item"] == own
    assert refused(ledger.get_item, TableName=table, Key=other)
    assert refused(ledger.delete_item, TableName=table, Key=other)


@pytest.mark.parametrize(
    ("template", "role"),
    [("launch_template", "MachineRole"), ("protected_launch_template", "ProtectedMachineRole")],
)
def test_a_launch_template_gives_the_role_of_its_trust_level(
    standins: Standins, template: str, role: str
) -> None:
    stack, engine = standins.stack, standins.engine
    tags = [{"Key": "runner-fleet:stack", "Value": stack.name}]
    request: dict[str, Any] = {
        "Type": "instant",
        "LaunchTemplateConfigs": [
            {
                "LaunchTemplateSpecification": {
                    "LaunchTemplateId": getattr(stack, template),
                    "Version": "$Latest",
                }
            }
        ],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 1},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
    }
    launched = standins.role("ScaleRole").client("ec2").create_fleet(**request)
    ids = launched["Instances"][0]["InstanceIds"]
    shown = engine.client("ec2").describe_instances(InstanceIds=ids)
    profile = shown["Reservations"][0]["Instances"][0]["IamInstanceProfile"]["Arn"]
    named = engine.client("iam").get_instance_profile(
        InstanceProfileName=profile.rpartition("/")[2]
    )
    (has,) = named["InstanceProfile"]["Roles"]
    wanted = standins.role(role).name
    assert has["RoleName"] == wanted
    engine.client("ec2").terminate_instances(InstanceIds=ids)


@pytest.mark.parametrize("role", ["MachineRole", "Runner4gbRole"])
def test_no_open_runner_becomes_a_protected_one(standins: Standins, role: str) -> None:
    session, engine = standins.role(role), standins.engine
    names = [standins.role(f"Protected{kind}").name for kind in ("MachineRole", "Runner4gbRole")]
    arns = [engine.client("iam").get_role(RoleName=name)["Role"]["Arn"] for name in names]
    for arn in (*arns, standins.stack.cache_role):
        assert refused(
            session.client("sts").assume_role, RoleArn=arn, RoleSessionName="rf-docker-1"
        )
    name = f"{standins.stack.name}-runner-protected-4gb"
    assert refused(session.client("lambda").invoke, FunctionName=name)
