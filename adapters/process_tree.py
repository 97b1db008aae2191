"""Processes of this machine: who descends from whom, and an end for all of them. Linux only.

A process cannot leave its family here: this process adopts orphans (subreaper), so everything
that a child started is found below it, whatever sessions or groups it made.
"""

import ctypes
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> bool:
    """Make this process the parent of every orphan among its descendants; whether it worked."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> bool:
    """Keep other processes of the same user out of this one's memory and environment."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> bool:
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


class Family:
    """Every process that descends from this one and was not there when this was made.

    Orphans are adopted, so nothing leaves the family. Meant for a process that starts one thing.
    """

    def __init__(self) -> None:
        """Adopt orphans from now on; children that exist already are never touched."""
        adopt_orphans()
        self._me = os.getpid()
        self._older = frozenset(pid for pid, _, parent in stats() if parent == self._me)

    def alive(self) -> frozenset[int]:
        """The members that live now; zombies do not."""
        return frozenset(pid for pid, state in self._members().items() if state not in DEAD)

    def kill(self, *, spare: frozenset[int] = frozenset(), within_s: float = 0.0) -> bool:
        """Kill all members but `spare`, again until none is left; whether that worked in time.

        Members that died and are this process's own children are buried, `spare` excepted.
        """
        give_up = time.monotonic() + within_s
        while victims := self.alive() - spare:
            for pid in victims:
                send(pid, signal.SIGKILL)
            if time.monotonic() >= give_up:
                break
            time.sleep(0.005)
        _bury(self._members().keys() - spare)
        return not victims

    def signal(self, number: signal.Signals) -> None:
        """Send one signal to all members."""
        for pid in self.alive():
            send(pid, number)

    def _members(self) -> dict[int, str]:
        states, children = {}, defaultdict(list)
        for pid, state, parent in stats():
            states[pid] = state
            children[parent].append(pid)
        found: dict[int, str] = {}
        ahead = [pid for pid in children[self._me] if pid not in self._older]
        while ahead:
            pid = ahead.pop()
            found[pid] = states[pid]
            ahead.extend(children[pid])
        return found


DEAD = frozenset("ZX")


def stats() -> Iterable[tuple[int, str, int]]:
    """(pid, state letter, parent's pid) of every process. Source: proc(5), /proc/pid/stat."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text(errors="replace")
        except OSError:
            continue  # ended meanwhile
        state, parent = text.rpartition(")")[2].split()[:2]  # a name may hold spaces and ")"
        yield int(entry.name), state, int(parent)


def send(pid: int, number: signal.Signals) -> bool:
    """Send one signal; whether there was still somebody to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, such as one that a job started by sudo
        return True
    return True


def _bury(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue  # another's child
