"""What jobs cost: the machines' prices shared out, to the last 10**-9 USD. Pure.

A machine serves one job, so that job pays for its boot, idle time, disk and end. The job that a
machine was launched for pays for it, if it had no job. The jobs of its pool on the day of its end
share a warm machine, or one whose job is not known here, in proportion to what they cost. Without
such jobs its pool keeps the cost.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from fleet.past import NANO, PastRun
from fleet.times import seconds_between


class By(StrEnum):
    """What costs are added up by."""

    POOL = "pool"
    PROJECT = "project"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCost:
    """One job, or the rest of a pool: its own machine, and its share of machines without a job."""

    run: PastRun | None  # None: of a pool's machines that no job shares
    pool: str
    own_nano: int
    shared_nano: int
    is_priced: bool = True  # whether its machine's kind has a price

    @property
    def nano(self) -> int:
        """All of it."""
        return self.own_nano + self.shared_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One line of `cost`: costs in USD, times in seconds."""

    name: str  # a pool, a project's path, or `project#job`
    jobs: int
    machines: int  # that ended, those without a job included where the line is a pool's
    usd: Decimal
    own_usd: Decimal  # of the machines that ran the jobs
    shared_usd: Decimal  # of machines that ran none
    boot_usd: Decimal  # of `own_usd`: from the launch until the machine called home
    idle_usd: Decimal  # of `own_usd`: until it had its job, and after the job until its end
    run_usd: Decimal  # of `own_usd`: while the job ran
    ran_s: float  # of the jobs
    unpriced: int  # jobs whose machine has no known price; they count as 0


def share_out(runs: Iterable[PastRun]) -> tuple[JobCost, ...]:
    """The cost of each job; the sum is that of the runs' machines, exactly."""
    runs = list(runs)
    with_job = [run for run in runs if run.had_job]
    own = {run.id: run.usd_nano or 0 for run in with_job}
    shares: dict[str, int] = defaultdict(int)
    by_number = {run.job_id: run for run in with_job}
    of_day: dict[tuple[str | None, date], list[PastRun]] = defaultdict(list)
    for run in with_job:
        if run.had_machine:
            of_day[run.pool, run.ended_at.date()].append(run)
    rest: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.had_job or not run.usd_nano:
            continue
        cause = by_number.get(run.for_job) if run.for_job is not None else None
        takers = [cause] if cause else of_day.get((run.pool, run.ended_at.date()), [])
        if not takers:
            rest[run.pool or ""] += run.usd_nano
        for taker, part in zip(
            takers, split(run.usd_nano, [own[t.id] for t in takers]), strict=True
        ):
            shares[taker.id] += part
    costs = [
        JobCost(
            run=run,
            pool=run.pool or "",
            own_nano=own[run.id],
            shared_nano=shares[run.id],
            is_priced=run.usd_nano is not None or not run.had_machine,
        )
        for run in with_job
    ]
    costs += [
        JobCost(run=None, pool=pool, own_nano=0, shared_nano=nano) for pool, nano in rest.items()
    ]
    return tuple(costs)


def split(whole: int, weights: Sequence[int]) -> list[int]:
    """The whole in parts by weight; their sum is the whole. Equal parts where no weight counts."""
    total = sum(weights)
    if not total:
        weights, total = [1] * len(weights), len(weights)
    parts, given, weight = [], 0, 0
    for each in weights:
        weight += each
        upto = whole * weight // total
        parts.append(upto - given)
        given = upto
    return parts


def cost_lines(runs: Iterable[PastRun], by: By) -> tuple[CostLine, ...]:
    """The lines of `cost`, dearest first. `run=None` costs are lines of their own, or a pool's."""
    runs = list(runs)
    groups: dict[str, list[JobCost]] = defaultdict(list)
    for cost in share_out(runs):
        groups[_name(cost, by)].append(cost)
    idle: Mapping[str, int] = _count_jobless(runs) if by is By.POOL else {}
    lines = [_line(name, costs, idle.get(name, 0)) for name, costs in groups.items()]
    return tuple(sorted(lines, key=lambda line: (-line.usd, line.name)))


def total_nano(runs: Iterable[PastRun]) -> int:
    """The price of all machines."""
    return sum(run.usd_nano or 0 for run in runs)


def parts_of(run: PastRun) -> tuple[int, int, int]:
    """The price in nano-USD of a job's machine while it booted, idled (before, after) and ran."""
    whole_nano = run.usd_nano or 0
    boot_s = seconds_between(run.launched_at, run.called_home_at or run.taken_at) or 0.0
    before_s = seconds_between(run.called_home_at or run.taken_at, run.taken_at) or 0.0
    ran_s = run.ran_s or 0.0
    after_s = seconds_between(run.finished_at, run.ended_at) or 0.0
    if not boot_s + before_s + ran_s + after_s:
        return 0, 0, whole_nano
    milliseconds = [round(each_s * 1000) for each_s in (boot_s, before_s + after_s, ran_s)]
    boot_nano, idle_nano, run_nano = split(whole_nano, milliseconds)
    return boot_nano, idle_nano, run_nano


def _name(cost: JobCost, by: By) -> str:
    run = cost.run
    if by is By.POOL:
        return cost.pool or "(no pool)"
    if run is None:
        return f"(machines of {cost.pool} without a job)"
    project = run.project or str(run.project_id)
    return project if by is By.PROJECT else f"{project}#{run.job_id}"


def _count_jobless(runs: Iterable[PastRun]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for run in runs:
        if not run.had_job:
            counts[run.pool or ""] += 1
    return counts


def _line(name: str, costs: Sequence[JobCost], jobless: int) -> CostLine:
    runs = [cost.run for cost in costs if cost.run is not None]
    parts = [parts_of(run) for run in runs]
    boot_nano, idle_nano, run_nano = (sum(part[index] for part in parts) for index in range(3))
    return CostLine(
        name=name,
        jobs=len(runs),
        machines=sum(run.had_machine for run in runs) + jobless,
        usd=sum(cost.nano for cost in costs) * NANO,
        own_usd=sum(cost.own_nano for cost in costs) * NANO,
        shared_usd=sum(cost.shared_nano for cost in costs) * NANO,
        boot_usd=boot_nano * NANO,
        idle_usd=idle_nano * NANO,
        run_usd=run_nano * NANO,
        ran_s=sum(run.ran_s or 0.0 for run in runs),
        unpriced=sum(not cost.is_priced for cost in costs),
    )
