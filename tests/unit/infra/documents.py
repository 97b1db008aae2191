"""The template and the state machines, read as the tests want them."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from infra import package
from infra.compose import compose

State = dict[str, Any]


@cache
def template() -> dict[str, Any]:
    return compose(package.TEMPLATE.read_text())


def resources(kind: str = "") -> dict[str, Any]:
    """The resources whose type starts with `AWS::<kind>`, by logical id."""
    all_of_them = template()["Resources"].items()
    return {name: body for name, body in all_of_them if body["Type"].startswith(f"AWS::{kind}")}


def properties(name: str) -> dict[str, Any]:
    return dict(template()["Resources"][name]["Properties"])


def statements(role: str) -> list[dict[str, Any]]:
    """Every statement of a role's own policies, and of those made here that it has."""
    body = properties(role)
    policies = body.get("Policies", [])  # one that a parameter must ask for is left out
    own = [policy["PolicyDocument"] for policy in policies if "Fn::If" not in policy]
    managed = [
        properties(policy["Ref"])["PolicyDocument"] for policy in body.get("ManagedPolicyArns", [])
    ]
    shared = [
        policy["Properties"]["PolicyDocument"]
        for policy in resources("IAM::Policy").values()
        if {"Ref": role} in policy["Properties"]["Roles"]
    ]
    documents = own + managed + shared
    return [statement for document in documents for statement in document["Statement"]]


def user_data(kind: str = "Machine", **values: str) -> str:
    """What a machine runs. `values`: of what the text refers to, such as `Mailboxes`; else `x`."""
    data = properties(f"{kind}Template")["LaunchTemplateData"]
    separator, parts = data["UserData"]["Fn::Base64"]["Fn::Join"]
    return str(separator.join(_text_of(part, values) for part in parts))


def _text_of(part: Any, values: dict[str, str]) -> str:
    """CloudFormation's text for a literal, a `Fn::Sub` or a `Fn::GetAtt`."""
    if isinstance(part, str):
        return part
    if "Fn::GetAtt" in part:
        return values.get(part["Fn::GetAtt"], "x")
    return re.sub(r"\$\{([\w.:]+)\}", lambda name: values.get(name[1], "x"), part["Fn::Sub"])


def as_list(value: Any) -> list[Any]:
    """IAM lets one value stand for a list of one."""
    return value if isinstance(value, list) else [value]


@cache
def machines() -> dict[str, dict[str, Any]]:
    """The state machines by name, as they are uploaded."""
    return {
        name.removesuffix(".asl.json"): json.loads(text)
        for name, text in package.machines().items()
    }


def states(machine: dict[str, Any]) -> Iterator[tuple[str, State]]:
    """Every state of a machine, those of its branches included."""
    for name, state in machine["States"].items():
        yield name, state
        for branch in state.get("Branches", []):
            yield from states(branch)


def next_of(state: State) -> set[str]:
    rules = [*state.get("Catch", []), *state.get("Choices", []), state]
    return {rule[key] for rule in rules for key in ("Next", "Default") if key in rule}
