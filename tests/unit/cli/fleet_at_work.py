"""A deployed fleet on fakes for the commands, with jobs and runners in every state."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from typer.testing import CliRunner, Result

from adapters.gitlab.client import GitLab
from adapters.gitlab.way import DIRECT, Way
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.runners import Placement, RunnerRows
from adapters.ledger.table import Change
from cli.main import app
from fleet.config.reading import read_config
from fleet.errors import FleetError
from fleet.machine.mailbox import MachineState, Report
from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.problems.facts import ImageFacts
from fleet.steps import Step, StepName
from operations.fleet_handle import Deployed
from tests.fakes import AT, Clock, FakeGitLab, FakeQueue, FakeSecrets, FakeTable, runner_rows
from tests.unit.cli.session import Session
from tests.unit.fleet.rules.standings import FLEET as PLAIN_FLEET, ago, key

INSTANCE = "gitlab.example.com"
FLEET = PLAIN_FLEET + "idle = { count = 1 }\n"


@dataclass
class AtWork:
    """One stack. `run` calls the command with it in place of AWS, and `session` has all of it."""

    clock: Clock = field(default_factory=Clock)
    table: FakeTable = field(default_factory=FakeTable)
    secrets: FakeSecrets = field(default_factory=FakeSecrets)
    gitlab: FakeGitLab = field(default_factory=FakeGitLab)
    connected: list[tuple[str, str]] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    person: str = "dana"
    images: tuple[ImageFacts, ...] = ()
    pauses: int = 0
    failing_later: FleetError | None = None  # of the ledger, after the first pause
    session: Session = field(default_factory=Session)

    def __post_init__(self) -> None:
        names = ("ec2", "lambda", "events", "expiries")
        self.queues = {name: FakeQueue(self.clock, name) for name in names}

    @property
    def deployed(self) -> Deployed:
        """The stack as commands get to see it."""
        return Deployed(
            stack="fleet-a",
            table=self.table,
            mail=self.table.mail,
            secrets=self.secrets,
            queues={name: self.queues[name] for name in ("ec2", "lambda")},
            dead_letters={name: self.queues[name] for name in ("events", "expiries")},
            gitlab_secret="fleet-a/gitlab",
            pool_secret_prefix="fleet-a/pool/",
            connect=self._connect,
            clock=self.clock,
            pause=self._pause,
            who=lambda: self.person,
            images=lambda: self.images,
        )

    def _connect(self, url: str, token: str, way: Way = DIRECT) -> GitLab:
        self.connected.append((url, token))
        self.ways.append(way)
        return self.gitlab

    def _pause(self, seconds: float) -> None:
        """A person presses Ctrl-C in the second pause."""
        self.pauses += 1
        self.clock.go(seconds)
        self.table.failing, self.failing_later = self.failing_later, None
        if self.pauses == 2:
            raise KeyboardInterrupt

    def run(
        self, *arguments: str, env: dict[str, str] | None = None, typed: str | None = None
    ) -> Result:
        """The command with these arguments, and this text on its standard input."""
        return self.run_on(self.deployed, *arguments, env=env, typed=typed)

    def run_on(
        self,
        deployed: Deployed,
        *arguments: str,
        env: dict[str, str] | None = None,
        typed: str | None = None,
    ) -> Result:
        """The same on another view of the stack."""
        result = CliRunner().invoke(
            app, arguments, prog_name="runner-fleet", obj=deployed, env=env, input=typed
        )
        return self.session.show(arguments, result)

    @property
    def jobs(self) -> JobRows:
        return JobRows(self.table)

    @property
    def runners(self) -> RunnerRows:
        return runner_rows(self.table, INSTANCE)

    @property
    def fleet(self) -> FleetRows:
        """The rows of the fleet itself."""
        return FleetRows(self.table)

    def configure(self, text: str = FLEET, *, leaving: tuple[str, ...] = ()) -> "AtWork":
        """This text was applied, and GitLab heard of every pool just now."""
        config = read_config(text)
        stored = StoredConfig(text=text, version=config.version, applied_at=AT, leaving=leaving)
        self.fleet.store_config(stored)
        for pool in config.pools:
            self.fleet.note_verified(pool.name, AT)
        return self

    def job(self, job_id: int, *, waits_s: float = 60, **facts: Any) -> Job:
        """A job that was routed, or could not be."""
        plain: dict[str, Any] = {
            "project_id": 7,
            "project_path": "acme/demo",
            "name": f"job-{job_id}",
            "tags": ("docker",),
            "status": JobStatus.PENDING,
            "outcome": None,
            "pending_at": ago(waits_s),
            "pool": "docker",
            "reason": Reason.ROUTED,
        }
        job = Job(key=key(job_id), **(plain | facts))
        at = job.pending_at + timedelta(seconds=1)
        steps = [
            Step(at=job.pending_at, name=StepName.WEBHOOK_RECEIVED, delivery_id="d1"),
            Step(at=job.pending_at, name=StepName.EVENT, detail="job.pending"),
            Step(at=at, name=StepName.ROUTED, reason=job.reason, pool=job.pool),
        ]
        assert self.jobs.route(job, steps, at=at)
        return job

    def waits_because(self, job_id: int, reason: Reason) -> None:
        """The autoscaler wrote why a job waits."""
        self.jobs.note_reasons({key(job_id): Step(at=ago(1), name=StepName.WAITS, reason=reason)})

    def advance(self, job: Job, word: str, *, at: datetime, **facts: Any) -> None:
        """GitLab said that the job runs or ended."""
        status = JobStatus.RUNNING if word == "running" else JobStatus.FINISHED
        outcome = None if status is JobStatus.RUNNING else word
        runner = {name: facts.pop(name) for name in ("runner_id",) if name in facts}
        job = replace(job, status=status, outcome=outcome, **runner)
        step = Step(at=at, name=StepName.TAKEN if status is JobStatus.RUNNING else StepName(word))
        times = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in facts.items()}
        assert self.jobs.advance(job, [step], at=at, facts=times)

    def runner(
        self,
        number: int,
        *,
        launched_s: float = 30,
        pool: str = "docker",
        backend_of: str = "ec2",
        **facts: Any,
    ) -> Runner:
        """A live runner on a machine."""
        runner = Runner(
            id=f"rf-{pool}-{number:012x}",
            pool=pool,
            backend=backend_of,
            state=RunnerState.REQUESTED,
            launched_at=ago(launched_s),
            expires_at=AT + timedelta(hours=1),
            launch_id="l1",
            **facts,
        )
        version = self.fleet.pool(pool).version
        assert self.runners.reserve([runner], ceiling=99, version=version)
        place = Placement(
            runner_id=runner.id,
            machine_id=f"i-{number}",
            mailbox=f"box-{number}",
            capacity="m7i.large/subnet-1/spot",
        )
        self.runners.note_placed([place])
        placed = self.runners.find(runner.id)
        assert placed is not None
        return placed

    def reports(self, runner: Runner, state: MachineState, *steps: Step, **facts: Any) -> None:
        plain: dict[str, Any] = {"heartbeat_at": ago(5), "runner_id": runner.id}
        item = Report(state=state, steps=steps, **(plain | facts)).item()
        new = item.pop("steps")
        pk = runner.mailbox or ""
        self.table.mail.write(Change(pk=pk, sk="report", put=item, append={"steps": new}))


__all__ = ["AT", "FLEET", "AtWork", "ago", "key"]
