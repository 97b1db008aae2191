"""One job entry of the file as the jobs it stands for, with defaults and rules laid in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from local.gitlab import ci_parts as parts
from local.gitlab.ci_parallel import Instance, instances_of
from local.gitlab.ci_parts import Variables
from local.gitlab.ci_rules import JOB_RULE_SAYS, Facts, matching_rule, wanted_by_refs
from local.gitlab.ci_stored import read_artifacts, read_caches
from local.gitlab.ci_types import JobSpec, RetrySpec
from local.gitlab.ci_values import Spot, expand

DEFAULT_KEYS = (
    "after_script",
    "artifacts",
    "before_script",
    "cache",
    "image",
    "interruptible",
    "retry",
    "services",
    "tags",
    "timeout",
)
_JOB_KEYS = frozenset(
    (
        *DEFAULT_KEYS,
        *("allow_failure", "coverage", "dependencies", "environment", "except", "inherit"),
        *("needs", "only", "parallel", "resource_group", "rules", "script", "stage"),
        *("start_in", "variables", "when"),
    )
)
_WHEN = ("on_success", "on_failure", "always", "manual", "delayed", "never")
_T = TypeVar("_T")
_A = TypeVar("_A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a job takes over from the rest of the file."""

    defaults: Mapping[str, Spot]
    variables: Variables
    facts: Facts
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job whose `needs` and `dependencies` are still as written."""

    entry: str  # the name in the file
    spot: Spot
    spec: JobSpec


class _Body:
    """The entries of a job, read by key with what stands for absence."""

    def __init__(self, entries: Mapping[str, Spot]) -> None:
        self.entries = {k: spot for k, spot in entries.items() if spot.node.value is not None}

    def read(self, key: str, reader: Callable[[Spot], _T], absent: _A) -> _T | _A:
        return reader(self.entries[key]) if key in self.entries else absent


def read_drafts(name: str, spot: Spot, around: Surroundings) -> Iterator[Draft]:
    """The jobs an entry stands for, those no rule wants marked with `when: never`."""
    own = spot.entries(_JOB_KEYS)
    inherited = _inherited(own, "default", around.defaults)
    entries = {**{k: around.defaults[k] for k in inherited}, **own}
    kept = _inherited(own, "variables", around.variables.values)
    variables = Variables(
        values={k: around.variables.values[k] for k in kept}, raw=around.variables.raw & {*kept}
    )
    if "variables" in own:
        variables = variables.under(parts.read_variables(own["variables"]))
    for instance in instances_of(name, entries.get("parallel")):
        with_matrix = variables.under(Variables(values=instance.variables))
        yield _draft(name, instance, _Placed(spot, entries, with_matrix), around)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A job entry before its rules are asked."""

    spot: Spot
    entries: Mapping[str, Spot]
    variables: Variables


def _draft(name: str, instance: Instance, placed: _Placed, around: Surroundings) -> Draft:
    spec = _spec(instance, _decided(placed, around.facts), around)
    return Draft(entry=name, spot=placed.spot, spec=spec)


def _inherited(own: Mapping[str, Spot], what: str, offered: Collection[str]) -> list[str]:
    """The names among `offered` that `inherit:` lets through; all, when it is silent."""
    said = own["inherit"].entries(("default", "variables")) if "inherit" in own else {}
    if what not in said:
        return list(offered)
    if said[what].is_list:
        named = said[what].texts()
        return [name for name in offered if name in named]
    return list(offered) if said[what].flag() else []


def _decided(placed: _Placed, facts: Facts) -> _Placed:
    """The same entry with what its rules say laid over it."""
    entries = placed.entries
    seen = replace(facts, variables={**placed.variables.values, **facts.variables})
    if "rules" not in entries:
        if wanted_by_refs(entries.get("only"), entries.get("except"), seen):
            return placed
        return replace(placed, entries=_never(placed))
    for key in ("only", "except"):
        if key in entries:
            raise entries[key].error("cannot stand beside rules")
    rule = matching_rule(entries["rules"], seen, JOB_RULE_SAYS)
    if rule is None:
        return replace(placed, entries=_never(placed))
    says = {key: Spot(node, f"{placed.spot.path}:rules:{key}") for key, node in rule.items()}
    variables = placed.variables
    if "variables" in says:
        variables = variables.under(parts.read_variables(says.pop("variables")))
    return _Placed(placed.spot, {**entries, **says}, variables)


def _never(placed: _Placed) -> dict[str, Spot]:
    return {**placed.entries, "when": Spot(replace(placed.spot.node, value="never"), "when")}


def _spec(instance: Instance, placed: _Placed, around: Surroundings) -> JobSpec:
    body = _Body(placed.entries)
    known = {**placed.variables.values, **around.facts.variables}
    if not any(script := body.read("script", Spot.lines, ())):
        raise placed.spot.error("script is missing")
    when, start_in_s = _when(body)
    manual_is_optional = when == "manual" and "rules" not in body.entries
    allowed, codes = body.read("allow_failure", parts.read_allow_failure, (manual_is_optional, ()))
    body.read("coverage", Spot.text, "")
    return JobSpec(
        name=instance.name,
        stage=body.read("stage", Spot.text, "test"),
        script=(*body.read("before_script", Spot.lines, ()), *script),
        after_script=body.read("after_script", Spot.lines, ()),
        tags=tuple(expand(tag, known) for tag in body.read("tags", Spot.texts, ())),
        image=body.read("image", parts.read_image, None),
        services=body.read("services", parts.read_services, ()),
        variables=placed.variables.values,
        raw_variables=placed.variables.raw,
        artifacts=body.read("artifacts", read_artifacts, ()),
        cache=body.read("cache", lambda spot: read_caches(spot, around.files), ()),
        needs=body.read("needs", parts.read_needs, None),
        dependencies=body.read("dependencies", Spot.texts, None),
        when=when,
        start_in_s=start_in_s,
        allow_failure=allowed,
        allow_failure_exit_codes=codes,
        retry=body.read("retry", parts.read_retry, RetrySpec()),
        timeout_s=body.read("timeout", Spot.duration_s, None),
        resource_group=_expanded(body.read("resource_group", Spot.text, None), known),
        interruptible=body.read("interruptible", Spot.flag, False),
        environment=body.read(
            "environment", lambda spot: parts.read_environment(spot, known), None
        ),
        id_in_parallel=instance.place,
    )


def _expanded(text: str | None, known: Mapping[str, str]) -> str | None:
    return None if text is None else expand(text, known)


def _when(body: _Body) -> tuple[str, int | None]:
    when = body.read("when", lambda spot: spot.one_of(_WHEN), "on_success")
    start_in_s = body.read("start_in", Spot.duration_s, None)
    if when == "delayed" and start_in_s is None:
        raise body.entries["when"].error("delayed takes start_in beside it")
    return when, start_in_s if when == "delayed" else None
