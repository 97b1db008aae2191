"""What one run cost, and whether the fleet kept its promises. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from local.chaos.gitlab_eye import JobSeen
from local.chaos.pipeline import ANY_END, Planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """One machine of a run."""

    runner_id: str
    machine_id: str
    launched_at: datetime
    gone_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedMachines:
    """The fleet ended machines; `at_work`: the runners that had a job in GitLab just then."""

    machine_ids: tuple[str, ...]
    at_work: Mapping[int, str]  # job id -> runner id


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that was seen of one run."""

    planned: Sequence[tuple[int, Sequence[Planned]]]  # by pipeline
    jobs: Sequence[JobSeen]
    lived: Sequence[Lived]
    ended: Sequence[EndedMachines]
    dead: frozenset[str]  # ids that the scenario itself took away
    cancelled: frozenset[int]  # pipelines that the scenario cancelled
    leaked: Mapping[str, int]  # what is left, in words
    broken: Sequence[str]  # what the scenario itself found not to be as promised
    injected: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run of one fault."""

    fault: str
    seed: int
    jobs: int
    finished: int
    longest_wait_s: float
    launched: int
    surplus_machine_s: float
    stuck: int
    leaked: int
    killed_busy: int
    injected: int
    seconds: float
    problems: tuple[str, ...]
    trail: tuple[str, ...] = ()  # what the ledger tells of the jobs, for whoever looks closer

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        told = asdict(self) | {"problems": list(self.problems)}
        del told["trail"]
        return told

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Row":
        """What `to_json` gave, with or without a trail."""
        lists = {name: tuple(told.get(name, ())) for name in ("problems", "trail")}
        return cls(**{**told, **lists})


def broken_run(fault: str, seed: int, why: str) -> Row:
    """The row of a run that came to no end: nothing is counted, and it is not well."""
    return Row(
        fault=fault,
        seed=seed,
        jobs=0,
        finished=0,
        longest_wait_s=0.0,
        launched=0,
        surplus_machine_s=0.0,
        stuck=0,
        leaked=0,
        killed_busy=0,
        injected=0,
        seconds=0.0,
        problems=(f"the run broke: {why}",),
    )


def judge(fault: str, seed: int, seen: Evidence, *, wait_at_most_s: float | None = None) -> Row:
    """Count, and name everything that is not as it must be."""
    stuck = tuple(_stuck(seen))
    killed = tuple(_killed_busy(seen))
    longest = max((job.waited_s() or 0.0 for job in seen.jobs), default=0.0)
    late = wait_at_most_s is not None and longest > wait_at_most_s
    total = sum(len(jobs) for _, jobs in seen.planned)
    return Row(
        fault=fault,
        seed=seed,
        jobs=total,
        finished=total - len(stuck),
        longest_wait_s=round(longest, 1),
        launched=len(seen.lived),
        surplus_machine_s=round(sum(_surplus_s(one, seen.jobs) for one in seen.lived), 1),
        stuck=len(stuck),
        leaked=sum(seen.leaked.values()),
        killed_busy=len(killed),
        injected=seen.injected,
        seconds=round(seen.seconds, 1),
        problems=(
            *stuck,
            *killed,
            *(f"{count} {what} left" for what, count in seen.leaked.items() if count),
            *seen.broken,
            *((f"a job waited {longest:.1f} s, at most {wait_at_most_s:.0f} s",) if late else ()),
        ),
    )


def unfinished(
    planned: Iterable[tuple[int, Iterable[Planned]]], jobs: Iterable[JobSeen]
) -> list[tuple[Planned, JobSeen | None]]:
    """The jobs that have not ended as they must, with the newest job of their name."""
    newest = {(job.pipeline_id, job.name): job for job in jobs if not job.is_retried}
    found = []
    for pipeline, wanted in planned:
        for plan in wanted:
            job = newest.get((pipeline, plan.name))
            if job is None or job.status not in plan.ends:
                found.append((plan, job))
    return found


def _stuck(seen: Evidence) -> Iterable[str]:
    for plan, job in unfinished(seen.planned, seen.jobs):
        told = "is missing"
        if job is not None:
            told = f"(job {job.id}) is {job.status}"
        if job is not None and job.failure_reason:
            told += f", {job.failure_reason}"
        yield f"{plan.name} {told}, should be {' or '.join(sorted(plan.ends))}"


def _killed_busy(seen: Evidence) -> Iterable[str]:
    """Machines that the fleet ended at work, and jobs that it cancelled on healthy machines."""
    machine_of = {one.runner_id: one.machine_id for one in seen.lived}
    for end in seen.ended:
        for job_id, runner_id in end.at_work.items():
            machine_id = machine_of.get(runner_id)
            if machine_id in end.machine_ids and not {machine_id, runner_id} & seen.dead:
                yield f"the fleet ended {machine_id} while job {job_id} ran on {runner_id}"
    for job in seen.jobs:
        mine = job.pipeline_id in seen.cancelled or job.runner in seen.dead
        if job.status == "canceled" and job.started_at is not None and not mine:
            yield f"the fleet cancelled job {job.id} ({job.name}) on {job.runner}"


def _surplus_s(machine: Lived, jobs: Iterable[JobSeen]) -> float:
    """How long it lived for nothing: after its last job, or all the time when it had none."""
    ends = [job.finished_at for job in jobs if job.runner == machine.runner_id and job.finished_at]
    since = max([*ends, machine.launched_at])
    return max(0.0, (machine.gone_at - since).total_seconds())


def is_over(job: JobSeen) -> bool:
    """Whether GitLab shows a last state."""
    return job.status in ANY_END
