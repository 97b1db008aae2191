"""Processes of this machine: their parents, and an end for all of a family. Linux only.

A process cannot leave its family here: this process adopts orphans (subreaper), so all that a
child ever started descends from it, in any session or group.
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
_WALL = 0x40000000  # linux/wait.h: also a child that was cloned to end without SIGCHLD
EMPTY_LOOKS = 20


def adopt_orphans() -> bool:
    """Make this process the parent of every orphan among its descendants; whether it worked."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> bool:
    """Keep other processes of the same user out of this one's memory and environment."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> bool:
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


class Family:
    """Every descendant of this process, or every one that is younger than this object.

    This process adopts orphans, so nothing leaves the family. For a process with one child.
    """

    def __init__(self, *, all_children: bool = False) -> None:
        """Adopt orphans from now on. `all_children`: also the older ones are members."""
        adopt_orphans()
        self._me = os.getpid()
        self._older = frozenset() if all_children else own_children()

    def alive(self) -> frozenset[int]:
        """The living members, without zombies."""
        return frozenset(pid for pid, state in self._members().items() if state not in DEAD)

    def kill(self, *, spare: Callable[[], frozenset[int]], within_s: float) -> None:
        """Kill all members but `spare`, again until there is no other or the time is over."""
        give_up = time.monotonic() + within_s
        while victims := self.alive() - spare():
            for pid in victims:
                send(pid, signal.SIGKILL)
            if time.monotonic() >= give_up:
                break
            time.sleep(0.005)
        for pid in self._members().keys() - spare():
            _reap(pid)

    def end(self, *, within_s: float) -> bool:
        """Kill and reap all members; whether none is left.

        Only children are killed, because the pid of a child is its own until it is reaped. The
        children of a killed one become children of this process, so the whole family gets its
        turn, a chain in which each process ends after it has started the next one included. The
        proof is the kernel's: a process without a child has no descendant.
        """
        give_up = time.monotonic() + within_s
        before: frozenset[int] = frozenset()
        empty_looks = 0
        while True:
            children = own_children() - self._older
            for pid in children:
                send(pid, signal.SIGKILL)
                _reap(pid)
            empty_looks = 0 if children else empty_looks + 1
            # Next to an older child, the kernel's answer says nothing about the family.
            if not has_child() or (self._older and empty_looks >= EMPTY_LOOKS):
                return True
            if time.monotonic() >= give_up:
                return False
            if children == before:
                time.sleep(0.001)
            before = children

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
    return frozenset(
        child for child in children if older_than_s <= 0 or _age_s(child) >= older_than_s
    )


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
    is_go = all(mask["SigCgt"] & _bit(caught) for caught in _OF_GO for mask in masks)
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


def own_children() -> frozenset[int]:
    """The children of this process, zombies included."""
    me = os.getpid()
    try:
        threads = os.listdir(f"/proc/{me}/task")
        texts = [_read(f"/proc/{me}/task/{thread}/children") for thread in threads]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, or a thread that ended
        return frozenset(pid for pid, _, parent in stats() if parent == me)
    return frozenset(int(pid) for text in texts for pid in text.split())


def has_child() -> bool:
    """Whether this process has any child, zombies included: the kernel's own answer."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)
    except ChildProcessError:
        return False
    return True


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _reap(pid: int) -> None:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | _WALL)
    except ChildProcessError:
        return  # another's child
