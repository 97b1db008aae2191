"""The memory of this process and of all below it: engine, its functions, simulator, guests."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Self

from adapters.guest.process_tree import stats
from local.beat import Beat

EVERY_S = 1.0


class PeakMemory(Beat):
    """A context that measures every second, from a thread. `peak_mb` is the largest measurement."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        """Nothing is read before the context is entered."""
        super().__init__(self._look, every_s)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._look()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._look()

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, tree_mb(os.getpid()))


def tree_mb(root: int) -> float:
    """Megabytes of a process and its descendants; a page that several share counts once.

    That is the sum of PSS; of RSS where the kernel does not report PSS.
    """
    below: defaultdict[int, list[int]] = defaultdict(list)
    for pid, _, parent in stats():
        below[parent].append(pid)
    total_kb, ahead = 0, [root]
    while ahead:
        pid = ahead.pop()
        total_kb += _size_kb(Path("/proc", str(pid)))
        ahead += below[pid]
    return total_kb / 1024


def _size_kb(process: Path) -> int:
    for name, label in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (process / name).read_text().splitlines()
        except OSError:
            continue
        size = next((line for line in lines if line.startswith(label)), None)
        if size:
            return int(size.split()[1])
    return 0
