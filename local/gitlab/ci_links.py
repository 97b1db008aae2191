"""What jobs say about each other: `needs` and `dependencies` are put in place and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from local.gitlab.ci_job import Draft
from local.gitlab.ci_types import CiError, JobSpec, NeedSpec


@dataclass(frozen=True, slots=True)
class _Known:
    """Names a job may be called by: its own, or its entry's for all that `parallel` makes."""

    in_file: frozenset[str]
    in_pipeline: Mapping[str, tuple[str, ...]]


def link(drafts: Sequence[Draft], stages: Sequence[str]) -> tuple[JobSpec, ...]:
    """The wanted jobs with links as job names. Raises `CiError` for a link that leads nowhere."""
    known = _known(drafts)
    for draft in drafts:
        if draft.spec.stage not in stages:
            said = f"stage {draft.spec.stage!r} does not exist; there are {', '.join(stages)}"
            raise _error(draft, "stage", said)
    linked = [(draft, _linked(draft, known)) for draft in drafts if draft.spec.when != "never"]
    _refuse_circles({spec.name: (draft, spec) for draft, spec in linked})
    return tuple(spec for _, spec in linked)


def _known(drafts: Sequence[Draft]) -> _Known:
    in_pipeline: dict[str, tuple[str, ...]] = {}
    for draft in drafts:
        if draft.spec.when == "never":
            continue
        for name in {draft.entry, draft.spec.name}:
            in_pipeline[name] = (*in_pipeline.get(name, ()), draft.spec.name)
    names = {name for draft in drafts for name in (draft.entry, draft.spec.name)}
    return _Known(frozenset(names), in_pipeline)


def _linked(draft: Draft, known: _Known) -> JobSpec:
    spec = draft.spec
    if spec.needs is not None:
        needs = tuple(one for need in spec.needs for one in _needs(draft, need, known))
        spec = replace(spec, needs=needs)
    if spec.dependencies is not None:
        for name in spec.dependencies:
            if name not in known.in_file:
                raise _error(draft, "dependencies", f"there is no job {name!r}")
        names = (one for name in spec.dependencies for one in known.in_pipeline.get(name, ()))
        spec = replace(spec, dependencies=tuple(names))
    return spec


def _needs(draft: Draft, need: NeedSpec, known: _Known) -> Iterator[NeedSpec]:
    if need.job not in known.in_pipeline and not need.optional:
        why = "rules left it out" if need.job in known.in_file else "there is no such job"
        raise _error(draft, "needs", f"needs {need.job!r}, but {why}")
    for name in known.in_pipeline.get(need.job, ()):
        yield replace(need, job=name)


def _error(draft: Draft, key: str, why: str) -> CiError:
    entries = draft.spot.entries()
    return entries[key].error(why) if key in entries else draft.spot.error(why)


def _refuse_circles(jobs: Mapping[str, tuple[Draft, JobSpec]]) -> None:
    """A job that waits for itself, however far round, would never start."""
    graph = {name: [need.job for need in spec.needs or ()] for name, (_, spec) in jobs.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        circle = exc.args[1][:0:-1]  # told from needed to needing, its end repeated
        order = list(jobs)
        first = min(range(len(circle)), key=lambda at: order.index(circle[at]))
        said = " -> ".join([*circle[first:], *circle[: first + 1]])
        raise _error(jobs[circle[first]][0], "needs", f"go in a circle: {said}") from exc
