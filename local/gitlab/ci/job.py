"""One job entry of the file as the jobs it stands for, with defaults and rules laid in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from local.gitlab.ci import keywords
from local.gitlab.ci.artifacts import read_artifacts, read_caches
from local.gitlab.ci.keywords import Needs, Variables
from local.gitlab.ci.parallel import ParallelJob, instances_of
from local.gitlab.ci.rules import (
    JOB_RULE_SAYS,
    JOB_RULE_WHEN,
    RuleFacts,
    matching_rule,
    wanted_by_refs,
)
from local.gitlab.ci.types import ArtifactSpec, JobSpec, RetrySpec
from local.gitlab.ci.unsupported import check_left_out, pages_path
from local.gitlab.ci.values import Location, expand

DEFAULT_KEYS = (
    *("after_script", "artifacts", "before_script", "cache", "hooks", "id_tokens", "identity"),
    *("image", "interruptible", "retry", "services", "tags", "timeout"),
)
_EVERY_KEYS = (  # of jobs and of triggers
    *("allow_failure", "environment", "except", "extends", "inherit", "interruptible", "needs"),
    *("only", "parallel", "resource_group", "rules", "stage", "variables", "when"),
)
_TRIGGER_KEYS = frozenset((*_EVERY_KEYS, "trigger"))
_JOB_KEYS = frozenset(
    (
        *DEFAULT_KEYS,
        *_EVERY_KEYS,
        *("coverage", "dast_configuration", "dependencies", "inputs", "manual_confirmation"),
        *("pages", "publish", "release", "run", "script", "secrets", "start_in"),
    )
)
_WHEN = ("on_success", "on_failure", "always", "manual", "delayed")
_TRIGGER_WHEN = ("on_success", "on_failure", "always", "manual")
_NOT_BESIDE_RULES = ("only", "except", "start_in")
_LONGEST_NAME = 255
_LONGEST_TIMEOUT = "1 month"
_LONGEST_DELAY = "1 week"
_T = TypeVar("_T")
_A = TypeVar("_A")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a job takes over from the rest of the file."""

    defaults: Mapping[str, Location]
    variables: Variables
    facts: RuleFacts
    files: Mapping[str, str]
    has_workflow_rules: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job whose `needs` and `dependencies` are still as written."""

    entry: str  # the name in the file
    spot: Location
    spec: JobSpec
    is_wanted: bool  # by its rules
    is_trigger: bool = False  # of another pipeline, which is not made here
    entries: Mapping[str, Location] = field(default_factory=dict)  # with what its rule says
    needs: Needs | None = None
    rule_needs: tuple[Needs, ...] = ()  # of every rule, also those that do not apply


class _Body:
    """The entries of a job, read by key with what stands for absence."""

    def __init__(self, entries: Mapping[str, Location]) -> None:
        self.entries = {k: spot for k, spot in entries.items() if spot.node.value is not None}

    def read(self, key: str, reader: Callable[[Location], _T], absent: _A) -> _T | _A:
        return reader(self.entries[key]) if key in self.entries else absent


def read_drafts(name: str, spot: Location, around: Surroundings) -> Iterator[Draft]:
    """The jobs an entry stands for; those no rule wants are not `is_wanted`."""
    own = _checked(name, spot)
    is_trigger = _is_trigger(own)
    inherited = [
        key
        for key in _inherited(own, "default", around.defaults)
        if not is_trigger or key == "interruptible"
    ]
    entries = {**{k: around.defaults[k] for k in inherited}, **own}
    kept = _inherited(own, "variables", around.variables.values)
    variables = Variables(
        values={k: around.variables.values[k] for k in kept}, raw=around.variables.raw & {*kept}
    )
    if "variables" in own and own["variables"].node.value is not None:
        own_variables = keywords.read_variables(own["variables"], keywords.JOB_VARIABLE)
        variables = variables.under(own_variables)
    for instance in instances_of(name, entries.get("parallel")):
        with_matrix = variables.under(Variables(values=instance.variables))
        placed = _Placed(spot, entries, with_matrix, is_wanted=True)
        yield _draft(name, instance, placed, around)


def _checked(name: str, spot: Location) -> dict[str, Location]:
    """The entry's own keys, as far as they can be judged without the rest of the file."""
    if not name.strip():
        raise spot.error("a job's name can't be blank")
    if len(name) > _LONGEST_NAME:
        raise spot.error(f"a job's name may have {_LONGEST_NAME} characters, not {len(name)}")
    every = spot.entries()
    kinds = [key for key in ("script", "run", "trigger") if key in every]
    if len(kinds) > 1:
        raise every[kinds[1]].error(f"cannot stand beside {kinds[0]}")
    if not kinds and not _is_trigger(every):
        raise spot.missing("script is missing: a job has script:, run: or trigger:")
    own = spot.entries(_TRIGGER_KEYS if _is_trigger(every) else _JOB_KEYS)
    if "run" in own:
        raise own["run"].error("CI steps are not supported here; use script")
    own = {key: entry for key, entry in own.items() if entry.node.value is not None}
    check_left_out(name, own)
    return own


def _is_trigger(own: Mapping[str, Location]) -> bool:
    """Whether it makes, or mirrors, another pipeline instead of running a script."""
    if "script" in own or "run" in own:
        return False
    if "trigger" in own:
        return True
    needs = own.get("needs")
    if needs is None or not (needs.is_map or needs.is_list):
        return False
    items = (needs,) if needs.is_map else needs.items()
    return any(i.is_map and "pipeline" in i.entries() and "job" not in i.entries() for i in items)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A job entry, before or after its rules are asked."""

    spot: Location
    entries: Mapping[str, Location]
    variables: Variables
    is_wanted: bool


def _draft(name: str, instance: Instance, placed: _Placed, around: Surroundings) -> Draft:
    decided = _decided(placed, around)
    body = _Body(decided.entries)
    is_trigger = _is_trigger(placed.entries)
    needs = body.read("needs", lambda spot: keywords.read_needs(spot, of_trigger=is_trigger), None)
    return Draft(
        entry=name,
        spot=placed.spot,
        spec=_spec(instance, decided, around),
        is_wanted=decided.is_wanted,
        is_trigger=is_trigger,
        entries=body.entries,
        needs=needs,
        rule_needs=_rule_needs(placed),
    )


def _rule_needs(placed: _Placed) -> tuple[Needs, ...]:
    if "rules" not in placed.entries or placed.entries["rules"].node.value is None:
        return ()
    said = [rule.entries() for rule in placed.entries["rules"].items()]
    return tuple(
        keywords.read_needs(entries["needs"], of_rule=True)
        for entries in said
        if "needs" in entries
    )


def _inherited(own: Mapping[str, Location], what: str, offered: Collection[str]) -> list[str]:
    """The names among `offered` that `inherit:` lets through; all, when it is silent."""
    said = own["inherit"].entries(("default", "variables")) if "inherit" in own else {}
    if what not in said:
        return list(offered)
    if said[what].is_list:
        named = said[what].list_of(DEFAULT_KEYS) if what == "default" else said[what].texts()
        return [name for name in offered if name in named]
    return list(offered) if said[what].flag() else []


def _decided(placed: _Placed, around: Surroundings) -> _Placed:
    """The same entry with what its rules say laid over it."""
    entries = {k: spot for k, spot in placed.entries.items() if spot.node.value is not None}
    facts = around.facts
    seen = replace(facts, variables={**placed.variables.values, **facts.variables})
    if "rules" not in entries:
        wanted = wanted_by_refs(
            entries.get("only"),
            entries.get("except"),
            seen,
            by_default=not around.has_workflow_rules,
        )
        return replace(placed, is_wanted=wanted)
    _check_rules(entries)
    rule = matching_rule(entries["rules"], seen, JOB_RULE_SAYS, whens=JOB_RULE_WHEN)
    if rule is None:
        return replace(placed, is_wanted=False)
    says = {
        key: Location(node, f"{placed.spot.path}:rules:{key}")
        for key, node in rule.items()
        if node.value is not None
    }
    variables = placed.variables
    if "variables" in says:
        variables = variables.under(keywords.read_variables(says.pop("variables")))
    is_wanted = "when" not in says or says["when"].node.value != "never"
    if not is_wanted:
        del says["when"]
    return _Placed(placed.spot, {**entries, **says}, variables, is_wanted)


def _check_rules(entries: Mapping[str, Location]) -> None:
    for key in _NOT_BESIDE_RULES:
        if key in entries:
            raise entries[key].error("cannot stand beside rules")
    for rule in entries["rules"].items():
        if rule.is_map and "variables" in (said := rule.entries()):
            keywords.read_variables(said["variables"])


def _spec(instance: Instance, placed: _Placed, around: Surroundings) -> JobSpec:
    body = _Body(placed.entries)
    known = {**placed.variables.values, **around.facts.variables}
    is_trigger = _is_trigger(placed.entries)
    if not is_trigger and not any(body.read("script", Location.lines, ())):
        raise placed.spot.error("script is missing")
    when, start_in_s = _when(body, _TRIGGER_WHEN if is_trigger else _WHEN)
    manual_is_optional = when == "manual" and "rules" not in body.entries
    allowed, codes = body.read(
        "allow_failure", keywords.read_allow_failure, (manual_is_optional, ())
    )
    body.read("coverage", keywords.check_coverage, None)
    return JobSpec(
        name=instance.name,
        stage=body.read("stage", Location.text, "test"),
        script=(*body.read("before_script", Location.lines, ()), *body.read("script", Location.lines, ())),
        after_script=body.read("after_script", Location.lines, ()),
        before_sources=body.read("hooks", _before_sources, ()),
        tags=tuple(expand(tag, known) for tag in body.read("tags", keywords.read_tags, ())),
        image=body.read("image", keywords.read_image, None),
        services=body.read("services", keywords.read_services, ()),
        variables=placed.variables.values,
        raw_variables=placed.variables.raw,
        artifacts=_artifacts(placed, body),
        cache=body.read("cache", lambda spot: read_caches(spot, around.files, known), ()),
        dependencies=body.read("dependencies", Location.texts, None),
        when=when,
        start_in_s=start_in_s,
        allow_failure=allowed,
        allow_failure_exit_codes=codes,
        retry=body.read("retry", keywords.read_retry, RetrySpec()),
        timeout_s=body.read("timeout", lambda s: s.duration_up_to_s(_LONGEST_TIMEOUT), None),
        resource_group=_expanded(body.read("resource_group", Location.text, None), known),
        interruptible=body.read("interruptible", Location.flag, False),
        environment=body.read(
            "environment", lambda spot: keywords.read_environment(spot, known), None
        ),
        id_in_parallel=instance.place,
    )


def _before_sources(spot: Location) -> tuple[str, ...]:
    said = spot.entries(("pre_get_sources_script",))
    return said["pre_get_sources_script"].lines() if said else ()


def _artifacts(placed: _Placed, body: _Body) -> tuple[ArtifactSpec, ...]:
    """The job's own, and the folder that GitLab Pages would publish."""
    found = body.read("artifacts", read_artifacts, ())
    path = pages_path(placed.spot.path.removeprefix("jobs:"), body.entries)
    if path is None:
        return found
    (own,) = found or (ArtifactSpec(),)
    return (own if path in own.paths else replace(own, paths=(*own.paths, path)),)


def _expanded(text: str | None, known: Mapping[str, str]) -> str | None:
    return None if text is None else expand(text, known)


def _when(body: _Body, whens: Collection[str]) -> tuple[str, int | None]:
    when = body.read("when", lambda spot: spot.one_of(whens), "on_success")
    if when == "delayed" and "start_in" not in body.entries:
        raise body.entries["when"].error("delayed takes start_in beside it")
    if when != "delayed" and "start_in" in body.entries:
        raise body.entries["start_in"].error("start_in goes with `when: delayed` only")
    return when, body.read("start_in", lambda s: s.duration_up_to_s(_LONGEST_DELAY), None)
