"""The memory of a tree of processes."""

import os
import subprocess
import sys
import threading

from local.burst.memory import PeakMemory, tree_mb

SIZE_MB = 60
# Fills its memory, says so, and stays until its standard input ends; its child does the same.
GREEDY = f"""
import subprocess, sys
if len(sys.argv) > 1:
    child = subprocess.Popen([sys.executable, *sys.argv[:0:-1]], stdin=sys.stdin)
held = bytearray({SIZE_MB} * 1024 * 1024)
held[::4096] = b"x" * len(held[::4096])
print("full", flush=True)
sys.stdin.read()
"""


def test_processes_of_processes_count() -> None:
    before = tree_mb(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", GREEDY, GREEDY, "-c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["full\n"] * 2
        assert tree_mb(os.getpid()) - before > 2 * SIZE_MB
        assert tree_mb(parent.pid) > 2 * SIZE_MB
        parent.communicate()
    assert tree_mb(os.getpid()) - before < SIZE_MB


def test_the_peak_is_kept_after_it_has_passed() -> None:
    looked = threading.Event()

    class Looking(PeakMemory):
        def _look(self) -> None:
            super()._look()
            looked.set()

    assert PeakMemory().peak_mb == 0.0
    with Looking(every_s=0.01) as memory:
        before = memory.peak_mb
        held = bytearray(SIZE_MB * 1024 * 1024)
        held[::4096] = b"x" * len(held[::4096])
        for _ in range(2):  # the first look may have begun before
            looked.clear()
            assert looked.wait(30)
        peak = memory.peak_mb
        del held
    assert peak - before > SIZE_MB / 2
    assert memory.peak_mb >= peak


def test_a_process_that_is_gone_takes_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert tree_mb(gone.pid) == 0
