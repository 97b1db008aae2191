"""The top level of a CI file after `include`, `extends` and `!reference`, in GitLab's order.

An include from another project, a template or the web cannot be fetched here and is a warning.
A job that uses an undefined name is then left out with a warning, too; otherwise it is an error.
Source: GitLab's `Ci::Config::External`, `Extendable` and `Yaml::Tags::Reference`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from local.gitlab.ci.globs import included_paths
from local.gitlab.ci.inputs import with_inputs
from local.gitlab.ci.rules import INCLUDE_RULE_KEYS, RuleFacts, matching_rule
from local.gitlab.ci.types import CiError, CiMissingError
from local.gitlab.ci.values import Location, expand
from local.gitlab.ci.yaml import Node, Reference, read_yaml

_DEEPEST = 10  # GitLab docs, "extends" and "!reference": up to ten levels
_MOST_INCLUDES = 150
_MOST_NAMED = 3  # includes that one error names
_ELSEWHERE = ("remote", "project", "template", "component", "artifact")
_BESIDE = ("rules", "inputs", "ref", "file", "job", "integrity", "cache")
_YAML_NAME = re.compile(r".+\.ya?ml", re.IGNORECASE | re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The top level of a CI file, fully merged and resolved."""

    file: str  # its path
    entries: Mapping[str, Node]
    warnings: tuple[str, ...] = ()
    not_fetched: tuple[str, ...] = ()  # includes that cannot be fetched: "template 'X'"
    has_left_out: bool = False  # a job depends on one of these and is not in `entries`


def read_tree(text: str, *, file: str, files: Mapping[str, str], facts: RuleFacts) -> Tree:
    """The file's top level, fully merged and resolved.

    `file` is its path; `files` maps paths to the text of the files that it may include; `facts`
    are for `include:rules`. Raises `CiError` when GitLab would refuse the file.
    """
    includes = _Includes(files=files, facts=facts)
    root = includes.read_file(text, file, (file,), {})
    entries, errors = _complete(root)
    jobs = [name for name in errors if not name.startswith(".")]
    if errors and not includes.not_fetched:
        raise next(iter(errors.values()))
    includes.warnings += [left_out_warning(errors[name], f"{name!r}") for name in jobs]
    return Tree(
        file=file,
        entries=entries,
        warnings=tuple(includes.warnings),
        not_fetched=tuple(includes.not_fetched),
        has_left_out=bool(jobs),
    )


def _complete(root: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, CiMissingError]]:
    """The entries after `extends` and `!reference`, and an error for each that has none.

    An entry may be complete although its parent is not: it may replace the parent's broken key.
    """
    errors: dict[str, CiMissingError] = {}
    extended: dict[str, Node] = {}
    for name in root:
        try:
            extended[name] = _extend(name, root, ())
        except CiMissingError as exc:
            errors[name] = exc
    entries: dict[str, Node] = {}
    for name, node in extended.items():
        try:
            entries[name] = _resolve(node, extended, 0)
        except CiMissingError as exc:
            errors[name] = exc
    return entries, errors


def left_out_warning(error: CiMissingError, name: str = "it") -> str:
    """The warning for an undefined name that an unfetched include may define."""
    return f"{error}; {name} is left out, since this may be in an include that was not fetched"


def name_not_fetched(error: CiError, not_fetched: Collection[str]) -> CiError:
    """The error with the unfetched includes in its message when a name is undefined."""
    if not not_fetched or not isinstance(error, CiMissingError):
        return error
    names = list(dict.fromkeys(not_fetched))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    includes = ", ".join(f"include:{name}" for name in names[:_MOST_NAMED])
    return CiError(f"{error}; not fetched here: {includes}{more}")


@dataclass(slots=True, kw_only=True)
class _Includes:
    """Reads a file and the files that it includes, and collects warnings."""

    files: Mapping[str, str]
    facts: RuleFacts
    warnings: list[str] = field(default_factory=list)
    not_fetched: list[str] = field(default_factory=list)
    count: int = 0

    def read_file(
        self, text: str, file: str, trail: tuple[str, ...], inputs: Mapping[str, Node]
    ) -> dict[str, Node]:
        """The top level of a file merged over its includes."""
        documents, repeated = read_yaml(text, file=file)
        document, warnings = with_inputs(documents, inputs, self.facts.variables)
        self.warnings += [*repeated, *warnings]
        own = dict(_entries(document, "the file"))
        include = own.pop("include", None)
        merged: dict[str, Node] = {}
        for entry in _items(include):
            for path, values in self._paths(entry):
                merged = _merge_maps(merged, self._include(entry, path, trail, values))
        return _merge_maps(merged, own)

    def _include(
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
        return self.read_file(text, path, (*trail, path), inputs)

    def _paths(self, entry: Node) -> list[tuple[str, Mapping[str, Node]]]:
        """The paths that an entry of `include` selects, each with its `inputs`."""
        spot = Location(entry, "include")
        entries = spot.entries(("local", *_ELSEWHERE, *_BESIDE)) if spot.is_map else {}
        if "rules" in entries and not self._rules_hold(entries["rules"]):
            return []
        kinds = [key for key in ("local", *_ELSEWHERE) if key in entries]
        if spot.is_map and len(kinds) != 1 and "artifact" not in kinds:
            raise spot.error(f"takes exactly one of local, {', '.join(_ELSEWHERE)}")
        if kinds and kinds != ["local"]:
            self._warn_not_fetched(kinds[0], entries[kinds[0]])
            return []
        local = self._expand_path(entries["local"] if spot.is_map else spot)
        if "://" in local:
            self._warn_not_fetched("remote", spot)
            return []
        inputs = entries["inputs"].node if "inputs" in entries else None
        values = _entries(inputs, "include:inputs") if inputs is not None else {}
        path = local.lstrip("/")
        if "*" not in path:
            return [(path, values)]
        paths = included_paths(path, self.files)
        if not paths:
            self.warnings.append(str(entry.error(f"include:local: no file matches {path!r}")))
        return [(match, values) for match in paths]

    def _rules_hold(self, rules: Location) -> bool:
        rule = matching_rule(rules, self.facts, INCLUDE_RULE_KEYS, whens=("always", "never"))
        return rule is not None and ("when" not in rule or rule["when"].value != "never")

    def _expand_path(self, spot: Location) -> str:
        """The path with variables expanded; unknown variables are empty."""
        return _VARIABLE.sub("", expand(spot.text(), self.facts.variables))

    def _warn_not_fetched(self, kind: str, spot: Location) -> None:
        include = f"{kind} {spot.node.value!r}" if isinstance(spot.node.value, str) else kind
        self.not_fetched.append(include)
        why = f"include:{include} cannot be fetched here; its definitions are missing"
        self.warnings.append(str(spot.node.error(why)))


def _entries(node: Node, name: str) -> Mapping[str, Node]:
    """The entries of a map. Raises `CiError`, with the node's `name`, for another value."""
    if not isinstance(node.value, Mapping):
        raise node.error(f"{name} must be a map")
    return node.value


def _items(node: Node | None) -> tuple[Node, ...]:
    if node is None or node.value is None:
        return ()
    return node.value if isinstance(node.value, tuple) else (node,)


def _merge_maps(under: Mapping[str, Node], over: Mapping[str, Node]) -> dict[str, Node]:
    """Both maps; maps below a common key are merged, too, and other values of `over` win."""
    merged = dict(under)
    for key, node in over.items():
        beneath = under.get(key)
        if beneath and isinstance(beneath.value, Mapping) and isinstance(node.value, Mapping):
            node = replace(node, value=_merge_maps(beneath.value, node.value))  # noqa: PLW2901
        merged[key] = node
    return merged


def _extend(name: str, root: Mapping[str, Node], trail: tuple[str, ...]) -> Node:
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
        above = _entries(_extend(parent, root, (*trail, name)), f"jobs:{parent}")
        merged = _merge_maps(merged, above)
    own = {key: value for key, value in node.value.items() if key != "extends"}
    return replace(node, value=_merge_maps(merged, own))


def _parents(name: str, extends: Node) -> list[str]:
    parents = [item.value for item in _items(extends)]
    names = [parent for parent in parents if isinstance(parent, str)]
    if not names or len(names) != len(parents):
        raise extends.error(f"jobs:{name}: extends must be a name or a list of names")
    return names


def _resolve(node: Node, root: Mapping[str, Node], depth: int) -> Node:
    if isinstance(node.value, Reference):
        return _resolve(_look_up(node, node.value, root, depth), root, depth + 1)
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(_resolve(item, root, depth) for item in node.value))
    if isinstance(node.value, Mapping):
        entries = {key: _resolve(item, root, depth) for key, item in node.value.items()}
        return replace(node, value=entries)
    return node


def _look_up(node: Node, reference: Reference, root: Mapping[str, Node], depth: int) -> Node:
    text = f"!reference [{', '.join(reference.path)}]"
    if depth >= _DEEPEST:
        raise node.error(f"{text} goes in a circle, or too deep")
    target = Node(value=root, file=node.file, line=node.line)
    for key in reference.path:
        if not isinstance(target.value, Mapping) or key not in target.value:
            raise node.missing(f"{text} could not be found")
        target = target.value[key]
    return replace(target, line=node.line, file=node.file)
