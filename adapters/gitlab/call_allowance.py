"""The calls to GitLab that a process may make in a minute, and how many are left."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from fleet.errors import Transient


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsLeft:
    """The calls to GitLab that are left now, of how many in a minute."""

    left: float
    of: float

    @classmethod
    def read(cls, left: str | None, of: str | None) -> "CallsLeft | None":
        """What two headers of an answer say; None where they say nothing."""
        if left and of and left.isdecimal() and of.isdecimal():
            return cls(left=float(left), of=float(of))
        return None

    @property
    def percent(self) -> float:
        """How much is left."""
        return 100 * self.left / self.of if self.of else 0.0


class CallAllowance(Protocol):
    """Paces calls to GitLab."""

    @property
    def clock(self) -> Callable[[], datetime]: ...

    def take(self) -> None:
        """Count one call. Raises `Transient` with `retry_after_s` when there is none left."""

    def hold(self, wait_s: float) -> None:
        """Refuse every call for `wait_s`, as GitLab asked."""

    def note(self, left: str | None, of: str | None) -> None:
        """Keep what GitLab's answer says of its own limit: its `RateLimit-` headers, if any."""

    @property
    def left(self) -> CallsLeft:
        """What is left of our own calls, or of GitLab's limit where that is less."""

    @property
    def left_at_gitlab(self) -> CallsLeft | None:
        """What is left of GitLab's limit by its last answer; None where it says nothing of it."""


class NotesGitLabsLimit:
    """The part of every allowance that GitLab's answers tell: its own limit, if it has one."""

    def __init__(self) -> None:
        self._left_at_gitlab: CallsLeft | None = None

    @property
    def left_at_gitlab(self) -> CallsLeft | None:
        """What is left of GitLab's limit by its last answer; None where it says nothing of it."""
        return self._left_at_gitlab

    def note(self, left: str | None, of: str | None) -> None:
        """Keep what GitLab's answer says of its own limit: its `RateLimit-` headers, if any."""
        self._left_at_gitlab = CallsLeft.read(left, of) or self._left_at_gitlab

    def _or_gitlabs(self, own: CallsLeft) -> CallsLeft:
        """What is left of our own calls, or of GitLab's limit where that is less."""
        return min((own, self._left_at_gitlab or own), key=lambda left: left.percent)


class OwnAllowance(NotesGitLabsLimit):
    """A token bucket: the calls of one process per minute, with bursts up to a minute's worth.

    `take` never waits, it refuses.
    """

    def __init__(self, *, calls_per_minute: int, clock: Callable[[], datetime]) -> None:
        super().__init__()
        self._capacity = float(calls_per_minute)
        self._per_second = calls_per_minute / 60
        self.clock = clock
        self._left = self._capacity
        self._counted_at = clock()
        self._held_until = self._counted_at
        self._lock = Lock()

    def take(self) -> None:
        """Count one call. Raises `Transient` with `retry_after_s` when there is none left."""
        with self._lock:
            at = self.clock()
            passed_s = max(0.0, (at - self._counted_at).total_seconds())
            self._left = min(self._capacity, self._left + passed_s * self._per_second)
            self._counted_at = at
            if at < self._held_until:
                wait_s = (self._held_until - at).total_seconds()
                raise Transient("GitLab asked for a pause", retry_after_s=round(wait_s, 1))
            if self._left < 1:
                wait_s = (1 - self._left) / self._per_second
                raise Transient("our calls to GitLab are used up", retry_after_s=round(wait_s, 1))
            self._left -= 1

    @property
    def left(self) -> CallsLeft:
        """What is left of this process's own calls, or of GitLab's limit where that is less."""
        return self._or_gitlabs(CallsLeft(left=self._left, of=self._capacity))

    def hold(self, wait_s: float) -> None:
        """Refuse every call for `wait_s`, as GitLab asked."""
        with self._lock:
            until = self.clock() + timedelta(seconds=wait_s)
            self._held_until = max(self._held_until, until)
