"""The checks of IAM that MiniStack 1.5.33 lacks and the fleet's policies rely on.

Policy variables, `dynamodb:LeadingKeys`, `events:source`, KMS's encryption context, tags on EC2
requests and instances, and the resources of CreateFleet, TerminateInstances, secrets and schedules.
Without this the template's policies would deny what AWS allows or allow what AWS denies, and the
local suite would prove nothing. The credentials of a role's session also outlive a restart of the
engine.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import dynamodb, ec2, secretsmanager, sts, tagging

_VARIABLE = re.compile(r"\$\{([^}]+)\}")
_FIRST_EQUALS = re.compile(r"^\s*\(?\s*(#?\w+)\s*=\s*(:\w+)")
_ITEM_ACTIONS = ("ConditionCheck", "Put", "Update", "Delete", "Get")


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    iam_evaluator._conditions_met = _with_variables(iam_evaluator._conditions_met)
    iam_actions.dynamodb_service_context = _with_leading_keys(iam_actions.dynamodb_service_context)
    iam_actions.extract_iam_action = _without_batches(iam_actions.extract_iam_action)
    iam_actions.extract_resource_arn = _with_resources(iam_actions.extract_resource_arn)
    iam_actions.request_tag_context = _with_request_keys(iam_actions.request_tag_context)
    iam_actions.verified_access_resource_arns = _other_instances
    iam_actions._TAG_MEMBERS = frozenset({*iam_actions._TAG_MEMBERS, "TagSpecifications"})
    tagging._RESOURCE_TAG_COLLECTORS["ec2"] = _instance_tags
    sts.get_state = lambda: {"sessions": dict(sts._sessions)}
    sts.load_persisted_state = lambda state: sts._sessions.update(state["sessions"])


def _with_variables(met: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Fill `${aws:userid}` and its like in before the conditions are compared."""

    def conditions_met(conditions: Any, context: Any) -> bool:
        def fill(match: re.Match[str]) -> str:
            value = iam_evaluator._resolve_condition_key(match[1], context)
            return match[0] if value is None else str(value)

        text = json.dumps(conditions)
        return met(json.loads(_VARIABLE.sub(fill, text)) if "${" in text else conditions, context)

    return conditions_met


def _without_batches(original: Callable[..., str]) -> Callable[..., str]:
    """SQS has no actions of its own for batches. Source: IAM, actions of Amazon SQS."""

    def action(*request: Any, **more: Any) -> str:
        action = original(*request, **more)
        is_batch = isinstance(action, str) and action.startswith("sqs:")
        return action.removesuffix("Batch") if is_batch else action

    return action


def _with_leading_keys(
    original: Callable[[bytes], dict[str, Any]],
) -> Callable[[bytes], dict[str, Any]]:
    """Add the partition keys that a DynamoDB request names."""

    def context(body: bytes) -> dict[str, Any]:
        context = original(body)
        request = _json_object(body)
        keys = sorted(set(_leading_keys(request)))
        return {**context, "dynamodb:LeadingKeys": keys} if keys else context

    return context


def _leading_keys(request: dict[str, Any]) -> Iterator[str]:
    for item in request.get("TransactItems") or []:
        for action in _ITEM_ACTIONS:
            yield from _key_of(item.get(action) or {})
    for table, wanted in (request.get("RequestItems") or {}).items():
        for part in wanted if isinstance(wanted, list) else wanted.get("Keys", []):
            for request_part in part.values() if isinstance(wanted, list) else [{"Key": part}]:
                yield from _key_of({"TableName": table, **request_part})
    yield from _key_of(request)


def _key_of(request: dict[str, Any]) -> Iterator[str]:
    """The partition key of one single-item request or one query."""
    name = _hash_key(str(request.get("TableName", "")), request.get("IndexName"))
    for value in ((request.get("Key") or request.get("Item") or {}).get(name) or {}).values():
        yield str(value)
    match = _FIRST_EQUALS.match(str(request.get("KeyConditionExpression", "")))
    if match and (request.get("ExpressionAttributeNames") or {}).get(match[1], match[1]) == name:
        for value in request["ExpressionAttributeValues"][match[2]].values():
            yield str(value)


def _hash_key(table: str, index: str | None) -> str:
    schema = dynamodb._tables.get(table.rsplit("/", 1)[-1]) or {}
    for candidate in schema.get("GlobalSecondaryIndexes") or []:
        if candidate.get("IndexName") == index:
            schema = candidate
    for part in schema.get("KeySchema") or []:
        if part.get("KeyType") == "HASH":
            return str(part["AttributeName"])
    return ""


def _with_request_keys(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Add a KMS request's encryption context, and `events:source` of the events that one puts.

    Several sources at once match none.
    """

    def context(service: str, action: str, body: bytes, params: Any) -> dict[str, Any]:
        keys = original(service, action, body, params)
        if service == "kms":
            named = _json_object(body).get("EncryptionContext") or {}
            return {**keys, **{f"kms:EncryptionContext:{k}": v for k, v in named.items()}}
        if action != "events:PutEvents":
            return keys
        entries = _json_object(body).get("Entries") or []
        sources = sorted({str(entry.get("Source")) for entry in entries})
        return {**keys, "events:source": sources[0] if len(sources) == 1 else sources}

    return context


def _with_resources(original: Callable[..., str]) -> Callable[..., str]:
    """Name what CreateFleet makes, whole secrets, one parameter, schedules in their own group."""

    def resource_arn(
        service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any, **named: Any
    ) -> str:
        arn = original(service, method, path, headers, body, *rest, **named)
        params, region, account = (
            rest if rest else (named[k] for k in ("query_params", "region", "account_id"))
        )
        if service == "ec2" and iam_actions._query_param(params, "Action") == "CreateFleet":
            return f"arn:aws:ec2:{region}:{account}:instance/*"
        if service == "secretsmanager" and (secret := _secret_arn(body)):
            return secret
        if service == "ssm" and len(names := _json_object(body).get("Names") or []) == 1:
            return f"arn:aws:ssm:{region}:{account}:parameter/{str(names[0]).lstrip('/')}"
        if service == "scheduler" and ":schedule/default/" in arn:
            group = _json_object(body).get("GroupName") or iam_actions._query_param(
                params, "groupName"
            )
            return arn.replace(":schedule/default/", f":schedule/{group or 'default'}/")
        return arn

    return resource_arn


def _secret_arn(body: bytes) -> str:
    """The whole ARN of the secret that a request names, random end included; "" when unknown."""
    secret = secretsmanager._resolve(str(_json_object(body).get("SecretId", "")))
    return str(secret[1]["ARN"]) if secret and secret[1] else ""


def _other_instances(params: dict[str, Any], region: str, account: str) -> list[str]:
    """Every instance a request names; the caller has checked the first."""
    ids = ec2._parse_member_list(params, "InstanceId")
    return [f"arn:aws:ec2:{region}:{account}:instance/{instance}" for instance in ids]


def _instance_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    region, account = ec2.get_region(), ec2.get_account_id()
    for resource, tags in ec2._tags.items():
        yield f"arn:aws:ec2:{region}:{account}:instance/{resource}", tags


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
