"""The links between jobs: `needs`, `dependencies` and `environment:on_stop`.

Source: GitLab's `Ci::YamlProcessor` (checks of every job) and `Seed::Build` (the jobs that run).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from local.gitlab.ci.job import Draft
from local.gitlab.ci.keywords import Needs
from local.gitlab.ci.tree import left_out_warning
from local.gitlab.ci.types import CiMissingError, JobSpec, NeedSpec
from local.gitlab.ci.values import Location

_MOST_NEEDS = 50  # GitLab's plan limit `ci_needs_size_limit`
_LONGEST_NAME = 255
_MATRIX = "$[[ matrix."


@dataclass(frozen=True, slots=True)
class _Jobs:
    """The jobs of the file by name, and by entry name for all jobs of a `parallel`."""

    in_file: Mapping[str, tuple[Draft, ...]]
    stages: Sequence[str]

    def in_pipeline(self, name: str) -> tuple[Draft, ...]:
        return tuple(draft for draft in self.in_file.get(name, ()) if draft.is_selected)


def link(
    drafts: Sequence[Draft], stages: Sequence[str], *, may_be_elsewhere: bool = False
) -> tuple[tuple[JobSpec, ...], list[str]]:
    """The selected jobs with their links as expanded job names, and warnings.

    Triggers are checked like jobs and are not in the result. Raises `CiError` for a link to an
    undefined job; where an unfetched include may define it (`may_be_elsewhere`) it is a warning.
    """
    in_file: dict[str, tuple[Draft, ...]] = {}
    for draft in drafts:
        for name in {draft.entry, draft.spec.name}:
            in_file[name] = (*in_file.get(name, ()), draft)
    named = _Jobs(in_file, stages)
    warnings: list[str] = []
    for draft in drafts:
        for error in _check(draft, named):
            if not may_be_elsewhere:
                raise error
            warnings.append(left_out_warning(error))
    _check_circles(drafts, named)
    specs = [(d, _resolve_links(d, named)) for d in drafts if d.is_selected]
    jobs = tuple(spec for draft, spec in specs if not draft.is_trigger)
    return jobs, list(dict.fromkeys(warnings))


def _check(draft: Draft, jobs: _Jobs) -> Iterator[CiMissingError]:
    """Errors for links to undefined jobs, of any job, selected or not. Raises for other errors."""
    for needs in (draft.needs, *draft.rule_needs):
        if needs is not None:
            yield from _check_needs(draft, needs, jobs)
    if "dependencies" in draft.entries:
        yield from _check_dependencies(draft, jobs)
    if draft.spec.environment and draft.spec.environment.on_stop:
        yield from _check_on_stop(draft, draft.spec.environment.on_stop, jobs)


def _check_needs(draft: Draft, needs: Needs, jobs: _Jobs) -> Iterator[CiMissingError]:
    counts: Counter[str] = Counter()
    for need, spot in needs.jobs:
        name = _expand_matrix(draft, need.job, spot)
        others = jobs.in_file.get(name, ())
        if not others and not need.optional:
            yield spot.missing(f"needs {name!r}, but there is no such job")
        for other in others:
            _check_stage(draft, other, spot, jobs)
            if len(other.spec.name) > _LONGEST_NAME:
                raise spot.error(f"the name of a needed job has {_LONGEST_NAME} letters at most")
        counts.update({other.spec.name for other in others})
        if max(counts.values(), default=0) > 1:
            raise spot.error(f"needs {name!r} twice")


def _check_dependencies(draft: Draft, jobs: _Jobs) -> Iterator[CiMissingError]:
    needed = {other.spec.name for other in _needed_drafts(draft, jobs)}
    for spot in draft.entries["dependencies"].items():
        name = spot.text()
        if name not in jobs.in_file:
            yield spot.missing(f"there is no job {name!r}")
        for other in jobs.in_file.get(name, ()):
            _check_stage(draft, other, spot, jobs)
            if draft.needs and draft.needs.jobs and other.spec.name not in needed:
                raise spot.error(f"{name!r} should be part of needs")
        if draft.needs and draft.needs.elsewhere and not draft.needs.jobs:
            raise spot.error("needs corresponding to dependencies must be of the same pipeline")


def _check_stage(draft: Draft, other: Draft, spot: Location, jobs: _Jobs) -> None:
    """Raises `CiError` when `other` is in a later stage."""
    if jobs.stages.index(other.spec.stage) > jobs.stages.index(draft.spec.stage):
        raise spot.error(
            f"job {other.spec.name!r} is in stage {other.spec.stage!r}, which is later than "
            f"{draft.spec.stage!r}, the stage of {draft.spec.name!r}"
        )


def _check_on_stop(draft: Draft, name: str, jobs: _Jobs) -> Iterator[CiMissingError]:
    entry = draft.entries["environment"].entries()["on_stop"]
    others = jobs.in_file.get(name)
    if not others:
        yield entry.missing(f"there is no job {name!r}")
        return
    stop = others[0].entries.get("environment")
    stop_entries = stop.entries() if stop is not None and stop.is_map else {}
    own = draft.entries["environment"].entries()["name"].node.value
    if stop is None:
        raise entry.error(f"job {name!r} has no environment")
    if (stop_entries["name"].node.value if stop_entries else stop.node.value) != own:
        raise entry.error(f"job {name!r} has another environment")
    if "action" not in stop_entries or stop_entries["action"].node.value != "stop":
        raise entry.error(f"job {name!r} must say `action: stop`")


def _expand_matrix(draft: Draft, name: str, spot: Location) -> str:
    """The name with the job's own `$[[ matrix.NAME ]]` replaced."""
    if _MATRIX not in name:
        return name
    for key, value in draft.spec.variables.items():
        name = name.replace(f"{_MATRIX}{key} ]]", value)
    if _MATRIX in name:
        raise spot.error(f"{name!r}: the job has no such matrix variable")
    return name


def _needed_drafts(draft: Draft, jobs: _Jobs) -> Iterator[Draft]:
    """The jobs of the file that the job needs, selected or not."""
    for need, spot in draft.needs.jobs if draft.needs else ():
        yield from jobs.in_file.get(_expand_matrix(draft, need.job, spot), ())


def _resolve_links(draft: Draft, jobs: _Jobs) -> JobSpec:
    spec = draft.spec
    if draft.needs is not None:
        needs = tuple(_needs(draft, draft.needs, jobs))
        if len(needs) > _MOST_NEEDS:
            why = f"may need {_MOST_NEEDS} jobs at most, not {len(needs)}"
            raise _spot_of(draft, "needs").error(why)
        spec = replace(spec, needs=tuple(_without_triggers(needs, jobs)))
    if spec.dependencies is not None:
        names = (d.spec.name for name in spec.dependencies for d in jobs.in_pipeline(name))
        spec = replace(spec, dependencies=tuple(names))
    return spec


def _needs(draft: Draft, needs: Needs, jobs: _Jobs) -> Iterator[NeedSpec]:
    for need, spot in needs.jobs:
        name = _expand_matrix(draft, need.job, spot)
        for other in jobs.in_file.get(name, ()):
            if other.is_selected:
                yield replace(need, job=other.spec.name)
            elif not need.optional:
                raise spot.error(f"needs {name!r}, but rules left it out")


def _without_triggers(needs: Sequence[NeedSpec], jobs: _Jobs) -> list[NeedSpec]:
    """The needs with each trigger replaced by the jobs that it waits for."""
    by_name: dict[str, NeedSpec] = {}
    for need in needs:
        (draft,) = (d for d in jobs.in_pipeline(need.job) if d.spec.name == need.job)
        if not draft.is_trigger:
            by_name[need.job] = need
            continue
        for name in _waits_for(draft, jobs):
            by_name.setdefault(name, NeedSpec(job=name, artifacts=False))
    return list(by_name.values())


def _waits_for(trigger: Draft, jobs: _Jobs) -> Iterator[str]:
    """The jobs that end before a trigger starts: its needs, or the jobs of earlier stages."""
    if trigger.needs is not None:
        needs = tuple(_needs(trigger, trigger.needs, jobs))
        yield from (need.job for need in _without_triggers(needs, jobs))
        return
    stage = jobs.stages.index(trigger.spec.stage)
    for drafts in jobs.in_file.values():
        for draft in drafts:
            is_before = jobs.stages.index(draft.spec.stage) < stage
            if is_before and draft.is_selected and not draft.is_trigger:
                yield draft.spec.name


def _spot_of(draft: Draft, key: str) -> Location:
    return draft.entries.get(key, draft.spot)


def _check_circles(drafts: Sequence[Draft], jobs: _Jobs) -> None:
    """Raises `CiError` when a job waits for itself, directly or through others."""
    by_name = {draft.spec.name: draft for draft in drafts}
    graph = {n: [d.spec.name for d in _needed_drafts(by_name[n], jobs)] for n in by_name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle = exc.args[1][:0:-1]  # graphlib's order is needed to needing, its end repeated
        order = list(by_name)
        first = min(range(len(circle)), key=lambda index: order.index(circle[index]))
        names = " -> ".join([*circle[first:], *circle[: first + 1]])
        spot = _spot_of(by_name[circle[first]], "needs")
        raise spot.error(f"go in a circle: {names}") from exc
