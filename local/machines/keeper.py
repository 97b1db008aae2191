"""`python -m local.machines.keeper folder command…`: one command and all that it ever starts.

Everything below ends when the command ends, on SIGTERM, and when standard input closes: at any end
of the parent. Bytes on standard input: `f` freezes everything, `t` thaws it.
"""

import os
import select
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adapters.guest.process_tree import DEAD, Family, hide_memory, stats

ROOT = Path(__file__).resolve().parents[2]
END_WITHIN_S = 10.0
NOT_ENDED = 70  # the exit code when not everything could be ended
_ORDERS = {b"f": signal.SIGSTOP, b"t": signal.SIGCONT}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A command, its environment, its folder and its log."""

    command: Sequence[str]
    environment: dict[str, str]  # the command's whole environment
    folder: Path  # it starts here
    log: Path  # its output goes to the end of this file


class Keeper:
    """A keeper process below this one. Close it, or it ends with this process."""

    def __init__(self, spec: ProcessSpec) -> None:
        """Start it."""
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.machines.keeper", str(spec.folder), *spec.command],
                cwd=ROOT,
                env=spec.environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The keeper's; all that it keeps is below."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The command's; `None` while anything of it lives."""
        return self._process.poll()

    def freeze(self) -> None:
        """Stop everything where it stands."""
        self._order(b"f")

    def thaw(self) -> None:
        """Let everything go on."""
        self._order(b"t")

    def close(self) -> None:
        """End everything at once and wait for that."""
        self._stdin.close()
        self._process.wait()

    def wait(self, timeout_s: float) -> bool:
        """Whether everything ended within this time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin
        return self._process.stdin

    def _order(self, order: bytes) -> None:
        if self.exit_code is None:
            self._stdin.write(order)
            self._stdin.flush()


def count_below(roots: Iterable[int]) -> int:
    """Living processes that descend from `roots`, without the roots; zombies do not count."""
    children, states = defaultdict(list), {}
    for pid, state, parent in stats():
        children[parent].append(pid)
        states[pid] = state
    ahead = [pid for root in roots for pid in children[root]]
    alive = 0
    while ahead:
        pid = ahead.pop()
        alive += states[pid] not in DEAD
        ahead.extend(children[pid])
    return alive


def main(arguments: Sequence[str]) -> int:
    """Keep the command in the folder; its exit code, 0 after an end from outside."""
    folder, *command = arguments
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # the pipe wakes the loop
    hide_memory()  # its environment may hold a function's keys, and jobs run as the same user
    family = Family()
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True
    )
    ended = os.pidfd_open(process.pid)
    orders = sys.stdin.fileno()
    while orders in select.select([orders, woken, ended], [], [])[0]:
        order = os.read(orders, 1)
        if not order:
            break
        family.signal(_ORDERS[order])
    code = process.poll() or 0
    family.signal(signal.SIGSTOP)  # a host dies as one: no process reports another's end
    if family.end(within_s=END_WITHIN_S):
        return code
    print(f"processes are left after {END_WITHIN_S:.0f} s", file=sys.stderr, flush=True)
    return NOT_ENDED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
