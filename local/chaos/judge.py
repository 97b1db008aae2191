"""The cost of one run, and the promises that the fleet broke in it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from local.chaos.gitlab_eye import ObservedJob
from local.chaos.pipeline import ANY_END, Planned


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLife:
    """One machine of a run, from its launch to the last look at which it lived."""

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
    """The facts of one run."""

    planned: Sequence[tuple[int, Sequence[Planned]]]  # by pipeline
    jobs: Sequence[ObservedJob]
    machines: Sequence[MachineLife]
    ended: Sequence[EndedMachines]
    dead: frozenset[str]  # ids that the scene itself ended
    cancelled: frozenset[int]  # pipelines that the scene cancelled
    leaked: Mapping[str, int]  # counts of what is left, by name
    broken: Sequence[str]  # promises that the scene itself checked and that were broken
    injected: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosResult:
    """One run of one fault."""

    fault: str
    seed: int
    jobs: int = 0
    finished: int = 0
    longest_wait_s: float = 0.0
    launched: int = 0
    surplus_machine_s: float = 0.0
    stuck: int = 0
    leaked: int = 0
    killed_busy: int = 0
    injected: int = 0
    seconds: float = 0.0
    problems: tuple[str, ...]
    trail: tuple[str, ...] = ()  # the jobs' histories in the ledger

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        body = asdict(self) | {"problems": list(self.problems)}
        del body["trail"]
        return body

    @classmethod
    def of_json(cls, body: Mapping[str, Any]) -> "ChaosResult":
        """The result of a `to_json`, with or without a trail."""
        lists = {name: tuple(body.get(name, ())) for name in ("problems", "trail")}
        return cls(**{**body, **lists})


def broken_run(fault: str, seed: int, why: str) -> ChaosResult:
    """The result of a run that did not end: no counts, and one problem."""
    return ChaosResult(fault=fault, seed=seed, problems=(f"the run broke: {why}",))


def judge(
    fault: str, seed: int, evidence: Evidence, *, wait_at_most_s: float | None = None
) -> ChaosResult:
    """The counts of a run, and a sentence for each broken promise."""
    stuck = tuple(_stuck(evidence))
    killed = tuple(_killed_busy(evidence))
    longest = max((job.waited_s() or 0.0 for job in evidence.jobs), default=0.0)
    late = wait_at_most_s is not None and longest > wait_at_most_s
    total = sum(len(jobs) for _, jobs in evidence.planned)
    return ChaosResult(
        fault=fault,
        seed=seed,
        jobs=total,
        finished=total - len(stuck),
        longest_wait_s=round(longest, 1),
        launched=len(evidence.machines),
        surplus_machine_s=round(
            sum(_surplus_s(machine, evidence.jobs) for machine in evidence.machines), 1
        ),
        stuck=len(stuck),
        leaked=sum(evidence.leaked.values()),
        killed_busy=len(killed),
        injected=evidence.injected,
        seconds=round(evidence.seconds, 1),
        problems=(
            *stuck,
            *killed,
            *(f"{count} {what} left" for what, count in evidence.leaked.items() if count),
            *evidence.broken,
            *((f"a job waited {longest:.1f} s, at most {wait_at_most_s:.0f} s",) if late else ()),
        ),
    )


def unfinished(
    planned: Iterable[tuple[int, Iterable[Planned]]], jobs: Iterable[ObservedJob]
) -> list[tuple[Planned, ObservedJob | None]]:
    """The jobs that have not ended as they must, with the newest job of their name."""
    newest = {(job.pipeline_id, job.name): job for job in jobs if not job.is_retried}
    unfinished_jobs = []
    for pipeline, wanted in planned:
        for plan in wanted:
            job = newest.get((pipeline, plan.name))
            if job is None or job.status not in plan.ends:
                unfinished_jobs.append((plan, job))
    return unfinished_jobs


def _stuck(evidence: Evidence) -> Iterable[str]:
    for plan, job in unfinished(evidence.planned, evidence.jobs):
        state = "is missing"
        if job is not None:
            state = f"(job {job.id}) is {job.status}"
        if job is not None and job.failure_reason:
            state += f", {job.failure_reason}"
        yield f"{plan.name} {state}, should be {' or '.join(sorted(plan.ends))}"


def _killed_busy(evidence: Evidence) -> Iterable[str]:
    """Machines that the fleet ended at work, and jobs that it cancelled on healthy machines."""
    machine_of = {machine.runner_id: machine.machine_id for machine in evidence.machines}
    for end in evidence.ended:
        for job_id, runner_id in end.at_work.items():
            machine_id = machine_of.get(runner_id)
            if machine_id in end.machine_ids and not {machine_id, runner_id} & evidence.dead:
                yield f"the fleet ended {machine_id} while job {job_id} ran on {runner_id}"
    for job in evidence.jobs:
        is_expected = job.pipeline_id in evidence.cancelled or job.runner in evidence.dead
        if job.status == "canceled" and job.started_at is not None and not is_expected:
            yield f"the fleet cancelled job {job.id} ({job.name}) on {job.runner}"


def _surplus_s(machine: MachineLife, jobs: Iterable[ObservedJob]) -> float:
    """How long it lived for nothing: after its last job, or all the time when it had none."""
    ends = [job.finished_at for job in jobs if job.runner == machine.runner_id and job.finished_at]
    since = max([*ends, machine.launched_at])
    return max(0.0, (machine.gone_at - since).total_seconds())


def is_over(job: ObservedJob) -> bool:
    """Whether GitLab shows a last state."""
    return job.status in ANY_END
