"""What jobs say about each other: `needs`, `dependencies` and `on_stop` are put in place.

Source: GitLab's `Ci::YamlProcessor` (every job of the file) and `Seed::Build` (those that run).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from local.gitlab.ci.job import Draft
from local.gitlab.ci.keywords import Needs
from local.gitlab.ci.tree import left_out
from local.gitlab.ci.types import CiMissingError, JobSpec, NeedSpec
from local.gitlab.ci.values import Location

_MOST_NEEDS = 50  # GitLab's plan limit `ci_needs_size_limit`
_LONGEST_NAME = 255
_MATRIX = "$[[ matrix."


@dataclass(frozen=True, slots=True)
class _Known:
    """Jobs by what they may be called: their own name, or their entry's for all of `parallel`."""

    in_file: Mapping[str, tuple[Draft, ...]]
    stages: Sequence[str]

    def in_pipeline(self, name: str) -> tuple[Draft, ...]:
        return tuple(draft for draft in self.in_file.get(name, ()) if draft.is_wanted)


def link(
    drafts: Sequence[Draft], stages: Sequence[str], *, may_be_elsewhere: bool = False
) -> tuple[tuple[JobSpec, ...], list[str]]:
    """The wanted jobs with links as job names, and warnings.

    Triggers are checked like jobs, and left out. Raises `CiError` for a link that leads nowhere;
    where the job `may_be_elsewhere` (in an include that was not fetched) it is a warning.
    """
    in_file: dict[str, tuple[Draft, ...]] = {}
    for draft in drafts:
        for name in {draft.entry, draft.spec.name}:
            in_file[name] = (*in_file.get(name, ()), draft)
    known = _Known(in_file, stages)
    warnings: list[str] = []
    for draft in drafts:
        for error in _check(draft, known):
            if not may_be_elsewhere:
                raise error
            warnings.append(left_out(error))
    _refuse_circles(drafts, known)
    linked = {d.spec.name: _linked(d, known) for d in drafts if d.is_wanted}
    jobs = tuple(linked[d.spec.name] for d in drafts if d.is_wanted and not d.is_trigger)
    return jobs, list(dict.fromkeys(warnings))


def _check(draft: Draft, known: _Known) -> Iterator[CiMissingError]:
    """What GitLab asks of every job, whether rules leave it out or not; links to nowhere."""
    for needs in (draft.needs, *draft.rule_needs):
        if needs is not None:
            yield from _check_needs(draft, needs, known)
    if "dependencies" in draft.entries:
        yield from _check_dependencies(draft, known)
    if draft.spec.environment and draft.spec.environment.on_stop:
        yield from _check_on_stop(draft, draft.spec.environment.on_stop, known)


def _check_needs(draft: Draft, needs: Needs, known: _Known) -> Iterator[CiMissingError]:
    seen: Counter[str] = Counter()
    for need, spot in needs.jobs:
        name = _with_matrix(draft, need.job, spot)
        found = known.in_file.get(name, ())
        if not found and not need.optional:
            yield spot.missing(f"needs {name!r}, but there is no such job")
        for other in found:
            _check_stage(draft, other, spot, known)
            if len(other.spec.name) > _LONGEST_NAME:
                raise spot.error(f"the name of a needed job has {_LONGEST_NAME} letters at most")
        seen.update({other.spec.name for other in found})
        if max(seen.values(), default=0) > 1:
            raise spot.error(f"needs {name!r} twice")


def _check_dependencies(draft: Draft, known: _Known) -> Iterator[CiMissingError]:
    needed = {other.spec.name for other in _needed(draft, known)}
    for spot in draft.entries["dependencies"].items():
        name = spot.text()
        if name not in known.in_file:
            yield spot.missing(f"there is no job {name!r}")
        for other in known.in_file.get(name, ()):
            _check_stage(draft, other, spot, known)
            if draft.needs and draft.needs.jobs and other.spec.name not in needed:
                raise spot.error(f"{name!r} should be part of needs")
        if draft.needs and draft.needs.elsewhere and not draft.needs.jobs:
            raise spot.error("needs corresponding to dependencies must be of the same pipeline")


def _check_stage(draft: Draft, other: Draft, spot: Location, known: _Known) -> None:
    """A job may wait for its own stage and for those before it."""
    if known.stages.index(other.spec.stage) > known.stages.index(draft.spec.stage):
        raise spot.error(
            f"job {other.spec.name!r} is in stage {other.spec.stage!r}, which is later than "
            f"{draft.spec.stage!r}, the stage of {draft.spec.name!r}"
        )


def _check_on_stop(draft: Draft, name: str, known: _Known) -> Iterator[CiMissingError]:
    entry = draft.entries["environment"].entries()["on_stop"]
    found = known.in_file.get(name)
    if not found:
        yield entry.missing(f"there is no job {name!r}")
        return
    stops = found[0].entries.get("environment")
    said = stops.entries() if stops is not None and stops.is_map else {}
    own = draft.entries["environment"].entries()["name"].node.value
    if stops is None:
        raise entry.error(f"job {name!r} has no environment")
    if (said["name"].node.value if said else stops.node.value) != own:
        raise entry.error(f"job {name!r} has another environment")
    if "action" not in said or said["action"].node.value != "stop":
        raise entry.error(f"job {name!r} must say `action: stop`")


def _with_matrix(draft: Draft, name: str, spot: Location) -> str:
    """The name with the job's own `$[[ matrix.NAME ]]` put in."""
    if _MATRIX not in name:
        return name
    for key, value in draft.spec.variables.items():
        name = name.replace(f"{_MATRIX}{key} ]]", value)
    if _MATRIX in name:
        raise spot.error(f"{name!r}: the job has no such matrix variable")
    return name


def _needed(draft: Draft, known: _Known) -> Iterator[Draft]:
    """The jobs of the file that it waits for, also those that rules leave out."""
    for need, spot in draft.needs.jobs if draft.needs else ():
        yield from known.in_file.get(_with_matrix(draft, need.job, spot), ())


def _linked(draft: Draft, known: _Known) -> JobSpec:
    spec = draft.spec
    if draft.needs is not None:
        needs = tuple(_needs(draft, draft.needs, known))
        if len(needs) > _MOST_NEEDS:
            said = f"may need {_MOST_NEEDS} jobs at most, not {len(needs)}"
            raise _place(draft, "needs").error(said)
        spec = replace(spec, needs=tuple(_without_triggers(needs, known)))
    if spec.dependencies is not None:
        names = (d.spec.name for name in spec.dependencies for d in known.in_pipeline(name))
        spec = replace(spec, dependencies=tuple(names))
    return spec


def _needs(draft: Draft, needs: Needs, known: _Known) -> Iterator[NeedSpec]:
    for need, spot in needs.jobs:
        name = _with_matrix(draft, need.job, spot)
        found = known.in_file.get(name, ())
        for other in found:
            if not other.is_wanted and not need.optional:
                raise spot.error(f"needs {name!r}, but rules left it out")
        yield from (replace(need, job=d.spec.name) for d in found if d.is_wanted)


def _without_triggers(needs: Sequence[NeedSpec], known: _Known) -> list[NeedSpec]:
    """The needs with what a trigger waits for in its place: a trigger is left out."""
    found: dict[str, NeedSpec] = {}
    for need in needs:
        (draft,) = (d for d in known.in_pipeline(need.job) if d.spec.name == need.job)
        if not draft.is_trigger:
            found[need.job] = need
            continue
        for name in _waits_for(draft, known):
            found.setdefault(name, NeedSpec(job=name, artifacts=False))
    return list(found.values())


def _waits_for(trigger: Draft, known: _Known) -> Iterator[str]:
    """The jobs that end before a trigger starts: those it needs, or those of earlier stages."""
    if trigger.needs is not None:
        needs = tuple(_needs(trigger, trigger.needs, known))
        yield from (need.job for need in _without_triggers(needs, known))
        return
    at = known.stages.index(trigger.spec.stage)
    for drafts in known.in_file.values():
        for draft in drafts:
            is_before = known.stages.index(draft.spec.stage) < at
            if is_before and draft.is_wanted and not draft.is_trigger:
                yield draft.spec.name


def _place(draft: Draft, key: str) -> Location:
    return draft.entries.get(key, draft.spot)


def _refuse_circles(drafts: Sequence[Draft], known: _Known) -> None:
    """A job that waits for itself, however far round, would never start."""
    jobs = {draft.spec.name: draft for draft in drafts}
    graph = {name: [d.spec.name for d in _needed(jobs[name], known)] for name in jobs}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle = exc.args[1][:0:-1]  # told from needed to needing, its end repeated
        order = list(jobs)
        first = min(range(len(circle)), key=lambda at: order.index(circle[at]))
        said = " -> ".join([*circle[first:], *circle[: first + 1]])
        place = _place(jobs[circle[first]], "needs")
        raise place.error(f"go in a circle: {said}") from exc
