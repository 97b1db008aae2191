"""`spec:inputs` of a file's header, and `$[[ inputs.name ]]` in its content.

Source: GitLab's `Ci::Inputs` and `Ci::Config::Interpolation`.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from local.gitlab.ci.values import Entries, Location, expand
from local.gitlab.ci.yaml import Node, Value

_HEADER_KEYS = ("inputs", "description", "component")
_INPUT_KEYS = ("default", "description", "options", "regex", "type")
_TYPES = ("array", "boolean", "number", "string")
_MOST_OPTIONS = 50
_MOST_FUNCTIONS = 3
_BLOCK = re.compile(r"\$\[\[\s*(\S.*?\S|\S)\s*\]\]")
_TRUNCATE = re.compile(r"truncate\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_INDEX = re.compile(r"\[(\d+)\]")
_ACCESS = re.compile(r"inputs\.([\w-]+)((?:\[\d+\])*)")


def with_inputs(
    documents: tuple[Node, ...], given: Mapping[str, Node], variables: Mapping[str, str]
) -> tuple[Node, list[str]]:
    """The content of a file with its inputs interpolated, and warnings.

    `given` is `include:inputs`; `variables` are for the function `expand_vars`. Raises `CiError`
    for an input that is missing, unknown or of another type.
    """
    first = documents[0]
    has_header = len(documents) > 1 and isinstance(first.value, Mapping) and "spec" in first.value
    warnings = [
        f"{extra.file} line {extra.line}: this document is left out: a file has one, and before "
        "it a header with `spec`"
        for extra in documents[2 if has_header else 1 :]
    ]
    if not has_header:
        if isinstance(first.value, Mapping) and "spec" in first.value:
            raise first.value["spec"].error("spec belongs in a header of its own, before `---`")
        for node in given.values():
            raise node.error("include:inputs: the included file has no `spec:inputs` header")
        return first, warnings
    header = Location(first, "header").entries(("spec",))["spec"]
    spec = Entries() if header.is_null else header.entries(_HEADER_KEYS)
    declared = spec["inputs"].entries() if "inputs" in spec and spec["inputs"].is_map else {}
    for name, node in given.items():
        if name not in declared:
            raise node.error(f"include:inputs: the included file knows no input {name!r}")
    values = {name: _value(name, spot, given.get(name)) for name, spot in declared.items()}
    return _interpolate(documents[1], values, variables), warnings


def _value(name: str, spot: Location, given: Node | None) -> Node:
    """An input's value, checked against its declaration."""
    entries = Entries() if spot.is_null else spot.entries(_INPUT_KEYS)
    kind = entries.read("type", lambda spot: spot.one_of(_TYPES), "string")
    source = (
        given if given is not None else entries["default"].node if "default" in entries else None
    )
    if source is None:
        raise spot.error(f"`{name}` input: required value has not been provided")
    value = _of_type(name, kind, source)
    options = entries.read("options", Location.items, ())
    if len(options) > _MOST_OPTIONS:
        raise entries["options"].error(f"may have {_MOST_OPTIONS} options at most")
    if options and _plain(value) not in [_plain(option.node) for option in options]:
        raise source.error(f"`{name}` input: {_plain(value)!r} is not among its options")
    if "regex" in entries:
        pattern = entries["regex"].text()
        try:
            is_match = re.search(pattern, str(_plain(value)))
        except re.error as exc:
            raise entries["regex"].error(f"invalid regular expression: {exc}") from exc
        if not is_match:
            raise source.error(f"`{name}` input: {_plain(value)!r} does not match {pattern!r}")
    return value


def _of_type(name: str, kind: str, node: Node) -> Node:
    value = node.value
    if kind == "string":
        if isinstance(value, tuple | Mapping):
            return replace(node, value=json.dumps(_plain(node)))
        return replace(node, value=_text(value))
    if isinstance(value, str):  # GitLab reads text as JSON
        with suppress(ValueError):
            node = _node_of(json.loads(value), node)
        value = node.value
    has_type = {
        "array": isinstance(value, tuple),
        "boolean": isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not has_type[kind]:
        article = "an" if kind == "array" else "a"
        raise node.error(f"`{name}` input: the value is not {article} {kind}")
    return node


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _plain(node: Node) -> object:
    """The node as a JSON value."""
    if isinstance(node.value, Mapping):
        return {key: _plain(item) for key, item in node.value.items()}
    if isinstance(node.value, tuple):
        return [_plain(item) for item in node.value]
    return node.value


def _node_of(value: object, origin: Node) -> Node:
    if isinstance(value, dict):
        entries = {str(key): _node_of(item, origin) for key, item in value.items()}
        return replace(origin, value=entries)
    if isinstance(value, list):
        return replace(origin, value=tuple(_node_of(item, origin) for item in value))
    scalar = value if value is None or isinstance(value, str | int | float) else str(value)
    return replace(origin, value=scalar)


def _interpolate(node: Node, inputs: Mapping[str, Node], variables: Mapping[str, str]) -> Node:
    """The tree with every block replaced; a text that is one block takes the input's type."""

    def fill(source: Node) -> Node:
        value = source.value
        if isinstance(value, Mapping):
            return replace(
                source,
                value={
                    _text(fill(replace(item, value=key)).value): fill(item)
                    for key, item in value.items()
                },
            )
        if isinstance(value, tuple):
            return replace(source, value=tuple(fill(item) for item in value))
        if not isinstance(value, str) or "$[[" not in value:
            return source
        whole = _BLOCK.fullmatch(value)
        if whole and len(_BLOCK.findall(value)) == 1:
            return replace(source, value=_block(source, whole[1], inputs, variables).value)
        return replace(source, value=_BLOCK.sub(lambda m: text_of(source, m[0], m[1]), value))

    def text_of(origin: Node, block: str, inside: str) -> str:
        if inside.startswith("matrix."):
            return block
        value = _block(origin, inside, inputs, variables)
        is_plain = not isinstance(value.value, tuple | Mapping)
        return _text(value.value) if is_plain else json.dumps(_plain(value))

    return fill(node)


def _block(
    origin: Node, inside: str, inputs: Mapping[str, Node], variables: Mapping[str, str]
) -> Node:
    """The value of `inputs.name | function`."""
    access, *functions = (part.strip() for part in inside.split("|"))
    if access.startswith("matrix."):
        return replace(origin, value=f"$[[ {inside} ]]")
    parts = _ACCESS.fullmatch(access)
    if not parts or parts[1] not in inputs:
        raise origin.error(f"unknown interpolation `{access}`; there are {_names(inputs)}")
    value = inputs[parts[1]]
    for index in map(int, _INDEX.findall(parts[2])):
        if not isinstance(value.value, tuple) or index >= len(value.value):
            raise origin.error(f"`{access}`: there is no item {index}")
        value = value.value[index]
    if len(functions) > _MOST_FUNCTIONS:
        raise origin.error(f"too many functions in `{inside}`: {_MOST_FUNCTIONS} at most")
    for function in functions:
        value = _apply(origin, function, value, variables)
    return value


def _names(inputs: Mapping[str, Node]) -> str:
    return ", ".join(f"inputs.{name}" for name in inputs) or "no inputs"


def _apply(origin: Node, function: str, value: Node, variables: Mapping[str, str]) -> Node:
    if not isinstance(value.value, str):
        raise origin.error(f"{function} takes a string")
    truncated = _TRUNCATE.fullmatch(function)
    if truncated:
        start, length = int(truncated[1]), int(truncated[2])
        return replace(value, value=value.value[start : start + length])
    functions: Mapping[str, Callable[[str], str]] = {
        "expand_vars": lambda text: expand(text, variables),
        "posix_escape": shlex.quote,
    }
    if function not in functions:
        raise origin.error(
            f"no function matching `{function}`; there are truncate(a,b), {', '.join(functions)}"
        )
    return replace(value, value=functions[function](value.value))
