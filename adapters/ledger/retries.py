"""The ledger's intended retries: written before the fleet asks GitLab, deleted when settled."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.rows import RowType
from adapters.ledger.table import Change, Rows, exists
from fleet.model import JobKey

# Of an intent that the fleet cannot carry out.
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One retry that is due."""

    job: JobKey
    # GitLab's word; None: its machine is gone and GitLab shows the job as running.
    failure_reason: str | None
    cancelled: bool = False  # the fleet cancels the lost job itself

    @property
    def is_machine_lost(self) -> bool:
        """Whether the job's machine is gone: a failed job always has GitLab's word."""
        return self.failure_reason is None


INTENT_ROW = RowType(of=Intent, inline=frozenset({"job"}))


class RetryRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def claim(self, intent: Intent, *, at: datetime) -> bool:
        """Claim the only retry of a job and record the intent; False when it is claimed."""
        pk = _pk(intent.job)
        mine = Change(
            pk=pk, sk="job", put={"retried": True}, when=exists() & Attr("retried").not_exists()
        )
        item = {
            "pk": pk,
            "sk": "retry",
            "kind": "retry",
            "changed_at": at,
            "ttl": int((at + KEPT).timestamp()),
            **INTENT_ROW.write(intent),
        }
        return self._table.transact([mine, Change(pk=pk, sk="retry", put=item)])

    def due(self, *, before: datetime) -> list[Intent]:
        """The intents from before this time that are not settled, oldest first."""
        items = self._table.query_index("kinds", "kind", "retry")
        due = (item for item in items if item["changed_at"] < before.isoformat())
        return self._readable(INTENT_ROW.read, due)

    def note_cancelled(self, job: JobKey) -> None:
        """Record, before the call, that the fleet cancels the job."""
        put = {"cancelled": True}
        self._table.write(Change(pk=_pk(job), sk="retry", put=put, when=exists()))

    def settle(self, job: JobKey) -> None:
        """Delete an intent that is carried out, or never can be."""
        self._table.write(Change(pk=_pk(job), sk="retry", delete=True))


def _pk(job: JobKey) -> str:
    return f"job#{job}"
