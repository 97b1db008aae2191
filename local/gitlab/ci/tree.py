"""Makes one tree of a CI file: `include`, then `extends`, then `!reference`, in GitLab's order.

What lies elsewhere (another project, a template, the web) cannot be fetched here. It is left out
with a warning, and whatever then leads nowhere is refused with the same words.
Source: GitLab's `Ci::Config::External`, `Extendable` and `Yaml::Tags::Reference`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from local.gitlab.ci.globs import included_paths
from local.gitlab.ci.inputs import with_inputs
from local.gitlab.ci.rules import INCLUDE_RULE_SAYS, RuleFacts, matching_rule
from local.gitlab.ci.types import CiError, CiMissingError
from local.gitlab.ci.values import Location, expand
from local.gitlab.ci.yaml import Node, Reference, read_yaml

_DEEPEST = 10  # GitLab docs, "extends" and "!reference": up to ten levels
_MOST_INCLUDES = 150
_NAMED = 3  # includes that one error names
_ELSEWHERE = ("remote", "project", "template", "component", "artifact")
_BESIDE = ("rules", "inputs", "ref", "file", "job", "integrity", "cache")
_YAML_NAME = re.compile(r".+\.ya?ml", re.IGNORECASE | re.DOTALL)
_UNKNOWN = re.compile(r"\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The top level of a CI file with everything it pulls in put in place."""

    file: str  # its path
    entries: Mapping[str, Node]
    warnings: tuple[str, ...] = ()
    not_fetched: tuple[str, ...] = ()  # each include that lies elsewhere: "template 'X'"
    has_left_out: bool = False  # a job needs something of these, and is no entry


def read_tree(text: str, *, file: str, files: Mapping[str, str], facts: RuleFacts) -> Tree:
    """The file's top-level entries with everything it pulls in put in place.

    `file` is its path; `files` maps paths to the text of files that may be included;
    `facts` are for `include:rules`. Raises `CiError` when GitLab would refuse the file.
    """
    includes = _Includes(files=files, facts=facts)
    root = includes.opened(text, file, (file,), {})
    entries, gone = _complete(root)
    jobs = [name for name in gone if not name.startswith(".")]
    if gone and not includes.not_fetched:
        raise next(iter(gone.values()))
    includes.warnings += [left_out(gone[name], f"{name!r}") for name in jobs]
    return Tree(
        file=file,
        entries=entries,
        warnings=tuple(includes.warnings),
        not_fetched=tuple(includes.not_fetched),
        has_left_out=bool(jobs),
    )


def _complete(root: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, CiMissingError]]:
    """The entries with everything put in place, and what each of the others lacks.

    What an entry extends may lack something that the entry itself replaces.
    """
    gone: dict[str, CiMissingError] = {}
    extended: dict[str, Node] = {}
    for name in root:
        try:
            extended[name] = _extended(name, root, ())
        except CiMissingError as exc:
            gone[name] = exc
    entries: dict[str, Node] = {}
    for name, node in extended.items():
        try:
            entries[name] = _resolved(node, extended, 0)
        except CiMissingError as exc:
            gone[name] = exc
    return entries, gone


def left_out(error: CiMissingError, what: str = "it") -> str:
    """The warning that something is left out, since what it needs may lie elsewhere."""
    return f"{error}; {what} is left out, since this may be in an include that was not fetched"


def explained(error: CiError, not_fetched: Collection[str]) -> CiError:
    """The same error, with what may be missing because it lies elsewhere."""
    if not not_fetched or not isinstance(error, CiMissingError):
        return error
    named = list(dict.fromkeys(not_fetched))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    said = ", ".join(f"include:{what}" for what in named[:_NAMED])
    return CiError(f"{error}; not fetched here: {said}{more}")


@dataclass(slots=True, kw_only=True)
class _Includes:
    """One walk through a file and all it includes."""

    files: Mapping[str, str]
    facts: RuleFacts
    warnings: list[str] = field(default_factory=list)
    not_fetched: list[str] = field(default_factory=list)
    count: int = 0

    def opened(
        self, text: str, file: str, trail: tuple[str, ...], inputs: Mapping[str, Node]
    ) -> dict[str, Node]:
        """The top level of a file, its own includes merged below it."""
        documents, repeated = read_yaml(text, file=file)
        document, warnings = with_inputs(documents, inputs, self.facts.variables)
        self.warnings += [*repeated, *warnings]
        own = dict(entries_of(document, "the file"))
        include = own.pop("include", None)
        merged: dict[str, Node] = {}
        for entry in _listed(include):
            for path, given in self._wanted(entry):
                merged = _merged_maps(merged, self._included(entry, path, trail, given))
        return _merged_maps(merged, own)

    def _included(
        self, entry: Node, path: str, trail: tuple[str, ...], inputs: Mapping[str, Node]
    ) -> dict[str, Node]:
        self.count += 1
        if self.count > _MOST_INCLUDES:
            raise entry.error(f"include: {_MOST_INCLUDES} included files at most")
        if path in trail:
            raise entry.error(f"include: {path!r} includes itself")
        if not _YAML_NAME.fullmatch(path):
            raise entry.error(f"include: {path!r} must end in .yml or .yaml")
        if path not in self.files:
            raise entry.error(f"include: there is no file {path!r} in this commit")
        text = self.files[path]
        if not text.strip():
            raise entry.error(f"include: {path!r} is empty")
        return self.opened(text, path, (*trail, path), inputs)

    def _wanted(self, entry: Node) -> list[tuple[str, Mapping[str, Node]]]:
        """The paths an entry of `include` stands for, with the inputs they are given."""
        spot = Location(entry, "include")
        said = spot.entries(("local", *_ELSEWHERE, *_BESIDE)) if spot.is_map else {}
        if "rules" in said and not self._holds(said["rules"]):
            return []
        kinds = [key for key in ("local", *_ELSEWHERE) if key in said]
        if spot.is_map and len(kinds) != 1 and "artifact" not in kinds:
            raise spot.error(f"takes exactly one of local, {', '.join(_ELSEWHERE)}")
        if kinds and kinds != ["local"]:
            self._not_fetched(kinds[0], said[kinds[0]])
            return []
        local = self._location(said["local"] if spot.is_map else spot)
        if "://" in local:
            self._not_fetched("remote", spot)
            return []
        inputs = said["inputs"].node if "inputs" in said else None
        given = entries_of(inputs, "include:inputs") if inputs is not None else {}
        path = local.lstrip("/")
        if "*" not in path:
            return [(path, given)]
        found = included_paths(path, self.files)
        if not found:
            self.warnings.append(_at(entry, f"include:local: no file matches {path!r}"))
        return [(one, given) for one in found]

    def _holds(self, rules: Location) -> bool:
        rule = matching_rule(rules, self.facts, INCLUDE_RULE_SAYS, whens=("always", "never"))
        return rule is not None and ("when" not in rule or rule["when"].value != "never")

    def _location(self, spot: Location) -> str:
        """The path with variables put in; those that are not known are empty."""
        return _UNKNOWN.sub("", expand(spot.text(), self.facts.variables))

    def _not_fetched(self, kind: str, spot: Location) -> None:
        what = f"{kind} {spot.node.value!r}" if isinstance(spot.node.value, str) else kind
        self.not_fetched.append(what)
        said = f"include:{what} cannot be fetched here; what it defines is missing"
        self.warnings.append(_at(spot.node, said))


def _at(node: Node, why: str) -> str:
    return f"{node.file} line {node.line}: {why}"


def entries_of(node: Node, what: str) -> Mapping[str, Node]:
    """The map in a node. Raises `CiError` when it is something else."""
    if not isinstance(node.value, Mapping):
        raise node.error(f"{what} must be a map")
    return node.value


def _listed(node: Node | None) -> tuple[Node, ...]:
    if node is None or node.value is None:
        return ()
    return node.value if isinstance(node.value, tuple) else (node,)


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
    if name in trail or len(trail) > _DEEPEST:
        raise extends.error(f"jobs:{name}: extends goes in a circle, or too deep")
    merged: dict[str, Node] = {}
    for parent in _parents(name, extends):
        if parent not in root:
            raise extends.missing(f"jobs:{name}: extends unknown {parent!r}")
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
    return node.missing(f"{said} could not be found")
