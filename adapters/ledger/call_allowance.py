"""The fleet's calls to GitLab per minute, counted in the ledger: every process takes from one row.

A token bucket by its theoretical arrival time: the row holds until when the calls so far are paid
for. A process leases some calls with one write and uses them for a few seconds.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

from boto3.dynamodb.conditions import Attr, ConditionBase

from adapters.gitlab.call_allowance import CallsLeft, NotesGitLabsLimit
from adapters.ledger.table import Change, Table
from fleet.errors import Transient
from fleet.rules.calls import LEASED_FOR, calls_to_lease

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MINUTE = timedelta(minutes=1) // _MICROSECOND
PAID, HELD = "paid_until", "held_until"  # attributes: microseconds since 1970


class FleetAllowance(NotesGitLabsLimit):
    """What `adapters.gitlab.call_allowance.CallAllowance` asks for, of all processes together.

    Bursts of up to a minute's worth of calls are allowed, as GitLab counts by the minute.
    """

    def __init__(
        self,
        table: Table,
        *,
        instance: str,
        calls_per_minute: int,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__()
        self.clock = clock
        self._table = table
        self._pk = f"calls#{instance}"
        self._cost = _MINUTE // calls_per_minute
        self._lock = Lock()
        self._leased = 0  # calls in the last lease
        self._leased_at: datetime | None = None
        self._left = 0
        self._is_busy = False  # others took calls within the last minute
        self._calls_per_minute = calls_per_minute
        self._paid_until = 0  # as of the last lease

    def take(self) -> None:
        """Count one call. Raises `Transient` with `retry_after_s` when there is none left."""
        with self._lock:
            at = self.clock()
            since = at - self._leased_at if self._leased_at is not None else LEASED_FOR
            if not self._left or not timedelta() <= since < LEASED_FOR:
                count = calls_to_lease(self._leased, is_used_up=not self._left, since=since)
                self._left = self._lease(count, at)
                self._leased, self._leased_at = self._left, at
            self._left -= 1

    def hold(self, wait_s: float) -> None:
        """Refuse every call of every process for `wait_s`, as GitLab asked."""
        with self._lock:
            self._left = 0
            until = _number(self.clock() + timedelta(seconds=wait_s))
            later = Attr(HELD).not_exists() | Attr(HELD).lt(until)
            self._table.write(Change(pk=self._pk, sk="calls", put={HELD: until}, when=later))

    @property
    def left(self) -> CallsLeft:
        """What is left of the fleet's calls by its last lease here, or of GitLab's limit."""
        unpaid = max(0, self._paid_until - _number(self.clock()))
        left = max(0, _MINUTE - unpaid) / self._cost
        own = CallsLeft(left=left, of=float(self._calls_per_minute))
        return self._or_gitlabs(own)

    @property
    def left_of_all(self) -> CallsLeft:
        """What is left of the calls of all processes now, by the ledger alone."""
        row = self._table.get(self._pk, "calls") or {}
        unpaid = max(0, int(row.get(PAID, 0)) - _number(self.clock()))
        return CallsLeft(
            left=max(0, _MINUTE - unpaid) // self._cost, of=float(self._calls_per_minute)
        )

    def _lease(self, count: int, at: datetime) -> int:
        """Take so many calls from the row, or one where there are fewer."""
        now = _number(at)
        for wanted in dict.fromkeys((count, 1)):
            writes = (self._take_when_idle, self._take_when_busy)
            for write in reversed(writes) if self._is_busy else writes:
                if write(wanted * self._cost, now):
                    self._is_busy = write == self._take_when_busy
                    return wanted
        row = self._table.get(self._pk, "calls") or {}
        held, full = row.get(HELD, 0) - now, row.get(PAID, 0) + self._cost - _MINUTE - now
        words = "GitLab asked for a pause" if held > 0 else "our calls to GitLab are used up"
        wait_s = max(held, full, self._cost) * _MICROSECOND / timedelta(seconds=1)
        raise Transient(words, retry_after_s=round(wait_s, 1))

    def _take_when_idle(self, cost: int, now: int) -> bool:
        """Take calls while no debt is open."""
        paid = Attr(PAID).not_exists() | Attr(PAID).lte(now)
        change = Change(
            pk=self._pk, sk="calls", put={PAID: now + cost}, when=paid & self._is_free(now)
        )
        return self._took(change)

    def _take_when_busy(self, cost: int, now: int) -> bool:
        room = Attr(PAID).between(now, now + _MINUTE - cost)
        change = Change(pk=self._pk, sk="calls", add={PAID: cost}, when=room & self._is_free(now))
        return self._took(change)

    def _took(self, change: Change) -> bool:
        row = self._table.update(change)
        self._paid_until = (row or {}).get(PAID, self._paid_until)
        return row is not None

    @staticmethod
    def _is_free(now: int) -> ConditionBase:
        return Attr(HELD).not_exists() | Attr(HELD).lte(now)


def _number(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
