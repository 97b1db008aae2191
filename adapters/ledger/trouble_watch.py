"""Records in the ledger when GitLab refuses the fleet's token, and when it works again."""

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from adapters.ledger.fleet import FleetRows
from fleet.errors import FleetError
from fleet.events import ERROR, GitLabUnusable, GitLabUsable, emit
from fleet.trouble import TLS, TOKEN, Trouble, kind_of

# Other functions write these rows, too: a copy is at most this old.
KNOWN_FOR = timedelta(minutes=1)


class TroubleWatch:
    """The witness of every call; reads the rows once a minute, writes only changes.

    A failure of the ledger stops no call of GitLab.
    """

    def __init__(self, fleet: FleetRows, clock: Callable[[], datetime]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._kinds: set[str] = set()  # of the rows that are there
        self._read_at: datetime | None = None
        self._lock = Lock()

    def failed(self, call: str, words: str, *, kind: str) -> None:
        """Record that calls of this kind fail until a person acts."""
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
        """Record that GitLab accepted a call with the token."""
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
            self._kinds = {trouble.kind for trouble in self._fleet.troubles()}
            self._read_at = at
        return frozenset(self._kinds)
