"""The resource type `AWS::Events::Archive`, which MiniStack 1.5.33's CloudFormation does not have.

Its EventBridge has archives, so a stack gets a real one.
"""

from typing import Any

from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners

_OF_THE_CALL = ("Description", "EventPattern", "RetentionDays")


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    provisioners._RESOURCE_HANDLERS["AWS::Events::Archive"] = {
        "create": _create,
        "update": _update,
        "delete": _delete,
    }


def _create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    name = properties.get("ArchiveName") or f"{stack}-{logical_id}"
    call = {key: properties[key] for key in _OF_THE_CALL if key in properties}
    call |= {"ArchiveName": name, "EventSourceArn": properties["SourceArn"]}
    _accepted(eventbridge._create_archive(call))
    return name, {"ArchiveName": name, "Arn": eventbridge._archives[name]["ArchiveArn"]}


def _update(
    physical_id: str, _old: dict[str, Any], properties: dict[str, Any], _stack: str
) -> tuple[str, dict[str, Any]]:
    call = {key: properties[key] for key in _OF_THE_CALL if key in properties}
    _accepted(eventbridge._update_archive({"ArchiveName": physical_id, **call}))
    arn = eventbridge._archives[physical_id]["ArchiveArn"]
    return physical_id, {"ArchiveName": physical_id, "Arn": arn}


def _delete(physical_id: str, _properties: dict[str, Any]) -> None:
    eventbridge._delete_archive({"ArchiveName": physical_id})


def _accepted(answer: tuple[int, Any, Any]) -> None:
    """Raise `ValueError`, which fails the resource, for an answer that is an error."""
    if answer[0] >= 400:
        raise ValueError(f"AWS::Events::Archive: {answer[2]!r}")
