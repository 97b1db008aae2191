"""The index of jobs that are not over: they wait in a pool, or for the next question to GitLab.

The fleet asks GitLab in time about a job that runs, and about a job that no pool may take, because
the webhook of its end may be lost. A job leaves the index when it ends.
"""

from datetime import UTC, datetime
from itertools import takewhile

from boto3.dynamodb.conditions import Attr

from adapters.ledger.rows import RowType
from adapters.ledger.table import Change, Item, Rows
from fleet.model import Job, JobKey
from fleet.rules.calls import LOOK_AFTER

KEY_ROW = RowType(of=JobKey)


class LookRows(Rows):
    """Which jobs the fleet asks GitLab about, and when. Every write may be repeated."""

    def due(self, instance: str, *, at: datetime, at_most: int) -> list[JobKey]:
        """The jobs to ask about by `at`, longest due first."""
        listed = self._table.query_index("open", "open_pk", list_pk(instance), limit=at_most)
        items = takewhile(lambda item: item["open_sk"] <= _ordered(at), listed)
        return self._readable(KEY_ROW.read, items)

    def put_off(self, key: JobKey, *, at: datetime) -> None:
        """Ask again `LOOK_AFTER` later about a job that has not ended at `at`."""
        listed = Attr("open_pk").eq(list_pk(key.instance))
        put = look_later(key, at)
        self._table.write(Change(pk=job_pk(key), sk="job", put=put, when=listed))


def wait_in_pool(pool: str, job: Job) -> Item:
    """The attributes of a job's row that waits in a pool, in the order of `pending_at`."""
    return {"open_pk": pool_pk(pool), "open_sk": f"{_ordered(job.pending_at)}#{job.job_id:020d}"}


def look_later(key: JobKey, at: datetime) -> Item:
    """The attributes of a job's row that the fleet asks about `LOOK_AFTER` from `at`."""
    return {"open_pk": list_pk(key.instance), "open_sk": _ordered(at + LOOK_AFTER)}


def pool_pk(pool: str) -> str:
    """The index partition of a pool's waiting jobs."""
    return f"pool#{pool}"


def job_pk(key: JobKey) -> str:
    """The partition of a job's row."""
    return f"job#{key}"


def list_pk(instance: str) -> str:
    """The index partition of the jobs that the fleet asks GitLab about."""
    return f"look#{instance}"


def _ordered(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()  # the index orders text
