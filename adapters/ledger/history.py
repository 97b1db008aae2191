"""The ledger's rows of past runs: 90 days, in partitions of one day and shard.

A day's rows are spread over a few partitions, so that no burst heats one, and a month is read by
asking for its days: nothing is scanned, and jobs of other months cost nothing. A row is below the
1 KB that one write unit pays: short names, times in milliseconds. Writing it again changes nothing.
"""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from adapters.ledger.rows import Form, RowType
from adapters.ledger.table import Change, Item, Rows
from fleet.past import PastRun, joined

KEPT = timedelta(days=90)
SHARDS = 4  # a partition takes 1,000 writes in a second; source: DynamoDB quotas
AT_ONCE = 16  # queries
# A machine may be gone a while before GitLab says how its job ended; see `fleet.past.joined`.
END_LAGS = timedelta(days=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME = Form(
    read=lambda ms: _EPOCH + timedelta(milliseconds=int(ms)),
    write=lambda at: (at - _EPOCH) // timedelta(milliseconds=1),
)
_TIMES = {
    "ended_at": "e",
    "pending_at": "t1",
    "heard_at": "t2",
    "routed_at": "t3",
    "demand_at": "t4",
    "launched_at": "t5",
    "called_home_at": "t6",
    "taken_at": "t7",
    "first_output_at": "t8",
    "finished_at": "t9",
}
_SHORT = {
    "id": "sk",
    "pool": "p",
    "job_id": "j",
    "name": "n",
    "project_id": "i",
    "project": "pp",
    "outcome": "o",
    "failure": "f",
    "attempt": "a",
    "heard_by": "h",
    "backend": "b",
    "machine": "m",
    "capacity": "c",
    "for_job": "fj",
    "reason": "r",
    "usd_nano": "u",
    "peak_cpu": "x",
    "peak_memory_mb": "y",
    "memory_mb": "z",
}
PAST_ROW = RowType(of=PastRun, names=_SHORT | _TIMES, forms=dict.fromkeys(_TIMES, TIME))


def past_change(run: PastRun) -> Change:
    """The write of one past run; the same run has the same key."""
    pk = _pk(run.ended_at.date(), zlib.crc32(run.id.encode()) % SHARDS)
    keys = {"pk": pk, "ttl": int((run.ended_at + KEPT).timestamp())}
    return Change(pk=pk, sk=run.id, put=PAST_ROW.write(run) | keys)


class HistoryRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def write(self, run: PastRun) -> None:
        """Record one past run."""
        self._table.write(past_change(run))

    def between(self, since: datetime, until: datetime) -> list[PastRun]:
        """The runs that ended in this time, `until` not included, oldest first, each job once."""
        days = _days(since, until + END_LAGS)
        partitions = [_pk(day, shard) for day in days for shard in range(SHARDS)]
        with ThreadPoolExecutor(max_workers=AT_ONCE) as readers:
            answers = list(readers.map(self._partition, partitions))
        runs = (run for items in answers for run in self._readable(PAST_ROW.read, items))
        return [run for run in joined(runs) if since <= run.ended_at < until]

    def _partition(self, pk: str) -> list[Item]:
        return list(self._table.query(pk))


def _pk(day: date, shard: int) -> str:
    return f"past#{day:%Y-%m-%d}#{shard}"


def _days(since: datetime, until: datetime) -> Iterator[date]:
    """Every day, UTC, from that of `since` to that of `until`."""
    day = since.date()
    while day <= until.date():
        yield day
        day += timedelta(days=1)
