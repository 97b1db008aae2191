"""The template and the state machines, read as the tests want them."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from infra import package
from infra.package import TEMPLATE

State = dict[str, Any]


class _Reader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _long_form(loader: _Reader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        value: Any = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Reader.add_multi_constructor("!", _long_form)


@cache
def template() -> dict[str, Any]:
    """`infra/template.yaml`, short forms written out."""
    return dict(yaml.load(TEMPLATE.read_text(), Loader=_Reader))


def resources(kind: str = "") -> dict[str, Any]:
    """The resources whose type starts with `AWS::<kind>`, by logical id."""
    found = template()["Resources"].items()
    return {name: body for name, body in found if body["Type"].startswith(f"AWS::{kind}")}


def properties(name: str) -> dict[str, Any]:
    """One resource's properties."""
    return dict(template()["Resources"][name]["Properties"])


def statements(role: str) -> list[dict[str, Any]]:
    """Every statement of a role's own policies, and of the managed ones made here."""
    body = properties(role)
    own = [policy["PolicyDocument"] for policy in body.get("Policies", [])]
    managed = [
        properties(one["Ref"])["PolicyDocument"] for one in body.get("ManagedPolicyArns", [])
    ]
    return [statement for document in own + managed for statement in document["Statement"]]


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
    """Where a state may go."""
    rules = [*state.get("Catch", []), *state.get("Choices", []), state]
    return {rule[key] for rule in rules for key in ("Next", "Default") if key in rule}
