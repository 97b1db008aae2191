"""The agent of one EC2 machine: calls home, takes the credential, runs one job, reports the end."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from adapters.guest.one_job import Workplace, run_one_job
from adapters.guest.reporter import MachineStatus, Post, Reporter
from adapters.guest.settings import EnvironmentReader
from adapters.guest.usage import Looks, Meter
from ec2_runner.spot_watch import EVERY_S, Metadata, SpotWatch
from fleet.errors import Transient
from fleet.machine.mailbox import Credential, MachineState
from fleet.steps import Outcome, StepName, Undated

DOCKER_WITHIN_S = 120.0
TIMER_GRACE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The variables of the machine's user data, each as FLEET_ and its name in capitals."""

    mailbox_table: str
    mailbox_key: str
    heartbeat_s: float = 30.0
    boot_deadline_s: float = 300.0  # to wait for the credential
    spot_every_s: float = EVERY_S
    image: str | None = None  # the agent's own, which is gitlab-runner's helper image as well
    work_dir: Path = Path("/var/lib/runner-fleet")
    dead_man: Path | None = None  # where the boot script's timer reads when to power off

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "AgentSettings":
        """The settings. Raises `Refused` with the name of a missing or bad variable."""
        reader = EnvironmentReader(environment)
        return cls(
            mailbox_table=reader.text("mailbox_table"),
            mailbox_key=reader.text("mailbox_key"),
            image=environment.get("FLEET_IMAGE"),
            **reader.seconds("heartbeat_s", "boot_deadline_s", "spot_every_s"),
            **reader.paths("work_dir", "dead_man"),
        )


def _now() -> datetime:
    return datetime.now(UTC)


class AgentMailbox(Post, Protocol):
    """The machine's own mailbox: `adapters.ledger.mailbox.Mailbox`."""

    def take_credential(
        self,
        deadline: datetime,
        *,
        clock: Callable[[], datetime],
        pause: Callable[[float], None],
    ) -> Credential | None:
        """The credential as soon as it is there; `None` when it is not there in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """The agent's surroundings."""

    settings: AgentSettings
    imds: Metadata
    mailbox: AgentMailbox
    environment: Mapping[str, str] = field(repr=False)
    docker_answers: Callable[[], bool]
    containers: Looks
    echo: Callable[[str], None]
    clock: Callable[[], datetime] = _now
    pause: Callable[[float], None] = time.sleep


def work(machine: AgentSetup) -> Outcome:
    """Serve one job and send the last report; the outcome. The caller powers the machine off."""
    settings = machine.settings
    with Reporter(
        machine.mailbox, heartbeat_s=settings.heartbeat_s, clock=machine.clock
    ) as reporter:
        reporter.report(Undated(name=StepName.CALLED_HOME), status=MachineStatus())
        with SpotWatch(machine.imds, reporter, every_s=settings.spot_every_s) as spot:
            _serve(machine, reporter, spot)
        done = replace(reporter.status, state=MachineState.DONE)
        reporter.report(
            Undated(name=StepName.ENDED, job_id=done.job_id, detail=done.detail), status=done
        )
    return reporter.status.outcome or Outcome.SYSTEM_FAILURE


def _serve(machine: AgentSetup, reporter: Reporter, spot: SpotWatch) -> None:
    credential = _credential(machine, reporter)
    if credential is None:
        return
    with suppress(OSError):  # on a full disk the timer fires at its first time
        _set_timer(machine.settings.dead_man, credential.expires_at)
    named = replace(reporter.status, runner_id=credential.runner_id)
    reporter.report(Undated(name=StepName.CREDENTIAL_READ), status=named)
    in_docker = credential.executor == "docker"
    if in_docker:
        reporter.report(status=replace(named, detail="waits for the Docker engine"))
    if in_docker and not _docker_is_up(machine):
        detail = f"the Docker engine did not answer within {DOCKER_WITHIN_S:.0f} s"
        reporter.report(status=replace(named, outcome=Outcome.SYSTEM_FAILURE, detail=detail))
        return
    workplace = Workplace(
        home=machine.settings.work_dir,
        ends_at=credential.expires_at,
        environment=machine.environment,
        spot_at=spot.spot_at,
        clock=machine.clock,
        echo=machine.echo,
        meter=Meter(
            machine.settings.work_dir, containers=machine.containers if in_docker else None
        ),
    )
    run_one_job(_with_own_image(credential, machine.settings.image), workplace, reporter)


def _with_own_image(credential: Credential, image: str | None) -> Credential:
    """A credential whose docker jobs need no other image than their own.

    The agent's image is here already. A policy that always pulls would ask the registry for it
    again, whose password is gone: then the image that is here serves.
    """
    docker = credential.docker
    if docker is None or docker.helper_image or image is None:
        return credential
    policy = tuple(dict.fromkeys([*docker.pull_policy, "if-not-present"]))
    return replace(credential, docker=replace(docker, helper_image=image, pull_policy=policy))


def _credential(machine: AgentSetup, reporter: Reporter) -> Credential | None:
    wait_s = machine.settings.boot_deadline_s
    detail = f"no credential within {wait_s:.0f} s"
    try:
        credential = machine.mailbox.take_credential(
            machine.clock() + timedelta(seconds=wait_s), clock=machine.clock, pause=machine.pause
        )
    except Transient as exc:
        credential, detail = None, f"{detail}: {exc}"
    if credential is None:
        reporter.report(status=replace(reporter.status, outcome=Outcome.NO_JOB, detail=detail))
    return credential


def _set_timer(dead_man: Path | None, expires_at: datetime) -> None:
    """Set the boot script's timer: it ends a machine that outlives its expiry."""
    if dead_man is None:
        return
    new = dead_man.with_suffix(".new")
    new.write_text(f"{int((expires_at + TIMER_GRACE).timestamp())}\n")
    new.replace(dead_man)


def _docker_is_up(machine: AgentSetup) -> bool:
    deadline = machine.clock() + timedelta(seconds=DOCKER_WITHIN_S)
    while not machine.docker_answers():
        if machine.clock() >= deadline:
            return False
        machine.pause(0.5)
    return True
