"""The index of jobs that are not over: one waits in its pool, the others for GitLab's word.

GitLab is asked in time about a job that runs, and about one that no pool may take, should no
webhook tell their end. An end takes a job out of the index.
"""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

from boto3.dynamodb.conditions import Attr

from adapters.ledger.table import Change, Item, Table
from fleet.model import Job, JobKey

# Webhooks tell nearly all ends. What is not told shows wrongly for so long, and a job that runs for
# hours costs a call in each.
LOOK_AFTER = timedelta(hours=1)


class LookRows:
    """Which jobs GitLab is to be asked about. Every write may be repeated."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def due(self, instance: str, *, at: datetime, at_most: int) -> list[JobKey]:
        """The jobs to ask about by now, the one that waited longest first."""
        found = self._table.query_index("open", "open_pk", list_pk(instance), limit=at_most)
        items = takewhile(lambda item: item["open_sk"] <= _ordered(at), found)
        return [JobKey(instance=instance, job_id=int(item["job_id"])) for item in items]

    def put_off(self, key: JobKey, *, at: datetime) -> None:
        """Ask again later about a job that has not ended at `at`."""
        listed = Attr("open_pk").eq(list_pk(key.instance))
        put = look_later(key, at)
        self._table.write(Change(pk=job_pk(key), sk="job", put=put, when=listed))


def wait_in_pool(pool: str, job: Job) -> Item:
    """The attributes that have a job's row wait in a pool, behind those that waited before it."""
    return {"open_pk": pool_pk(pool), "open_sk": f"{_ordered(job.pending_at)}#{job.job_id:020d}"}


def look_later(key: JobKey, at: datetime) -> Item:
    """The attributes that have GitLab asked about a job `LOOK_AFTER` from `at`."""
    return {"open_pk": list_pk(key.instance), "open_sk": _ordered(at + LOOK_AFTER)}


def pool_pk(pool: str) -> str:
    """Where in the index a pool's jobs wait."""
    return f"pool#{pool}"


def job_pk(key: JobKey) -> str:
    """The partition of a job's row."""
    return f"job#{key}"


def list_pk(instance: str) -> str:
    """Where in the index the jobs are that GitLab is asked about in time."""
    return f"look#{instance}"


def _ordered(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()  # the index orders text
