"""The boot script ends the machine on every way out, and nothing stops its timer."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.guest.process_tree import send
from tests.integration.runs import eventually

BOOT = Path(__file__).parents[3] / "ec2_runner/boot.sh"


@dataclass(frozen=True, slots=True)
class Booting:
    """A machine whose agent is a script and whose `poweroff` keeps its calls."""

    folder: Path

    def start(self, agent: str, **environment: str) -> subprocess.Popen[bytes]:
        """Boot it."""
        for name, script in {
            "poweroff": f'echo "off $*" >>{self.folder}/off',
            "agent": agent,
        }.items():
            file = self.folder / name
            file.write_text(f"#!/usr/bin/env bash\n{script}\n")
            file.chmod(0o755)
        usual = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "FLEET_PYTHON": str(self.folder / "agent"),
            "FLEET_DEAD_MAN_S": "300",
            "FLEET_DEAD_MAN_EVERY_S": "0.05",
            "TMPDIR": str(self.folder),
        }
        return subprocess.Popen(
            [str(BOOT)], env=usual | environment, cwd=self.folder, start_new_session=True
        )

    @property
    def off(self) -> list[str]:
        """How `poweroff` was called."""
        file = self.folder / "off"
        return file.read_text().splitlines() if file.exists() else []

    def timers(self) -> list[int]:
        """The processes that wait to power off."""
        timers = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{self.folder}:".encode() in entry.read_bytes():
                    timers.append(int(entry.parent.name))
            except OSError:
                continue
        return timers

    def has_timer(self, session: int) -> bool:
        """Whether a timer has a session of its own; before that it is a copy of the boot script."""
        for pid in self.timers():
            with suppress(ProcessLookupError):
                if os.getsid(pid) != session:
                    return True
        return False


@pytest.fixture
def booting(tmp_path: Path) -> Iterator[Booting]:
    machine = Booting(tmp_path)
    yield machine
    for pid in machine.timers():
        send(pid, signal.SIGKILL)


@pytest.mark.parametrize("agent", ["exit 0", "exit 7", "kill -9 $$"])
def test_it_powers_off_however_the_agent_ends(booting: Booting, agent: str) -> None:
    booting.start(agent).wait(10)
    assert booting.off == ["off "]


def test_it_powers_off_on_sigterm(booting: Booting) -> None:
    process = booting.start(f"touch {booting.folder}/up; exec sleep 300")
    eventually((booting.folder / "up").exists)
    eventually(lambda: booting.has_timer(process.pid))
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(10)
    assert booting.off == ["off "]


def test_it_powers_off_without_an_agent(booting: Booting) -> None:
    booting.start("exit 0", FLEET_HOME="/no/such/folder").wait(10)
    assert booting.off == ["off "]


def test_the_timer_ends_a_machine_that_hangs(booting: Booting) -> None:
    process = booting.start("trap '' TERM; sleep 300", FLEET_DEAD_MAN_S="1")
    eventually(lambda: booting.off == ["off -f"])
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_timer_outlives_the_boot_script(booting: Booting) -> None:
    process = booting.start("sleep 300", FLEET_DEAD_MAN_S="1")
    eventually(lambda: booting.has_timer(process.pid))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    eventually(lambda: booting.off == ["off -f"])


@pytest.mark.parametrize(
    "then",
    [
        pytest.param('echo 0 >"$FLEET_DEAD_MAN"', id="by a new time in the file"),
        pytest.param(
            'echo $(($(date +%s) + 1)) >"$FLEET_DEAD_MAN"; sleep 0.3; rm "$FLEET_DEAD_MAN"',
            id="by the last time it read when the file is gone",
        ),
    ],
)
def test_the_agent_sets_the_timer(booting: Booting, then: str) -> None:
    process = booting.start(f"{then}; sleep 300")
    eventually(lambda: booting.off == ["off -f"])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_timer_follows_the_file_to_a_later_time(booting: Booting) -> None:
    agent = f"""
        echo $(($(date +%s) + 300)) >"$FLEET_DEAD_MAN.new"
        mv "$FLEET_DEAD_MAN.new" "$FLEET_DEAD_MAN"
        sleep 1.5; cp {booting.folder}/off {booting.folder}/too-early 2>/dev/null
    """
    booting.start(agent, FLEET_DEAD_MAN_S="1").wait(10)
    assert booting.off == ["off "]
    assert not (booting.folder / "too-early").exists()


def test_the_agent_is_the_module_of_the_checkout(booting: Booting) -> None:
    booting.start(f'echo "$PWD $*" >{booting.folder}/called').wait(10)
    assert (booting.folder / "called").read_text() == f"{BOOT.parents[1]} -m ec2_runner\n"
