"""The way to GitLab, and the calls that may go it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way to GitLab."""

    tls_ca: str = ""  # PEM of an authority to trust besides the public ones
    proxy: str = ""  # address; empty: the environment's


DIRECT = Way()


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
