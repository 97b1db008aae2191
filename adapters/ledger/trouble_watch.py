"""Writes to the ledger that GitLab cannot be used with the fleet's token, and that it can again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from adapters.ledger.fleet import FleetRows
from fleet.errors import FleetError
from fleet.events import ERROR, GitLabUnusable, GitLabUsable, emit
from fleet.trouble import TLS, TOKEN, Trouble, kind_of

# Other functions write these rows, too: what is known of them is as old as this at most.
KNOWN_FOR = timedelta(minutes=1)


class TroubleWatch:
    """Hears of every call; reads the rows once a minute, and writes only when something changes.

    A ledger that does not answer keeps no call of GitLab's from being made.
    """

    def __init__(self, fleet: FleetRows, clock: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._kinds: set[str] = set()  # of the rows that are there
        self._read_at: datetime | None = None
        self._lock = Lock()

    def failed(self, call: str, words: str, *, kind: str) -> None:
        """GitLab cannot be used, in the way that `kind` names, until somebody mends it."""
        at = self._clock()
        with self._lock:
            try:
                if kind in self._known(at):
                    return
                trouble = Trouble(kind=kind, since=at, call=call, words=words)
                is_new = self._fleet.note_trouble(trouble)
            except FleetError:
                return
            self._kinds.add(kind)
        if is_new:
            emit(GitLabUnusable(kind=kind, call=call, words=words), level=ERROR)

    def accepted(self, call: str) -> None:
        """GitLab answered a call that was made with the token."""
        with self._lock:
            try:
                for kind in self._known(self._clock()) & {TOKEN, TLS, kind_of(call)}:
                    self._fleet.drop_trouble(kind)
                    self._kinds.discard(kind)
                    emit(GitLabUsable(kind=kind, call=call))
            except FleetError:
                return

    def _known(self, at: datetime) -> frozenset[str]:
        if self._read_at is None or at - self._read_at >= KNOWN_FOR:
            self._kinds = {one.kind for one in self._fleet.troubles()}
            self._read_at = at
        return frozenset(self._kinds)
