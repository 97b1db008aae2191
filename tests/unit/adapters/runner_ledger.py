"""Runner rows on a table in memory, and a few words for what tests say of them."""

from datetime import timedelta
from typing import Any

from adapters.ledger.runners import Placement
from adapters.ledger.table import Change
from fleet.machine.mailbox import Report
from fleet.model import Runner, RunnerState
from tests.fakes import AT, FakeTable, runner_rows
from tests.unit.fleet.facts import runner

INSTANCE = "gitlab.example.com"
LATER = AT + timedelta(seconds=5)


def named(n: int, **facts: Any) -> Runner:
    """A runner of the pool `docker` that was only requested so far."""
    fields = {"launched_at": AT, "changed_at": None, "mailbox": None, "expires_at": AT} | facts
    return runner(f"rf-docker-{n:012x}", RunnerState.REQUESTED, **fields)


def place(n: int, **facts: Any) -> Placement:
    """The placement of the runner of this number."""
    fields = {"machine_id": f"i-{n}", "mailbox": f"AROA:i-{n}", "capacity": "m7i.large/a/spot"}
    return Placement(runner_id=named(n).id, **(fields | facts))


class Ledger:
    def __init__(self, table: FakeTable | None = None) -> None:
        self.table = table or FakeTable()
        self.rows = runner_rows(self.table, INSTANCE)

    def reserve(self, *runners: Runner, ceiling: int = 5, version: int = 0) -> int:
        return len(self.rows.reserve(runners, ceiling=ceiling, version=version))

    @property
    def in_use(self) -> int:
        return int(self.table.items.get(("pool#docker", "pool"), {}).get("in_use", 0))

    @property
    def version(self) -> int:
        return int(self.table.items.get(("pool#docker", "pool"), {}).get("version", 0))

    def lives(self, n: int) -> Runner:
        """A runner with its machine, as the ledger has it."""
        self.reserve(named(n), version=self.version)
        assert self.rows.note_placed([place(n)])
        return self.find(n)

    def find(self, n: int) -> Runner:
        row = self.rows.find(named(n).id)
        assert row is not None
        return row

    def mail(self, n: int) -> set[str]:
        """What lies in the mailbox of a machine."""
        return {sk for pk, sk in self.table.mail.items if pk == f"AROA:i-{n}"}

    def writes(self, n: int, report: Report, **more: Any) -> None:
        pk = f"AROA:i-{n}"
        item = {"pk": pk, "sk": "report"} | report.item() | more
        self.table.mail.write(Change(pk=pk, sk="report", put=item))
