"""Writes the template's loops out, so that CloudFormation gets a plain template.

The template uses `Fn::ForEach` of `AWS::LanguageExtensions`, whose form cfn-lint knows. Here the
name of a loop is filled in everywhere, in a plain string, too; AWS's own transform does not do that
and fails on a condition or an `Fn::If` inside a loop: docs/decisions.md, 2026-11-26.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
_FILES = "Files"  # the mapping whose texts are names of files beside the template
_LOOP = "Fn::ForEach::"
_PREFIXED = {"Ref", "Condition"}  # short forms that are not `Fn::…` in the long form


def compose(source: str) -> dict[str, Any]:
    """The template of `source` without loops, short forms and mappings whose keys are known.

    The texts of the mapping `Files` are read from the files of this folder that they name.
    Raises `ValueError` when two loops, or a loop and a resource, make the same key.
    """
    return deepcopy(_composed(source))


@cache
def composed_text(source: str) -> str:
    """The composed template to be read, linted and deployed."""
    return as_yaml(_composed(source))


@cache  # a command asks several times, and reading takes half a second
def _composed(source: str) -> dict[str, Any]:
    template: dict[str, Any] = yaml.load(source, Loader=_TemplateLoader)  # noqa: S506  a safe loader
    template.pop("Transform", None)
    template.get("Metadata", {}).pop("cfn-lint", None)
    mappings = template.pop("Mappings", {})
    if _FILES in mappings:
        mappings[_FILES] = {
            key: {name: (FOLDER / file).read_text() for name, file in row.items()}
            for key, row in mappings[_FILES].items()
        }
    composed: dict[str, Any] = _written_out(template, {}, mappings)
    return composed


def as_yaml(template: Mapping[str, Any]) -> str:
    """A template as text."""
    return str(
        yaml.dump(
            dict(template), Dumper=_Writer, sort_keys=False, width=160, default_flow_style=None
        )
    )


def _written_out(value: Any, names: Mapping[str, str], mappings: Mapping[str, Any]) -> Any:
    """`value` without loops; `names` has the loops' identifiers and their present elements."""
    if isinstance(value, str):
        return _filled(value, names)
    if isinstance(value, list):
        return [_written_out(item, names, mappings) for item in value]
    if not isinstance(value, dict):
        return value
    written: dict[str, Any] = {}
    for key, item in _pairs(value, names, mappings):
        if key in written:
            raise ValueError(f"{key} stands twice in the template")
        written[key] = item
    return _resolved(written, names, mappings)


def _pairs(
    value: Mapping[str, Any], names: Mapping[str, str], mappings: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if not key.startswith(_LOOP):
            yield _filled(key, names), _written_out(item, names, mappings)
            continue
        identifier, collection, fragment = item
        for element in _written_out(collection, names, mappings):
            yield from _pairs(fragment, {**names, identifier: element}, mappings)


def _resolved(value: dict[str, Any], names: Mapping[str, str], mappings: Mapping[str, Any]) -> Any:
    """The result of a function whose arguments are known here, else `value` itself."""
    match value:
        case {"Ref": str(name)} if name in names:
            return names[name]
        case {"Fn::FindInMap": [name, first, second]}:
            return mappings[name][first][second]
        case {"Fn::Sub": [text, dict(known)]} if all(isinstance(v, str) for v in known.values()):
            return {"Fn::Sub": _filled(text, known)}
    return value


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, element in names.items():
        text = text.replace(f"${{{name}}}", element)
    return text


class _TemplateLoader(yaml.CSafeLoader):
    """YAML with CloudFormation's short forms."""


def _long_form(loader: _TemplateLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        value: Any = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    return {suffix if suffix in _PREFIXED else f"Fn::{suffix}": value}


_TemplateLoader.add_multi_constructor("!", _long_form)


class _Writer(yaml.CSafeDumper):
    """YAML without aliases, which CloudFormation does not take."""

    def ignore_aliases(self, data: Any) -> bool:
        """Each value is written out."""
        return True
