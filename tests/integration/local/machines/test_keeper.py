"""What runs under a keeper ends with its command, its keeper, its host, or on order."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.machines.keeper import ROOT, Keeper, ProcessSpec, count_below
from tests.integration.runs import eventually, is_alive

PATH = f"{ROOT}/local/bin/guest:{os.environ['PATH']}"


class Yard:
    """Starts keepers and closes them all at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keepers: list[Keeper] = []

    def process(self, script: str) -> ProcessSpec:
        return ProcessSpec(
            command=["bash", "-c", script],
            environment={"PATH": PATH, "LEFT": str(self.folder / "left")},
            folder=self.folder,
            log=self.folder / "log",
        )

    def keep(self, script: str) -> Keeper:
        keeper = Keeper(self.process(script))
        self.keepers.append(keeper)
        return keeper

    def pid(self, name: str = "pid") -> int:
        """The process id that a command wrote to a file."""
        file = self.folder / name
        eventually(lambda: file.exists() and file.read_text() != "")
        return int(file.read_text())


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    used = Yard(tmp_path)
    yield used
    for keeper in used.keepers:
        keeper.close()


def test_no_process_reports_the_end_of_another(yard: Yard) -> None:
    """A host dies as one: at a power cut no runner reports a failed job."""
    children = "for one in $(seq 200); do sleep 60 & done; echo $$ > pid"
    keeper = yard.keep(f"{children}; wait -n; touch reported")
    yard.pid()
    keeper.close()
    assert not (yard.folder / "reported").exists()


def test_the_commands_code_and_words(yard: Yard) -> None:
    keeper = yard.keep("echo hello; echo there >&2; exit 3")
    assert keeper.wait(10)
    assert keeper.exit_code == 3
    assert sorted((yard.folder / "log").read_text().split()) == ["hello", "there"]


def test_everything_ends_with_the_command(yard: Yard) -> None:
    keeper = yard.keep("setsid bash -c 'echo $$ >pid; trap \"\" TERM; sleep 300' & sleep 0.3")
    pid = yard.pid()
    assert is_alive(pid)
    assert keeper.wait(10)
    assert not is_alive(pid)


def test_close_ends_everything_at_once(yard: Yard) -> None:
    keeper = yard.keep("(setsid bash -c 'echo $$ >pid; sleep 300' &); sleep 300")
    pid = yard.pid()
    assert keeper.exit_code is None
    keeper.close()
    keeper.close()
    assert not is_alive(pid)
    assert count_below([keeper.pid]) == 0


@pytest.mark.parametrize("from_where", ["bash -c", "setsid bash -c", "(setsid setsid bash -c"])
def test_poweroff_ends_the_guest_from_anywhere_inside(yard: Yard, from_where: str) -> None:
    closing = " &)" if from_where.startswith("(") else ""
    keeper = yard.keep(f"{from_where} 'sleep 0.1; poweroff -f'{closing}; sleep 300")
    assert keeper.wait(10)
    assert keeper.exit_code == 0


def test_poweroff_outside_of_a_guest_does_nothing() -> None:
    done = subprocess.run(
        [f"{ROOT}/local/bin/guest/poweroff"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not on a guest" in done.stderr


def test_a_frozen_guest_stands_still_until_it_is_thawed(yard: Yard) -> None:
    keeper = yard.keep("while :; do echo tick >>ticks; sleep 0.02; done")
    ticks = yard.folder / "ticks"
    eventually(ticks.exists)
    keeper.freeze()
    # Z: a child that ended while its parent, which would reap it, stands still
    eventually(lambda: states_below(keeper.pid) <= {"T", "Z"})
    before = ticks.read_text()
    assert "T" in states_below(keeper.pid) <= {"T", "Z"}
    assert ticks.read_text() == before
    keeper.thaw()
    eventually(lambda: len(ticks.read_text()) > len(before))


def test_a_frozen_guest_can_be_closed(yard: Yard) -> None:
    keeper = yard.keep("echo $$ >pid; sleep 300")
    pid = yard.pid()
    keeper.freeze()
    keeper.close()
    assert not is_alive(pid)


def test_nothing_outlives_a_host_that_is_killed(yard: Yard) -> None:
    host = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from local.machines.keeper import Keeper, ProcessSpec
        folder = Path({str(yard.folder)!r})
        Keeper(ProcessSpec(command=["bash", "-c", "setsid sleep 300 & echo $! >pid; sleep 300"],
            environment={{"PATH": {PATH!r}}}, folder=folder, log=folder / "log"))
        time.sleep(300)
    """)
    process = subprocess.Popen([sys.executable, "-c", host], cwd=ROOT)
    pid = yard.pid()
    assert is_alive(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: not is_alive(pid))


def states_below(root: int) -> set[str]:
    """The states of the processes directly and indirectly below."""
    states, ahead = set(), [root]
    while ahead:
        parent = ahead.pop()
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for child in children:
            states.add(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
            ahead.append(int(child))
    return states
