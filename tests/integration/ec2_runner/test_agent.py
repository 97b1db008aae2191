"""The agent of one machine, with a fake runner and a mailbox that keeps reports."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.guest.runner_process import BINARY_VARIABLE
from ec2_runner.agent import AgentSettings, AgentSetup, work
from ec2_runner.imds import SpotNotice
from fleet.errors import Transient
from fleet.machine.mailbox import Credential, Docker
from tests.integration import runs
from tests.integration.runs import BUSY, JOB, Letters, credential


@dataclass(slots=True)
class MachineLetters(Letters):
    """The machine's mailbox, with or without a credential."""

    credential: Credential | None = None
    failing: Transient | None = None

    def take_credential(
        self,
        deadline: datetime,
        *,
        clock: Callable[[], datetime],
        pause: Callable[[float], None],
    ) -> Credential | None:
        if self.failing:
            raise self.failing
        pause((deadline - clock()).total_seconds() if self.credential is None else 0)
        taken, self.credential = self.credential, None
        return taken


@dataclass(slots=True)
class Metadata:
    """The instance metadata."""

    notice: SpotNotice | None = None

    def spot_notice(self) -> SpotNotice | None:
        return self.notice

    def rebalance_at(self) -> datetime | None:
        return None


class Clock:
    """The real time plus all pauses, which take none."""

    def __init__(self) -> None:
        self.paused = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.paused

    def pause(self, seconds: float) -> None:
        self.paused += timedelta(seconds=seconds)


def machine(letters: MachineLetters, folder: Path, **changes: Any) -> AgentSetup:
    clock = Clock()
    settings = AgentSettings(
        mailbox_table="mailboxes",
        mailbox_key="key",
        heartbeat_s=0.05,
        spot_every_s=0.01,
        work_dir=folder / "work",
    )
    standard = AgentSetup(
        settings=settings,
        imds=Metadata(),
        mailbox=letters,
        environment={"PATH": runs.PATH, BINARY_VARIABLE: str(runs.FAKE)},
        docker_answers=lambda: pytest.fail("the agent asked for Docker"),
        containers=dict,
        echo=lambda line: None,
        clock=clock,
        pause=clock.pause,
    )
    return replace(standard, **changes)


def test_one_job_and_goodbye(tmp_path: Path) -> None:
    letters = MachineLetters(credential=credential(JOB, tmp_path))
    assert work(machine(letters, tmp_path)) == "succeeded"
    assert letters.steps == [
        "called_home",
        "credential_read",
        "job_taken",
        "first_output",
        "job_finished",
        "used",
        "runner_exited",
        "ended",
    ]
    used = next(str(step.usage) for step in letters.history if step.name == "used")
    assert re.fullmatch(r".* of processor, .* of memory, .* in, .* out, .* of disk left", used)
    last = letters.reports[-1]
    assert (last.state, last.outcome, last.job_id) == ("done", "succeeded", 101)
    assert last.runner_id == "rf-test-1"


@pytest.mark.parametrize("failing", [None, Transient("away")], ids=["none", "ledger away"])
def test_without_a_credential_the_agent_ends(failing: Transient | None, tmp_path: Path) -> None:
    letters = MachineLetters(failing=failing)
    assert work(machine(letters, tmp_path)) == "no_job"
    assert letters.steps == ["called_home", "ended"]
    assert letters.reports[0].runner_id is None
    assert "no credential within 300 s" in str(letters.reports[-1].detail)
    assert letters.states[-1] == "done"


def test_the_agent_waits_for_the_docker_engine(tmp_path: Path) -> None:
    pings: list[bool] = []

    def answers() -> bool:
        pings.append(len(pings) > 3)
        return pings[-1]

    docker = credential(JOB, tmp_path, executor="docker", docker=Docker(image="debian:12"))
    letters = MachineLetters(credential=docker)
    assert work(machine(letters, tmp_path, docker_answers=answers)) == "succeeded"
    assert len(pings) == 5


def test_a_missing_docker_engine_is_the_machines_failure(tmp_path: Path) -> None:
    docker = credential(JOB, tmp_path, executor="docker", docker=Docker(image="debian:12"))
    letters = MachineLetters(credential=docker)
    assert work(machine(letters, tmp_path, docker_answers=lambda: False)) == "system_failure"
    assert letters.reports[-1].detail == "the Docker engine did not answer within 120 s"
    assert "job_taken" not in letters.steps


def test_a_spot_notice_ends_the_job_in_time(tmp_path: Path) -> None:
    letters = MachineLetters(credential=credential(BUSY, tmp_path))
    notice = SpotNotice(action="terminate", at=datetime.now(UTC) + timedelta(seconds=46))
    assert work(machine(letters, tmp_path, imds=Metadata(notice))) == "interrupted"
    assert {"spot_notice", "stopped", "job_finished", "ended"} <= set(letters.steps)


def test_expiry_ends_the_job(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=46)
    letters = MachineLetters(credential=credential(BUSY, tmp_path, expires_at=soon))
    assert work(machine(letters, tmp_path)) == "interrupted"


def test_the_boot_scripts_timer_is_set_to_the_machines_end(tmp_path: Path) -> None:
    expires_at = datetime(2099, 1, 1, tzinfo=UTC)
    long_lived = credential(JOB, tmp_path, expires_at=expires_at)
    standard = machine(MachineLetters(credential=long_lived), tmp_path)
    timer = tmp_path / "timer"
    timer.write_text("0\n")
    settings = replace(standard.settings, dead_man=timer)
    assert work(replace(standard, settings=settings)) == "succeeded"
    assert timer.read_text() == f"{int(expires_at.timestamp()) + 120}\n"


def test_the_runners_log_reaches_the_console(tmp_path: Path) -> None:
    console: list[str] = []
    letters = MachineLetters(credential=credential(JOB, tmp_path))
    work(machine(letters, tmp_path, echo=console.append))
    assert any("Job succeeded" in line for line in console)


def test_settings_come_from_the_user_data() -> None:
    named = {"FLEET_MAILBOX_TABLE": "mailboxes", "FLEET_MAILBOX_KEY": "key"}
    standard = AgentSettings.of(named)
    assert standard == AgentSettings(mailbox_table="mailboxes", mailbox_key="key")
    assert (standard.heartbeat_s, standard.boot_deadline_s) == (30, 300)
    assert standard.work_dir == Path("/var/lib/runner-fleet")
    changed = {"FLEET_HEARTBEAT_S": "0.5", "FLEET_DEAD_MAN": "/run/x"}
    assert AgentSettings.of(named | changed) == replace(
        standard, heartbeat_s=0.5, dead_man=Path("/run/x")
    )
