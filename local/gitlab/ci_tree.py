"""Makes one tree of a CI file: `include`, then `extends`, then `!reference`, in GitLab's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from local.gitlab.ci_types import CiError
from local.gitlab.ci_yaml import Node, Reference, read_yaml

MAIN_FILE = ".gitlab-ci.yml"
_DEEPEST = 10  # GitLab docs, "extends" and "!reference": up to ten levels


def read_tree(text: str, *, files: Mapping[str, str]) -> dict[str, Node]:
    """The file's top-level entries with everything it pulls in put in place.

    `files` maps paths from the repository's root to the text of files that may be included.
    """
    root = _with_includes(read_yaml(text, file=MAIN_FILE), files, (MAIN_FILE,))
    extended = {name: _extended(name, root, ()) for name in root}
    return {name: _resolved(node, extended, 0) for name, node in extended.items()}


def entries_of(node: Node, what: str) -> Mapping[str, Node]:
    """The map in a node. Raises `CiError` when it is something else."""
    if not isinstance(node.value, Mapping):
        raise node.error(f"{what} must be a map")
    return node.value


def _with_includes(
    document: Node, files: Mapping[str, str], trail: tuple[str, ...]
) -> dict[str, Node]:
    own = dict(entries_of(document, "the file"))
    include = own.pop("include", None)
    merged: dict[str, Node] = {}
    for entry in _listed(include):
        path = _local_path(entry)
        if path in trail:
            raise entry.error(f"include: {path!r} includes itself")
        if path not in files:
            raise entry.error(f"include: there is no file {path!r}")
        found = _with_includes(read_yaml(files[path], file=path), files, (*trail, path))
        merged = _merged_maps(merged, found)
    return _merged_maps(merged, own)


def _listed(node: Node | None) -> tuple[Node, ...]:
    if node is None or node.value is None:
        return ()
    return node.value if isinstance(node.value, tuple) else (node,)


def _local_path(entry: Node) -> str:
    value: object = entry.value
    if isinstance(value, Mapping):
        for key in value:
            if key != "local":
                raise value[key].error(f"include: unsupported key {key!r}, only local files")
        value = value["local"].value if value else None
    if not isinstance(value, str) or "://" in value:
        raise entry.error("include: only the path of a local file is supported")
    return value.removeprefix("/")


def _merged_maps(under: Mapping[str, Node], over: Mapping[str, Node]) -> dict[str, Node]:
    """Both maps; where both have a map it is merged too, else `over` wins."""
    merged = dict(under)
    for key, node in over.items():
        beneath = under.get(key)
        if beneath and isinstance(beneath.value, Mapping) and isinstance(node.value, Mapping):
            node = replace(node, value=_merged_maps(beneath.value, node.value))  # noqa: PLW2901
        merged[key] = node
    return merged


def _extended(name: str, root: Mapping[str, Node], trail: tuple[str, ...]) -> Node:
    node = root[name]
    if not isinstance(node.value, Mapping) or "extends" not in node.value:
        return node
    extends = node.value["extends"]
    if name in trail or len(trail) >= _DEEPEST:
        raise extends.error(f"jobs:{name}: extends goes in a circle, or too deep")
    merged: dict[str, Node] = {}
    for parent in _parents(name, extends):
        if parent not in root:
            raise extends.error(f"jobs:{name}: extends unknown {parent!r}")
        above = entries_of(_extended(parent, root, (*trail, name)), f"jobs:{parent}")
        merged = _merged_maps(merged, above)
    own = {key: value for key, value in node.value.items() if key != "extends"}
    return replace(node, value=_merged_maps(merged, own))


def _parents(name: str, extends: Node) -> list[str]:
    parents = [item.value for item in _listed(extends)]
    names = [parent for parent in parents if isinstance(parent, str)]
    if not names or len(names) != len(parents):
        raise extends.error(f"jobs:{name}: extends must be a name or a list of names")
    return names


def _resolved(node: Node, root: Mapping[str, Node], depth: int) -> Node:
    if isinstance(node.value, Reference):
        return _resolved(_looked_up(node, node.value, root, depth), root, depth + 1)
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(_resolved(item, root, depth) for item in node.value))
    if isinstance(node.value, Mapping):
        entries = {key: _resolved(item, root, depth) for key, item in node.value.items()}
        return replace(node, value=entries)
    return node


def _looked_up(node: Node, wanted: Reference, root: Mapping[str, Node], depth: int) -> Node:
    said = f"!reference [{', '.join(wanted.path)}]"
    if depth >= _DEEPEST:
        raise node.error(f"{said} goes in a circle, or too deep")
    found = Node(value=root, file=node.file, line=node.line)
    for step in wanted.path:
        if not isinstance(found.value, Mapping) or step not in found.value:
            raise _not_found(node, said)
        found = found.value[step]
    return replace(found, line=node.line, file=node.file)


def _not_found(node: Node, said: str) -> CiError:
    return node.error(f"{said} could not be found")
