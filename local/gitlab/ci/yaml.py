"""YAML text as nodes that remember their file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import yaml

from local.gitlab.ci.types import CiError, CiMissingError

Scalar = str | int | float | bool | None
Value: TypeAlias = "Scalar | Reference | tuple[Node, ...] | Mapping[str, Node]"
_PLAIN = ("str", "int", "float", "bool", "null", "timestamp", "value")
_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A `!reference [job, key]` that is not looked up yet."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A YAML value with the place it was written; inside a map, the place of its key."""

    value: Value
    file: str
    line: int  # from 1

    def error(self, why: str) -> CiError:
        """The error that says what is wrong here."""
        return CiError(f"{self.file} line {self.line}: {why}")

    def missing(self, why: str) -> CiMissingError:
        """The error that says what is nowhere."""
        return CiMissingError(f"{self.file} line {self.line}: {why}")


def read_yaml(text: str, *, file: str) -> tuple[tuple[Node, ...], list[str]]:
    """The documents in `text`, and warnings about keys that are given twice in one map.

    Raises `CiError` when it is not YAML or holds foreign tags.
    """
    try:
        reading = _Reading(text, file)
        return reading.documents(), reading.warnings
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise CiError(f"{file} line {line}: not valid YAML: {exc.problem}") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise CiError(f"{file} line 1: not valid YAML: {exc}") from exc


class _Reading:
    """One pass over the documents of one file."""

    def __init__(self, text: str, file: str) -> None:
        self._loader = yaml.SafeLoader(text)
        self._file = file
        self.warnings: list[str] = []
        self._open: set[int] = set()
        self._done: dict[int, Node] = {}

    def documents(self) -> tuple[Node, ...]:
        found: list[Node] = []
        roots: list[yaml.Node] = []  # kept, since nodes are known by their address
        while self._loader.check_node():
            root = self._loader.get_node()
            if root is not None:
                roots.append(root)
                found.append(self._node(root))
        return tuple(found) or (Node(value={}, file=self._file, line=1),)

    def _node(self, found: yaml.Node) -> Node:
        """The node, made once however many aliases point at it."""
        if id(found) in self._open:
            raise self._at(found, None).error("an anchor contains itself")
        if id(found) not in self._done:
            self._open.add(id(found))
            self._done[id(found)] = self._at(found, self._value(found))
            self._open.remove(id(found))
        return self._done[id(found)]

    def _at(self, found: yaml.Node, value: Value) -> Node:
        return Node(value=value, file=self._file, line=found.start_mark.line + 1)

    def _value(self, found: yaml.Node) -> Value:
        if isinstance(found, yaml.MappingNode):
            return self._map(found)
        if isinstance(found, yaml.SequenceNode):
            items = tuple(self._node(item) for item in found.value)
            return Reference(path=self._path(items)) if found.tag == "!reference" else items
        return self._scalar(found)

    def _path(self, items: tuple[Node, ...]) -> tuple[str, ...]:
        for item in items:
            if not isinstance(item.value, str):
                raise item.error("!reference takes a list of names")
        return tuple(str(item.value) for item in items)

    def _map(self, found: yaml.MappingNode) -> dict[str, Node]:
        own: set[object] = set()
        for key, _ in found.value:
            if key.value != "<<" and str(key.value) in own:
                said = f"{key.value!r} is given twice; what is said here replaces the first"
                self.warnings.append(str(self._at(key, None).error(said)))
            own.add(str(key.value))
        self._loader.flatten_mapping(found)  # puts `<<: *anchor` in place
        entries: dict[str, Node] = {}
        for key, value in found.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._at(key, None).error("a key must be plain text")
            entries[key.value] = replace(self._node(value), line=key.start_mark.line + 1)
        return entries

    def _scalar(self, found: yaml.Node) -> Scalar:
        kind = found.tag.removeprefix(_PREFIX)
        if kind not in _PLAIN:
            raise self._at(found, None).error(f"unsupported YAML tag {found.tag!r}")
        if kind == "timestamp":
            raise self._at(found, None).error(f"put the date {found.value} in quotes")
        if kind == "value":
            return str(found.value)
        try:
            value = self._loader.construct_object(found)
        except ValueError:  # such as "0b_", a number by its pattern alone
            return str(found.value)
        return value if value is None or isinstance(value, str | int | float) else str(value)
