"""A signal ends a command that runs a whole service, and nothing of it is left."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from adapters.guest.process_tree import stats
from cli.signals import temporary_folder
from tests.integration.runs import eventually


def processes_in(folder: Path) -> list[int]:
    """Those whose arguments name the folder."""
    numbers = []
    for number, _, _ in stats():
        try:
            arguments = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in arguments:
            numbers.append(number)
    return numbers


def test_what_a_signal_keeps_from_being_removed_goes_at_the_end() -> None:
    usual = tempfile.gettempdir()
    with temporary_folder("fleet-") as folder:
        inner = Path(tempfile.mkdtemp())
        assert inner.parent == folder
    assert not folder.exists()
    assert tempfile.gettempdir() == usual


@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["demo"], signal.SIGTERM),
        (["local", "chaos", "--fault", "duplicate-webhooks"], signal.SIGHUP),
    ],
)
def test_a_signal_leaves_no_folder_and_no_process(
    command: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", *command],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        eventually(lambda: bool(processes_in(tmp_path)), within_s=60)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert list(tmp_path.iterdir()) == []
    eventually(lambda: processes_in(tmp_path) == [])
