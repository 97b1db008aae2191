"""What a fault can do in one run: push jobs, wait for a moment, end machines, disturb GitLab."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from adapters.aws.clients import aws_call
from fleet.errors import Refused
from fleet.machine.mailbox import Report
from local.chaos.ec2_proxy import Ec2Proxy
from local.chaos.fleet_file import FleetFile, Periods
from local.chaos.gitlab_eye import GitLabEye, ObservedJob
from local.chaos.observer import machines_of, sandboxes_of
from local.chaos.pipeline import Planned, ci_file
from local.gitlab.seed import SeededProject, push_files
from local.laptop import Laptop
from local.machines.guests import GuestHost

LOOK_EVERY_S = 0.05
SOON_S = 30.0
PIPELINE_WITHIN_S = 15.0
CONTAINER_BOOTS_S = 60  # with the pull of its image, on a machine at work
AnswerT = TypeVar("AnswerT")


@dataclass(slots=True, kw_only=True)
class Deeds:
    """What the scene itself does, for which the judge must not blame the fleet."""

    planned: list[tuple[int, tuple[Planned, ...]]] = field(default_factory=list)  # by pipeline
    dead: set[str] = field(default_factory=set)  # ids of machines and runners the scene ended
    cancelled: set[int] = field(default_factory=set)  # pipelines
    injected: int = 0  # how often it struck
    missed: list[str] = field(default_factory=list)  # what the fault waited for in vain
    broken: list[str] = field(default_factory=list)  # promises that the fault itself checked


@dataclass(slots=True, kw_only=True)
class Scene:
    """One run on a laptop that is up."""

    laptop: Laptop
    proxy: Ec2Proxy
    project: SeededProject
    periods: Periods
    name: str  # begins the name of each branch
    draw: random.Random
    deeds: Deeds = field(default_factory=Deeds)

    @property
    def gitlab(self) -> GitLabEye:
        """The simulated GitLab."""
        return GitLabEye(self.laptop.simulator)

    def apply(self, file: FleetFile) -> None:
        """Put a fleet.toml in force."""
        self.laptop.apply(file.text(self.laptop.gitlab_url, self.periods))

    def push(self, jobs: Sequence[Planned]) -> int:
        """Push a pipeline of these jobs on a branch of its own; its id."""
        branch = f"{self.name}-{len(self.deeds.planned)}"
        push_files(self.project.clone_url, ci_file(jobs), message="Add jobs", branch=branch)
        pipeline_id = self.wait(lambda: self.gitlab.pipeline_of(branch), within_s=PIPELINE_WITHIN_S)
        if pipeline_id is None:
            raise TimeoutError("GitLab made no pipeline for a push")
        self.deeds.planned.append((pipeline_id, tuple(jobs)))
        return pipeline_id

    def push_victim(self, victim: Planned, others: Sequence[Planned]) -> str | None:
        """Push a job beside others; the runner that runs it, as soon as one does."""
        self.push([victim, *others])
        job = self.wait(lambda: self.job(victim.name, "running"), what="the victim runs")
        return job.runner if job else None

    def cancel(self, pipeline: int) -> None:
        """Cancel a pipeline as a person would."""
        client = self.laptop.gitlab_client()
        project = client.projects.get(self.project.id, lazy=True)
        project.pipelines.get(pipeline, lazy=True).cancel()

    def jobs(self) -> tuple[ObservedJob, ...]:
        """Every job of this run, retried ones included."""
        return self.gitlab.jobs([pipeline for pipeline, _ in self.deeds.planned])

    def job(self, name: str, *statuses: str) -> ObservedJob | None:
        """The newest job of this name, when it is in one of these states."""
        jobs = [job for job in self.jobs() if job.name == name and not job.is_retried]
        return jobs[-1] if jobs and jobs[-1].status in statuses else None

    def wait(
        self, look: Callable[[], AnswerT | None], *, within_s: float = SOON_S, what: str = ""
    ) -> AnswerT | None:
        """The first answer that is not empty; None, with `what` noted, when none is in time."""
        late_s = CONTAINER_BOOTS_S if self.laptop.options.containers else 0
        deadline = time.monotonic() + within_s + late_s
        while time.monotonic() < deadline:
            if answer := look():
                return answer
            time.sleep(LOOK_EVERY_S)
        if what:
            self.deeds.missed.append(what)
        return None

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def machines(self) -> tuple[str, ...]:
        """EC2 machines that live now."""
        return machines_of(self.laptop)

    def sandboxes(self) -> tuple[str, ...]:
        """Runners whose Lambda sandboxes live now."""
        return tuple(sandbox.runner_id for sandbox in sandboxes_of(self.laptop))

    def runner_on(self, machine_id: str) -> str | None:
        """The runner that lives on an EC2 machine."""
        box = f"{self.laptop.stack.machine_role_id}:{machine_id}"
        return self.laptop.runner_rows.owner(box)

    def report_of(self, runner_id: str) -> Report | None:
        """What a runner's machine said last."""
        runner = self.laptop.runner_rows.find(runner_id)
        if runner is None or runner.mailbox is None:
            return None
        return self.laptop.runner_rows.report(runner.mailbox)

    def machine_of(self, runner_id: str) -> str | None:
        """The machine of a live runner."""
        runner = self.laptop.runner_rows.find(runner_id)
        return runner.machine_id if runner else None

    def kill(self, runner_id: str, *, reported_after_s: float | None) -> None:
        """End the machine of a live runner, whichever kind it is."""
        machine_id = self.machine_of(runner_id)
        if machine_id is None:
            self.deeds.missed.append(f"{runner_id} was closed")
        elif machine_id.startswith("i-"):
            self.kill_machine(machine_id, reported_after_s=reported_after_s)
        else:
            self.kill_sandbox(runner_id)

    def kill_machine(self, machine_id: str, *, reported_after_s: float | None) -> None:
        """The host dies without a goodbye. EC2 says so after a while, or (None) never."""
        struck = self._strike(machine_id, lambda guests: guests.kill(machine_id))
        if struck and reported_after_s is not None:
            self.pause(reported_after_s)
            with aws_call("ec2.TerminateInstances"):
                self.laptop.engine.client("ec2").terminate_instances(InstanceIds=[machine_id])

    def freeze(self, machine_id: str) -> None:
        """Every process of a machine stands still for good; EC2 says that it runs."""
        self._strike(machine_id, lambda guests: guests.freeze(machine_id))

    def take_back(self, machine_id: str, *, in_s: float) -> None:
        """AWS takes a spot machine back, and says so first."""
        self._strike(machine_id, lambda guests: guests.inject_spot_notice(machine_id, in_s))

    def kill_sandbox(self, runner_id: str) -> None:
        """A Lambda invocation dies without a goodbye; Lambda says so."""
        assert self.laptop.lambdas
        self._excuse(runner_id, self.machine_of(runner_id))
        sandboxes = [
            sandbox for sandbox in sandboxes_of(self.laptop) if sandbox.runner_id == runner_id
        ]
        if any(self.laptop.lambdas.kill(sandbox.request) for sandbox in sandboxes):
            self.deeds.injected += 1
        else:
            self.deeds.missed.append(f"{runner_id} had ended")

    def _strike(self, machine_id: str, act: Callable[[GuestHost], None]) -> bool:
        """Do something to an EC2 machine; False when it ended by itself in this moment."""
        assert self.laptop.guests
        self._excuse(machine_id, self.runner_on(machine_id))
        try:
            act(self.laptop.guests)
        except Refused:
            self.deeds.missed.append(f"{machine_id} had ended")
            return False
        self.deeds.injected += 1
        return True

    def _excuse(self, *ids: str | None) -> None:
        """Note what the scene ends, before it does."""
        self.deeds.dead.update(name for name in ids if name)
