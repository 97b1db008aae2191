"""The resource policy of an event bus, which MiniStack 1.5.33 neither deploys nor asks.

The resource type `AWS::Events::EventBusPolicy`, with a whole statement as CloudFormation takes it,
and the policy's part in the decision on each `PutEvents`.
"""

import re
from collections.abc import Callable
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": _create,
        "update": _update,
        "delete": _delete,
    }
    eventbridge.bus_policy_for_arn = _policy_of
    iam_evaluator._RESOURCE_POLICY_LOOKUPS["events"] = ("eventbridge", "bus_policy_for_arn")
    iam_evaluator._resolve_condition_key = _with_principal_keys(
        iam_evaluator._resolve_condition_key
    )


def _with_principal_keys(resolve: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Give a session's role as `aws:PrincipalArn`. Source: IAM, global condition keys."""

    def value(key: str, context: Any) -> Any:
        # Only a request signed by a principal is checked; AWS's services put events inside.
        if key.lower() == "aws:principalisawsservice":
            return "false"
        if key.lower() == "aws:securetransport":
            return "true"  # nothing leaves the loopback, and the engine has no TLS
        resolved = resolve(key, context)
        session = re.fullmatch(r"arn:aws:sts::(\d+):assumed-role/([^/]+)/.+", str(resolved))
        if key.lower() == "aws:principalarn" and session:
            return f"arn:aws:iam::{session[1]}:role/{session[2]}"
        return resolved

    return value


def _create(
    _logical_id: str, properties: dict[str, Any], _stack: str
) -> tuple[str, dict[str, Any]]:
    bus, sid = properties["EventBusName"], properties["StatementId"]
    policy = eventbridge._event_bus_policies.setdefault(
        bus, {"Version": "2012-10-17", "Statement": []}
    )
    others = [statement for statement in policy["Statement"] if statement["Sid"] != sid]
    policy["Statement"] = [*others, {**properties["Statement"], "Sid": sid}]
    return f"{bus}|{sid}", {}


def _update(
    physical_id: str, _old: dict[str, Any], properties: dict[str, Any], stack: str
) -> tuple[str, dict[str, Any]]:
    _delete(physical_id, {})
    return _create("", properties, stack)


def _delete(physical_id: str, _properties: dict[str, Any]) -> None:
    bus, _, sid = physical_id.partition("|")
    eventbridge._remove_permission({"EventBusName": bus, "StatementId": sid})


def _policy_of(arn: str) -> tuple[dict[str, Any], str] | None:
    policy = eventbridge._event_bus_policies.get(arn.rpartition("/")[2])
    return (policy, arn.split(":")[4]) if policy else None
