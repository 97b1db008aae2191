"""The conditions of jobs, includes and pipelines: `rules`, `only` and `except`.

As in GitLab, a condition about unknown changes or unknown files holds.
Source: GitLab's `Ci::Build::Rules`, `Ci::Build::Policy` and their entries.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from local.gitlab.ci.expression import ExpressionError, holds, is_pattern, matches
from local.gitlab.ci.globs import any_exists, any_matches
from local.gitlab.ci.values import Entries, Location, expand
from local.gitlab.ci.yaml import Node

_CONDITIONS = ("if", "changes", "exists")
JOB_RULE_KEYS = ("when", "start_in", "allow_failure", "needs", "interruptible", "variables")
JOB_RULE_WHEN = ("on_success", "on_failure", "always", "never", "manual", "delayed")
# GitLab accepts `start_in`, `allow_failure` and `needs` here and ignores them.
WORKFLOW_RULE_KEYS = (
    *("when", "variables", "auto_cancel"),
    *("start_in", "allow_failure", "needs"),
)
INCLUDE_RULE_KEYS = ("when",)
_MOST_PATHS = 50
LONGEST_DELAY = "1 week"


class Changes(Protocol):
    """The files that a pipeline's commit changed."""

    def pushed(self) -> Collection[str] | None:
        """The paths changed by the push or the merge request; None when not known."""

    def since(self, ref: str) -> Collection[str] | None:
        """The paths changed since the merge base with `ref`; None when there is no such ref."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """The facts that conditions are checked against."""

    variables: Mapping[str, str]
    paths: Collection[str] | None = None  # the repository's files; None when not known
    changes: Changes | None = None  # None when not known


def matching_rule(
    rules: Location, facts: RuleFacts, keys: Collection[str], *, whens: Collection[str]
) -> dict[str, Node] | None:
    """The `keys` of the first rule whose conditions hold, or None when there is none.

    Raises `CiError` when any rule is malformed, also one behind the first that holds.
    """
    if not (items := rules.items()):
        raise rules.error("must have a rule in it")
    for rule in items:
        _check(rule, keys, whens)
    for rule in items:
        entries = rule.entries().present
        if all(_condition_holds(k, entries[k], facts) for k in _CONDITIONS if k in entries):
            return {key: spot.node for key, spot in entries.items() if key in keys}
    return None


def _check(rule: Location, keys: Collection[str], whens: Collection[str]) -> None:
    if not rule.entries((*_CONDITIONS, *keys)):
        raise rule.error("a rule must not be empty")
    entries = rule.entries().present
    for key, check in _CHECKS.items():
        if key in entries:
            check(entries[key])
    when = entries.read("when", lambda spot: spot.one_of(whens), None)
    check_start_in(entries, when)
    entries.read("start_in", lambda spot: spot.duration_up_to_s(LONGEST_DELAY), None)


def check_start_in(entries: Entries, when: str | None) -> None:
    """Raises `CiError` when only one of `start_in` and `when: delayed` is there."""
    if when == "delayed" and "start_in" not in entries:
        raise entries["when"].error("delayed takes start_in beside it")
    if when != "delayed" and "start_in" in entries:
        raise entries["start_in"].error("start_in goes with `when: delayed` only")


def _check_expression(spot: Location) -> None:
    _expression_holds(spot, {})


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


def _condition_holds(key: str, spot: Location, facts: RuleFacts) -> bool:
    if key == "if":
        return _expression_holds(spot, facts.variables)
    if key == "changes":
        return _changes_match(spot, facts)
    if spot.is_map and "project" in spot.entries():
        return False  # only this project's files are known: `unsupported.py` warns
    if facts.paths is None:
        return True
    globs = (spot.text(),) if not spot.is_map and not spot.is_list else _globs(spot, None)
    return any_exists([expand(glob, facts.variables) for glob in globs], facts.paths)


def _changes_match(spot: Location, facts: RuleFacts) -> bool:
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


def _expression_holds(spot: Location, variables: Mapping[str, str]) -> bool:
    try:
        return holds(spot.text(), variables)
    except ExpressionError as exc:
        raise spot.error(f"invalid expression: {exc}") from exc


def selected_by_refs(
    only: Location | None, without: Location | None, facts: RuleFacts, *, by_default: bool = True
) -> bool:
    """Whether `only` and `except` select the pipeline.

    An `only` without refs selects branches and tags. Without `only` that is so `by_default`,
    and not where `workflow:rules` decide instead.
    """
    excluded = without is not None and any(_condition_results(without, facts))
    selected = only is None or all(_condition_results(only, facts))
    names_no_ref = only is None or (only.is_map and "refs" not in only.entries())
    if names_no_ref and (by_default or only is not None):
        selected = selected and any(_word_matches(w, facts.variables) for w in ("branches", "tags"))
    return selected and not excluded


def _condition_results(spot: Location, facts: RuleFacts) -> list[bool]:
    """The result of each condition that is present: refs, variables, changes, kubernetes."""
    if spot.is_list:
        return [_any_ref_matches(spot, facts.variables)]
    if not spot.is_map:
        raise spot.error("must be a list of refs or a map; put the ref in [ ]")
    if not (entries := spot.entries(("refs", "variables", "changes", "kubernetes"))):
        raise spot.error("must not be empty")
    results = []
    if "refs" in entries:
        results.append(_any_ref_matches(entries["refs"], facts.variables))
    if "variables" in entries:
        items = entries["variables"].items()
        # a list, so that every expression is checked
        holding = [_expression_holds(item, facts.variables) for item in items]
        results.append(any(holding))
    if "changes" in entries:
        globs = entries["changes"].texts()
        pushed = facts.changes.pushed() if facts.changes is not None else None
        results.append(pushed is None or any_matches(globs, pushed))
    if "kubernetes" in entries:
        entries["kubernetes"].one_of(("active",))
        results.append(False)  # no project here has a cluster
    return results


def _any_ref_matches(spot: Location, variables: Mapping[str, str]) -> bool:
    # a list, so that every ref is checked
    matching = [_ref_matches(item, variables) for item in spot.items()]
    return any(matching)


def _ref_matches(item: Location, variables: Mapping[str, str]) -> bool:
    """Whether `ref` or `ref@group/project` matches this pipeline."""
    word = item.text()
    try:
        if is_pattern(word):
            matches(word, "")
        ref, at, project = word.partition("@")
        matched = _word_matches(ref, variables)
    except ExpressionError as exc:
        raise item.error(str(exc)) from exc
    return matched and (not at or project == variables.get("CI_PROJECT_PATH"))


def _word_matches(word: str, variables: Mapping[str, str]) -> bool:
    """Whether a word matches: `tags`, `branches`, a source or its plural, a ref or a /pattern/."""
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
    return matches(word, ref) if is_pattern(word) else word == ref
