"""Whether a job, a file or the whole pipeline is wanted: `rules`, `only`, `except`.

What is not known (which files changed, which there are) counts as a match, as GitLab has it.
Source: GitLab's `Ci::Build::Rules`, `Ci::Build::Policy` and their entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from local.gitlab.ci.expression import ExpressionError, holds, matches
from local.gitlab.ci.globs import any_exists, any_matches
from local.gitlab.ci.values import Location, expand
from local.gitlab.ci.yaml import Node

_CONDITIONS = ("if", "changes", "exists")
JOB_RULE_SAYS = ("when", "start_in", "allow_failure", "needs", "interruptible", "variables")
JOB_RULE_WHEN = ("on_success", "on_failure", "always", "never", "manual", "delayed")
# GitLab takes the middle ones here, too, and does nothing with them.
WORKFLOW_RULE_SAYS = (
    *("when", "variables", "auto_cancel"),
    *("start_in", "allow_failure", "needs"),
)
INCLUDE_RULE_SAYS = ("when",)
_MOST_PATHS = 50
_LONGEST_DELAY = "1 week"
_REGEXP = re.compile(r"/.*/[ismU]*", re.DOTALL)


class Changes(Protocol):
    """Which files a pipeline's commit changed."""

    def pushed(self) -> Collection[str] | None:
        """Paths that differ from before the push or from the target branch; None: not known."""

    def since(self, ref: str) -> Collection[str] | None:
        """Paths that differ from where the commit left `ref`; None: there is no such ref."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """What rules may ask about."""

    variables: Mapping[str, str]
    paths: Collection[str] | None = None  # the repository's files; None when not known
    changes: Changes | None = None  # None when not known


def matching_rule(
    rules: Location, facts: RuleFacts, says: Collection[str], *, whens: Collection[str]
) -> dict[str, Node] | None:
    """What the first rule that applies says, or None when none does. Every rule is checked."""
    if not (every := rules.items()):
        raise rules.error("must have a rule in it")
    for rule in every:
        _check(rule, says, whens)
    for rule in every:
        entries = _said(rule)
        if all(_applies(key, entries[key], facts) for key in _CONDITIONS if key in entries):
            return {key: spot.node for key, spot in entries.items() if key in says}
    return None


def _check(rule: Location, says: Collection[str], whens: Collection[str]) -> None:
    if not rule.entries((*_CONDITIONS, *says)):
        raise rule.error("a rule must say something")
    entries = _said(rule)
    for key, check in _CHECKS.items():
        if key in entries:
            check(entries[key])
    when = entries["when"].one_of(whens) if "when" in entries else None
    if when == "delayed":
        if "start_in" not in entries:
            raise entries["when"].error("delayed takes start_in beside it")
        entries["start_in"].duration_up_to_s(_LONGEST_DELAY)
    elif "start_in" in entries:
        raise entries["start_in"].error("start_in goes with `when: delayed` only")


def _said(rule: Location) -> dict[str, Location]:
    return {key: spot for key, spot in rule.entries().items() if spot.node.value is not None}


def _check_expression(spot: Location) -> None:
    _holds(spot, {})


def _check_changes(spot: Location) -> None:
    _globs(spot, ("paths", "compare_to"))
    if spot.is_map and "compare_to" in spot.entries():
        spot.entries()["compare_to"].text()


def _check_exists(spot: Location) -> None:
    if spot.is_map or spot.is_list:
        _globs(spot, ("paths", "project", "ref"))
    else:
        spot.text()
    if spot.is_map and "ref" in (entries := spot.entries()) and "project" not in entries:
        raise entries["ref"].error("ref goes with project only")


_CHECKS: Mapping[str, Callable[[Location], object]] = {
    "if": _check_expression,
    "changes": _check_changes,
    "exists": _check_exists,
    "allow_failure": Location.flag,
    "interruptible": Location.flag,
}


def _applies(key: str, spot: Location, facts: RuleFacts) -> bool:
    if key == "if":
        return _holds(spot, facts.variables)
    if key == "changes":
        return _changed(spot, facts)
    if spot.is_map and "project" in spot.entries():
        return False  # only this project's files are known; `unsupported.py` says so
    if facts.paths is None:
        return True
    globs = (spot.text(),) if not spot.is_map and not spot.is_list else _globs(spot, None)
    return any_exists([expand(glob, facts.variables) for glob in globs], facts.paths)


def _changed(spot: Location, facts: RuleFacts) -> bool:
    if facts.changes is None:
        return True
    if spot.is_map and "compare_to" in (entries := spot.entries()):
        ref = expand(entries["compare_to"].text(), facts.variables)
        paths = facts.changes.since(ref)
        if paths is None:
            raise entries["compare_to"].error(f"{ref!r} is not a valid ref")
    else:
        paths = facts.changes.pushed()
    globs = [expand(glob, facts.variables) for glob in _globs(spot, None)]
    return paths is None or any_matches(globs, paths)


def _globs(spot: Location, allowed: Collection[str] | None) -> tuple[str, ...]:
    listed = spot
    if spot.is_map:
        entries = spot.entries(allowed)
        if "paths" not in entries:
            raise spot.error("paths is missing")
        listed = entries["paths"]
    globs = listed.texts()
    if len(globs) > _MOST_PATHS:
        raise listed.error(f"may have {_MOST_PATHS} entries at most, not {len(globs)}")
    return globs


def _holds(spot: Location, variables: Mapping[str, str]) -> bool:
    try:
        return holds(spot.text(), variables)
    except ExpressionError as exc:
        raise spot.error(f"invalid expression: {exc}") from exc


def wanted_by_refs(
    only: Location | None, without: Location | None, facts: RuleFacts, *, by_default: bool = True
) -> bool:
    """The older `only` and `except`; where no ref is named, branches and tags are meant.

    Not so `by_default` where neither is given and `workflow:rules` decides (`by_default=False`).
    """
    unwanted = without is not None and any(_conditions(without, facts))
    wanted = only is None or all(_conditions(only, facts))
    names_no_ref = only is None or (only.is_map and "refs" not in only.entries())
    if names_no_ref and (by_default or only is not None):
        wanted = wanted and any(_names_ref(w, facts.variables) for w in ("branches", "tags"))
    return wanted and not unwanted


def _conditions(spot: Location, facts: RuleFacts) -> list[bool]:
    """Each condition that is stated: the refs, the variables, the changes, the cluster."""
    if spot.is_list:
        return [_any_ref(spot, facts.variables)]
    if not spot.is_map:
        raise spot.error("must be a list of refs or a map; put the ref in [ ]")
    if not (entries := spot.entries(("refs", "variables", "changes", "kubernetes"))):
        raise spot.error("must not be empty")
    stated = []
    if "refs" in entries:
        stated.append(_any_ref(entries["refs"], facts.variables))
    if "variables" in entries:
        # a list, so that every expression is checked
        said = [_holds(item, facts.variables) for item in entries["variables"].items()]
        stated.append(any(said))
    if "changes" in entries:
        globs = entries["changes"].texts()
        pushed = facts.changes.pushed() if facts.changes is not None else None
        stated.append(pushed is None or any_matches(globs, pushed))
    if "kubernetes" in entries:
        entries["kubernetes"].one_of(("active",))
        stated.append(False)  # no project here has a cluster
    return stated


def _any_ref(spot: Location, variables: Mapping[str, str]) -> bool:
    said = [_fits(item, variables) for item in spot.items()]
    return any(said)


def _fits(item: Location, variables: Mapping[str, str]) -> bool:
    """Whether `ref@group/project` (the project may be left out) means this pipeline."""
    word = item.text()
    try:
        if _REGEXP.fullmatch(word):
            matches(word, "")
        ref, at, project = word.partition("@")
        fits = _names_ref(ref, variables)
    except ExpressionError as exc:
        raise item.error(str(exc)) from exc
    return fits and (not at or project == variables.get("CI_PROJECT_PATH"))


def _names_ref(word: str, variables: Mapping[str, str]) -> bool:
    """Tags, branches, a pipeline's source (or its plural), a ref's name, or its pattern."""
    is_tag = bool(variables.get("CI_COMMIT_TAG"))
    source = variables.get("CI_PIPELINE_SOURCE", "push").removesuffix("_event")
    has_ref = source not in ("merge_request", "external_pull_request")
    if word == "tags" and is_tag and has_ref:
        return True
    if word == "branches" and not is_tag and has_ref:
        return True
    if word in (source, f"{source}es" if source.endswith("sh") else f"{source}s"):
        return True
    if not has_ref:
        return False
    ref = variables.get("CI_COMMIT_REF_NAME") or variables.get("CI_COMMIT_TAG")
    ref = ref or variables.get("CI_COMMIT_BRANCH", "")
    return matches(word, ref) if _REGEXP.fullmatch(word) else word == ref
