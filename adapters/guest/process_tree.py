"""Processes of this machine: their parents, and an end for all of a family. Linux only.

A process cannot leave its family here: this process adopts orphans (subreaper), so all that a
child ever started descends from it, whatever sessions or groups it made.
"""

import ctypes
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
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
    """Every descendant of this process that is younger than this object.

    This process adopts orphans, so nothing leaves the family. For a process with one child.
    """

    def __init__(self) -> None:
        """Adopt orphans from now on; older children are no members."""
        adopt_orphans()
        self._me = os.getpid()
        self._older = frozenset(pid for pid, _, parent in stats() if parent == self._me)

    def alive(self) -> frozenset[int]:
        """The living members, without zombies."""
        return frozenset(pid for pid, state in self._members().items() if state not in DEAD)

    def kill(
        self,
        *,
        spare: frozenset[int] | Callable[[], frozenset[int]] = frozenset(),
        within_s: float = 0.0,
    ) -> bool:
        """Kill all members but `spare`, again until none is left; whether that worked in time.

        Reaps the dead among this process's own children, `spare` excepted.
        """
        spared = spare if callable(spare) else lambda: spare
        give_up = time.monotonic() + within_s
        while victims := self.alive() - spared():
            for pid in victims:
                send(pid, signal.SIGKILL)
            if time.monotonic() >= give_up:
                break
            time.sleep(0.005)
        _reap(self._members().keys() - spared())
        return not victims

    def below(self, top: frozenset[int]) -> frozenset[int]:
        """The members that are `top` or descend from it."""
        children = _children()
        members, ahead = set(), list(top)
        while ahead:
            pid = ahead.pop()
            members.add(pid)
            ahead.extend(children[pid])
        return frozenset(members)

    def signal(self, number: signal.Signals) -> None:
        """Send one signal to all members."""
        for pid in self.alive():
            send(pid, number)

    def _members(self) -> dict[int, str]:
        states, children = {}, defaultdict(list)
        for pid, state, parent in stats():
            states[pid] = state
            children[parent].append(pid)
        members: dict[int, str] = {}
        ahead = [pid for pid in children[self._me] if pid not in self._older]
        while ahead:
            pid = ahead.pop()
            members[pid] = states[pid]
            ahead.extend(children[pid])
        return members


DEAD = frozenset("ZX")


def children_of(pid: int, *, older_than_s: float = 0.0) -> frozenset[int]:
    """The direct children of a process that are at least so old."""
    children = _children()[pid]
    return frozenset(one for one in children if older_than_s <= 0 or _age_s(one) >= older_than_s)


def _children() -> defaultdict[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, _, parent in stats():
        children[parent].append(pid)
    return children


def _age_s(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0.0  # ended meanwhile
    started = int(text.rpartition(")")[2].split()[19])  # proc(5): starttime, in clock ticks
    return uptime_s - started / os.sysconf("SC_CLK_TCK")


def is_heard(pid: int, number: signal.Signals) -> bool:
    """Whether a process handles this signal by code of its own, so that it does not die of it.

    To catch it proves nothing in a Go program: Go's runtime catches all from the start, and ends a
    program that did not ask for the signal. When a program first asks for any, the runtime makes a
    thread that blocks all others (`ensureSigM`, runtime/signal_unix.go): that thread is the proof,
    some microseconds early where the program asks for several. Raises `OSError` where the kernel
    does not show it.
    """
    masks = [_masks(status) for status in Path(f"/proc/{pid}/task").glob("*/status")]
    if not all(mask["SigCgt"] & _bit(number) for mask in masks):
        return False
    is_go = all(mask["SigCgt"] & _bit(one) for one in _OF_GO for mask in masks)
    return not is_go or any(
        mask["SigBlk"] & _bit(signal.SIGUSR1) and not mask["SigBlk"] & _bit(number)
        for mask in masks
    )


# Caught by every Go program, and together by hardly any other.
_OF_GO = (signal.SIGURG, signal.SIGPROF, signal.SIGUSR1, signal.SIGPWR)


def _bit(number: signal.Signals) -> int:
    return 1 << (number - 1)


def _masks(status: Path) -> dict[str, int]:
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {name: int(fields[name], 16) for name in ("SigBlk", "SigCgt")}


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
    """Send one signal; whether the process still exists."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, such as a job's process under sudo
        return True
    return True


def _reap(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue  # another's child
