"""Whether a job, or the whole pipeline, is wanted: `rules`, `only`, `except`.

`changes` counts as true: the loader sees one commit, not the difference to another.
`exists` is looked up in the file names given, and counts as true when none were.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from local.gitlab.ci_expression import ExpressionError, holds, matches
from local.gitlab.ci_values import Spot
from local.gitlab.ci_yaml import Node

_CONDITIONS = ("if", "changes", "exists")
JOB_RULE_SAYS = ("when", "start_in", "allow_failure", "needs", "interruptible", "variables")
WORKFLOW_RULE_SAYS = ("when", "variables")
_SOURCES = {
    "api": "api",
    "external": "external",
    "pipelines": "pipeline",
    "pushes": "push",
    "schedules": "schedule",
    "triggers": "trigger",
    "web": "web",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What rules may ask about."""

    variables: Mapping[str, str]
    paths: Collection[str] | None = None  # the repository's files; None when not known


def matching_rule(rules: Spot, facts: Facts, says: Collection[str]) -> dict[str, Node] | None:
    """What the first rule that applies says, or None when none does. Every rule is checked."""
    decided: dict[str, Node] | None = None
    for rule in rules.items():
        entries = rule.entries((*_CONDITIONS, *says))
        said = [_applies(key, spot, facts) for key, spot in entries.items()]
        if all(said) and decided is None:
            decided = {key: spot.node for key, spot in entries.items() if key in says}
    return decided


def _applies(key: str, spot: Spot, facts: Facts) -> bool:
    if key == "if":
        return _holds(spot, facts.variables)
    if key in {"changes", "exists"}:
        globs = _globs(key, spot)
        if key == "exists" and facts.paths is not None:
            return any(
                _glob_pattern(glob).fullmatch(path) for glob in globs for path in facts.paths
            )
    return True


def _globs(key: str, spot: Spot) -> tuple[str, ...]:
    if not spot.is_map:
        return spot.texts()
    entries = spot.entries(("paths", "compare_to") if key == "changes" else ("paths",))
    if "paths" not in entries:
        raise spot.error("paths is missing")
    return entries["paths"].texts()


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """A path glob: `**` crosses folders, `*` and `?` do not."""
    pattern = re.escape(glob.removeprefix("/")).replace(r"\*\*/", "(?:.*/)?")
    return re.compile(pattern.replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))


def _holds(spot: Spot, variables: Mapping[str, str]) -> bool:
    try:
        return holds(spot.text(), variables)
    except ExpressionError as exc:
        raise spot.error(f"invalid expression: {exc}") from exc


def wanted_by_refs(only: Spot | None, without: Spot | None, facts: Facts) -> bool:
    """The older `only` and `except`; where no ref is named, branches and tags are meant."""
    unwanted = without is not None and any(_conditions(without, facts))
    wanted = only is None or all(_conditions(only, facts))
    if only is None or (only.is_map and "refs" not in only.entries()):
        wanted = wanted and any(_names_ref(w, facts.variables) for w in ("branches", "tags"))
    return wanted and not unwanted


def _conditions(spot: Spot, facts: Facts) -> list[bool]:
    """Each condition that is stated: the refs, the variables, the changes."""
    if not spot.is_map:
        return [_any_ref(spot, facts.variables)]
    entries = spot.entries(("refs", "variables", "changes"))
    stated = []
    if "refs" in entries:
        stated.append(_any_ref(entries["refs"], facts.variables))
    if "variables" in entries:
        # a list, so that every expression is checked
        said = [_holds(item, facts.variables) for item in entries["variables"].items()]
        stated.append(any(said))
    if "changes" in entries:
        stated.append(bool(entries["changes"].texts()))
    return stated


def _any_ref(spot: Spot, variables: Mapping[str, str]) -> bool:
    try:
        said = [_names_ref(word, variables) for word in spot.text_or_texts()]
        return any(said)
    except ExpressionError as exc:
        raise spot.error(str(exc)) from exc


def _names_ref(word: str, variables: Mapping[str, str]) -> bool:
    source = variables.get("CI_PIPELINE_SOURCE", "push")
    is_tag = bool(variables.get("CI_COMMIT_TAG"))
    is_merge_request = source == "merge_request_event"
    kinds = {
        "branches": not is_tag and not is_merge_request,
        "tags": is_tag,
        "merge_requests": is_merge_request,
    }
    if word in kinds:
        return kinds[word]
    if word in _SOURCES:
        return source == _SOURCES[word]
    ref = variables.get("CI_COMMIT_REF_NAME") or variables.get("CI_COMMIT_TAG")
    ref = ref or variables.get("CI_COMMIT_BRANCH", "")
    return matches(word, ref) if word.startswith("/") else word == ref
