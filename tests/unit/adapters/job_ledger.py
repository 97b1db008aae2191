"""Job rows on a table in memory, and a few words for what tests say of them."""

from datetime import datetime, timedelta
from typing import Any

from adapters.ledger.jobs import JobRow, JobRows
from fleet.model import Job, JobStatus
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from tests.fakes import AT, FakeTable
from tests.unit.fleet.facts import job as waiting, key

LATER = AT + timedelta(seconds=5)
ROUTED = Step(at=AT, name=StepName.ROUTED, reason=Reason.ROUTED)
RUNNING, FINISHED = JobStatus.RUNNING, JobStatus.FINISHED


def job(job_id: int, **facts: Any) -> Job:
    """A job that was routed to `docker`."""
    return waiting(job_id, **({"reason": Reason.ROUTED} | facts))


class Ledger:
    def __init__(self, table: FakeTable | None = None) -> None:
        self.table = table or FakeTable()
        self.rows = JobRows(self.table)

    def route(self, *jobs: Job) -> None:
        for job in jobs:
            assert self.rows.route(job, [ROUTED], at=AT)

    def advance(self, job: Job, *steps: Step, at: datetime = AT, **facts: object) -> bool:
        """Whether the job's row went on to its status."""
        return self.rows.advance(job, steps, at=at, facts=facts)

    def waiting_ids(self, pool: str = "docker") -> list[int]:
        return [job.job_id for job in self.rows.waiting_in(pool)]

    def steps(self, job_id: int) -> list[str]:
        row = self.rows.row(key(job_id))
        return [step.name for step in row.steps] if row else []

    def row(self, job_id: int) -> JobRow:
        row = self.rows.row(key(job_id))
        assert row is not None
        return row

    def job(self, job_id: int) -> Job:
        job = self.rows.job(key(job_id))
        assert job is not None
        return job
