"""YAML text as nodes that know their file and line."""

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
    """A `!reference [job, key]` that is not resolved yet."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A YAML value with its file and line; in a map, the line of its key."""

    value: Value
    file: str
    line: int  # from 1

    def error(self, why: str) -> CiError:
        """An error at this file and line."""
        return CiError(f"{self.file} line {self.line}: {why}")

    def missing(self, why: str) -> CiMissingError:
        """An error about an undefined name at this file and line."""
        return CiMissingError(f"{self.file} line {self.line}: {why}")


def read_yaml(text: str, *, file: str) -> tuple[tuple[Node, ...], list[str]]:
    """The documents in `text`, and a warning for each key that one map has twice.

    Raises `CiError` for text that is not YAML, and for unknown tags.
    """
    try:
        reader = _NodeReader(text, file)
        return reader.documents(), reader.warnings
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise CiError(f"{file} line {line}: not valid YAML: {exc.problem}") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise CiError(f"{file} line 1: not valid YAML: {exc}") from exc


class _NodeReader:
    """Turns the documents of one file into nodes."""

    def __init__(self, text: str, file: str) -> None:
        self._loader = yaml.SafeLoader(text)
        self._file = file
        self.warnings: list[str] = []
        self._open: set[int] = set()
        self._done: dict[int, Node] = {}

    def documents(self) -> tuple[Node, ...]:
        documents: list[Node] = []
        roots: list[yaml.Node] = []  # kept alive: `_done` knows nodes by `id()`
        while self._loader.check_node():
            root = self._loader.get_node()
            if root is not None:
                roots.append(root)
                documents.append(self._node(root))
        return tuple(documents) or (Node(value={}, file=self._file, line=1),)

    def _node(self, source: yaml.Node) -> Node:
        """The node; all aliases of an anchor share one."""
        if id(source) in self._open:
            raise self._at(source, None).error("an anchor contains itself")
        if id(source) not in self._done:
            self._open.add(id(source))
            self._done[id(source)] = self._at(source, self._value(source))
            self._open.remove(id(source))
        return self._done[id(source)]

    def _at(self, source: yaml.Node, value: Value) -> Node:
        return Node(value=value, file=self._file, line=source.start_mark.line + 1)

    def _value(self, source: yaml.Node) -> Value:
        if isinstance(source, yaml.MappingNode):
            return self._map(source)
        if isinstance(source, yaml.SequenceNode):
            items = tuple(self._node(item) for item in source.value)
            return Reference(path=self._path(items)) if source.tag == "!reference" else items
        return self._scalar(source)

    def _path(self, items: tuple[Node, ...]) -> tuple[str, ...]:
        for item in items:
            if not isinstance(item.value, str):
                raise item.error("!reference takes a list of names")
        return tuple(str(item.value) for item in items)

    def _map(self, source: yaml.MappingNode) -> dict[str, Node]:
        keys: set[object] = set()
        for key, _ in source.value:
            if key.value != "<<" and str(key.value) in keys:
                why = f"{key.value!r} is given twice; this value replaces the first"
                self.warnings.append(str(self._at(key, None).error(why)))
            keys.add(str(key.value))
        self._loader.flatten_mapping(source)  # merges `<<: *anchor`
        entries: dict[str, Node] = {}
        for key, value in source.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._at(key, None).error("a key must be plain text")
            entries[key.value] = replace(self._node(value), line=key.start_mark.line + 1)
        return entries

    def _scalar(self, source: yaml.Node) -> Scalar:
        kind = source.tag.removeprefix(_PREFIX)
        if kind not in _PLAIN:
            raise self._at(source, None).error(f"unsupported YAML tag {source.tag!r}")
        if kind == "timestamp":
            raise self._at(source, None).error(f"put the date {source.value} in quotes")
        if kind == "value":
            return str(source.value)
        try:
            value = self._loader.construct_object(source)
        except ValueError:  # such as "0b_", which only looks like a number
            return str(source.value)
        return value if value is None or isinstance(value, str | int | float) else str(value)
