"""YAML with lines: scalars, anchors, merge keys, `!reference`, and text that is no YAML."""

from __future__ import annotations

import pytest

from local.gitlab.ci.types import CiError
from local.gitlab.ci.yaml import Node, Reference, Value, read_yaml


def entries(text: str) -> dict[str, Node]:
    (node,), _ = read_yaml(text, file="ci.yml")
    assert isinstance(node.value, dict)
    return node.value


def value(text: str) -> Value:
    return entries(text)["k"].value


@pytest.mark.parametrize(
    ("text", "scalar"),
    [
        ("text", "text"),
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("'5'", "5"),
        ("=", "="),
        ("0b_", "0b_"),
        ("!reference [.x, script]", Reference(path=(".x", "script"))),
    ],
)
def test_a_scalar_has_its_yaml_type(text: str, scalar: object) -> None:
    assert value(f"k: {text}") == scalar


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: *nope\n", 2, "not valid YAML"),
        ("a: 1\nb: 2024-05-01", 2, "put the date 2024-05-01 in quotes"),
        ("a: \x00", 1, "not valid YAML"),
        ("a: &x [*x]", 1, "an anchor contains itself"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key must be plain text"),
        ("a: !foo 1", 1, "unsupported YAML tag '!foo'"),
        ("a: !reference [[b]]", 1, "!reference takes a list of names"),
        ("a: !!binary aGk=", 1, "unsupported YAML tag"),
        ("{a: " * 2000, 1, "not valid YAML"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_an_error_names_file_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(CiError, match=rf"^ci\.yml line {line}: {reason}"):
        read_yaml(text, file="ci.yml")
