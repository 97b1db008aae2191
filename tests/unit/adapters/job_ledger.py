"""Job rows on a table in memory, and a few words for what tests say of them."""

from datetime import timedelta
from typing import Any

from adapters.ledger.jobs import JobRows
from fleet.model import Job
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from tests.fakes import AT, FakeTable
from tests.unit.fleet.facts import job as waiting, key

LATER = AT + timedelta(seconds=5)
ROUTED = Step(at=AT, name=StepName.ROUTED, reason=Reason.ROUTED)
NOTHING: dict[str, object] = {}


def job(job_id: int, **facts: Any) -> Job:
    """A job that was routed to `docker`."""
    return waiting(job_id, **({"reason": Reason.ROUTED} | facts))


class Ledger:
    """The rows, and the table below."""

    def __init__(self, table: FakeTable | None = None) -> None:
        self.table = table or FakeTable()
        self.rows = JobRows(self.table)

    def route(self, *jobs: Job) -> None:
        """These wait in their pools."""
        for one in jobs:
            assert self.rows.route(one, [ROUTED], at=AT)

    def waiting_ids(self, pool: str = "docker") -> list[int]:
        return [one.job_id for one in self.rows.waiting_in(pool)]

    def steps(self, job_id: int) -> list[str]:
        row = self.rows.row(key(job_id))
        return [step.name for step in row.steps] if row else []

    def job(self, job_id: int) -> Job:
        found = self.rows.job(key(job_id))
        assert found is not None
        return found
