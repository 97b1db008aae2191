"""YAML with lines: scalars, anchors, merge keys, `!reference`, and what is no YAML."""

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
    ("written", "read"),
    [
        ("text", "text"),
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("'5'", "5"),
        ("=", "="),
        ("0b_", "0b_"),
    ],
)
def test_scalars_have_the_type_yaml_gives_them(written: str, read: object) -> None:
    assert value(f"k: {written}") == read


def test_every_entry_knows_the_line_of_its_key() -> None:
    read = entries("a: 1\nb:\n\n  c: 2\n")
    assert (read["a"].line, read["b"].line) == (1, 2)
    assert isinstance(read["b"].value, dict)
    assert read["b"].value["c"].line == 4


def test_items_know_their_own_line_and_file() -> None:
    items = value("k:\n  - a\n  - b\n")
    assert isinstance(items, tuple)
    assert [(item.file, item.line, item.value) for item in items] == [
        ("ci.yml", 2, "a"),
        ("ci.yml", 3, "b"),
    ]


def test_an_alias_has_the_line_where_it_is_used() -> None:
    read = entries("a: &x [1]\nb: 1\nc: *x\n")
    assert read["c"].line == 3
    assert read["c"].value == read["a"].value


def test_merge_keys_are_put_in_place_and_own_entries_win() -> None:
    read = entries("base: &b {x: 1, y: 2}\nk:\n  <<: *b\n  y: 3\n")
    node = read["k"].value
    assert isinstance(node, dict)
    assert {key: one.value for key, one in node.items()} == {"x": 1, "y": 3}


def test_a_key_is_text_whatever_it_looks_like() -> None:
    assert list(entries("on: 1\n12: 2\n")) == ["on", "12"]


def test_of_two_equal_keys_the_later_counts() -> None:
    assert value("k: 1\nk: 2\n") == 2


def test_a_reference_is_kept_for_later() -> None:
    assert value("k: !reference [.x, script]") == Reference(path=(".x", "script"))


def test_an_empty_file_is_an_empty_map() -> None:
    assert read_yaml("# nothing\n", file="ci.yml")[0][0].value == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: [1\nb: 2\n", "ci.yml line 2: not valid YAML", id="open bracket"),
        pytest.param("a: 1\nb: *nope\n", "ci.yml line 2: not valid YAML", id="unknown alias"),
        pytest.param("a: 1\nb: 2024-05-01", "line 2: put the date 2024-05-01 in", id="date"),
        pytest.param("a: \x00", "ci.yml line 1: not valid YAML", id="control character"),
        pytest.param("a: &x [*x]", "line 1: an anchor contains itself", id="circle"),
        pytest.param("a: 1\n? [b]\n: 2\n", "line 2: a key must be plain text", id="list as key"),
        pytest.param("a: !foo 1", "line 1: unsupported YAML tag '!foo'", id="foreign tag"),
        pytest.param(
            "a: !reference [[b]]", "line 1: !reference takes a list of names", id="nested"
        ),
        pytest.param("a: !!binary aGk=", "unsupported YAML tag", id="binary"),
        pytest.param("{a: " * 2000, "not valid YAML", id="too deep"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, said: str) -> None:
    with pytest.raises(CiError, match=r"^ci\.yml line") as caught:
        read_yaml(text, file="ci.yml")
    assert said in str(caught.value)
