"""The ledger's rows of past runs: 90 days, in partitions of one day and shard.

A day's rows are spread over a few partitions, so that no burst heats one, and a month is read by
asking for its days: nothing is scanned, and jobs of other months cost nothing. The run is one text
of JSON with short names and times in milliseconds: below the 1 KB that a write unit pays, and read
several times as fast as an item of thirty attributes. Writing it again changes nothing.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

from adapters.ledger.table import Change, Item, Rows
from fleet.past import PastRun, joined

KEPT = timedelta(days=90)
SHARDS = 4  # a partition takes 1,000 writes in a second; source: DynamoDB quotas
AT_ONCE = 16  # queries
# A machine may be gone a while before GitLab says how its job ended; see `fleet.past.joined`.
END_LAGS = timedelta(days=1)
RUN = "run"  # the attribute

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
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
_TEXTS = {
    "id": "id",
    "pool": "p",
    "name": "n",
    "project": "pp",
    "outcome": "o",
    "failure": "f",
    "heard_by": "h",
    "backend": "b",
    "machine": "m",
    "capacity": "c",
    "reason": "r",
}
_NUMBERS = {
    "job_id": "j",
    "project_id": "i",
    "attempt": "a",
    "for_job": "fj",
    "usd_nano": "u",
    "cpu_s": "x",
    "peak_memory_mb": "y",
}


def past_change(run: PastRun) -> Change:
    """The write of one past run; the same run has the same key."""
    pk = _pk(run.ended_at.date(), zlib.crc32(run.id.encode()) % SHARDS)
    ttl = int((run.ended_at + KEPT).timestamp())
    return Change(pk=pk, sk=run.id, put={"pk": pk, "sk": run.id, "ttl": ttl, RUN: _text(run)})


class HistoryRows(Rows):
    """Reads and writes of these rows. Every write may be repeated."""

    def write(self, run: PastRun) -> None:
        """Record one past run."""
        self._table.write(past_change(run))

    def between(self, since: datetime, until: datetime) -> list[PastRun]:
        """The runs that ended from `since` until before `until`, oldest first, each job once."""
        days = _days(since, until + END_LAGS)
        partitions = [_pk(day, shard) for day in days for shard in range(SHARDS)]
        with ThreadPoolExecutor(max_workers=AT_ONCE) as readers:
            answers = list(readers.map(self._partition, partitions))
        runs = (run for items in answers for run in self._readable(_run, items))
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


def _text(run: PastRun) -> str:
    """The run as text. What is empty or not known is left out."""
    times = {short: getattr(run, name) for name, short in _TIMES.items()}
    short = {short: (at - _EPOCH) // _MS for short, at in times.items() if at is not None}
    names: Mapping[str, str] = _TEXTS | _NUMBERS
    facts = {short: getattr(run, name) for name, short in names.items()}
    short |= {name: fact for name, fact in facts.items() if fact not in (None, "")}
    return json.dumps(short, separators=(",", ":"), ensure_ascii=False)


def _run(item: Item) -> PastRun:
    """The run of an item. Raises `ValueError` or the like where it is no run."""
    run: Mapping[str, Any] = json.loads(item[RUN])
    facts: dict[str, Any] = {
        name: _EPOCH + int(run[short]) * _MS for name, short in _TIMES.items() if short in run
    }
    facts |= {name: str(run[short]) for name, short in _TEXTS.items() if short in run}
    numbers = {name: run[short] for name, short in _NUMBERS.items() if short in run}
    if not all(isinstance(number, int | float) for number in numbers.values()):
        raise ValueError("no number")
    return PastRun(**{"pool": None} | facts | numbers)
