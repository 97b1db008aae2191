"""The ledger's intended retries: written before GitLab is asked, gone when it is settled."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Table, exists
from fleet.model import JobKey

# An intent that nobody could carry out is forgotten with its job.
KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One retry that is due."""

    job: JobKey
    failure_reason: (
        str | None
    )  # GitLab's word; None: its machine is gone and GitLab shows it running
    cancelled: bool = False  # we cancelled the lost job ourselves, or were about to


class RetryRows:
    """Reads and writes of these rows. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def claim(self, intent: Intent, *, at: datetime) -> bool:
        """Take the one retry of a job and intend it; False when it was taken before."""
        pk = _pk(intent.job)
        mine = Change(
            pk=pk, sk="job", put={"retried": True}, when=exists() & Attr("retried").not_exists()
        )
        item = {
            "pk": pk,
            "sk": "retry",
            "kind": "retry",
            "changed_at": at.isoformat(),
            "instance": intent.job.instance,
            "job_id": intent.job.job_id,
            "failure_reason": intent.failure_reason,
            "cancelled": intent.cancelled,
            "ttl": int((at + KEPT).timestamp()),
        }
        return self._table.transact([mine, Change(pk=pk, sk="retry", put=item)])

    def due(self, *, before: datetime) -> list[Intent]:
        """Those that were intended before this time and are not settled, oldest first."""
        found = self._table.query_index("recent", "kind", "retry")
        return [
            Intent(
                job=JobKey(instance=item["instance"], job_id=item["job_id"]),
                failure_reason=item.get("failure_reason"),
                cancelled=bool(item["cancelled"]),
            )
            for item in found
            if item["changed_at"] < before.isoformat()
        ]

    def note_cancelled(self, job: JobKey) -> None:
        """Remember, before it is done, that the job is cancelled by us and by nobody else."""
        put = {"cancelled": True}
        self._table.write(Change(pk=_pk(job), sk="retry", put=put, when=exists()))

    def settle(self, job: JobKey) -> None:
        """It was carried out, or never can be."""
        self._table.write(Change(pk=_pk(job), sk="retry", delete=True))


def _pk(job: JobKey) -> str:
    return f"job#{job}"
