"""Past runs: what the fleet keeps of ended runners and of jobs that ended without one."""

from dataclasses import dataclass
from datetime import datetime

from adapters.ledger.jobs import JobRow
from fleet.machine.mailbox import Report
from fleet.model import Job, Runner
from fleet.past import PastRun
from fleet.reasons import Reason
from fleet.rules.past import JobPart, MachinePart, is_kept, past_of_job, past_of_runner
from fleet.steps import Step
from orchestrator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRunner:
    """A runner whose machine was ended, with the end's reason and the steps of its history."""

    runner: Runner
    reason: Reason
    at: datetime
    steps: tuple[Step, ...]  # the machine's own, then its end
    report: Report | None = None  # its machine's last


def past_run(world: World, ended: EndedRunner, row: JobRow | None) -> PastRun:
    """The past run of a runner whose machine was ended; `row`: of the job that it had."""
    runner = ended.runner
    machine = MachinePart(
        runner=runner,
        steps=ended.steps,
        reason=ended.reason,
        ended_at=ended.at,
        pool=world.pool(runner.pool),
    )
    return past_of_runner(machine, _part(row) if row else None)


def keep_end(world: World, job: Job) -> None:
    """Keep the end of a job that no live runner has; the same end is kept once."""
    row = world.jobs.row(job.key)
    if row is not None and is_kept(row.job):
        world.history.write(past_of_job(_part(row), at=row.changed_at))


def _part(row: JobRow) -> JobPart:
    return JobPart(
        job=row.job,
        steps=row.steps,
        started_at=row.started_at,
        finished_at=row.finished_at,
        failure=row.failure_reason,
    )
