"""One small fleet on fakes: GitLab, the ledger, a queue and the third back end, at one clock."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import count
from typing import Any

import pytest

from adapters.aws.secrets import PoolSecrets, PoolToken
from adapters.gitlab.values import GitLabJob
from adapters.ledger.fleet import FleetRows
from adapters.ledger.history import HistoryRows
from adapters.ledger.jobs import JobRow, JobRows
from adapters.ledger.table import Change
from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig, read_config
from fleet.errors import FleetError, Refused
from fleet.job_event import JobEvent
from fleet.machine.mailbox import Credential, MachineState, Report
from fleet.model import Job, JobKey, Runner
from fleet.reasons import Reason
from fleet.rules.capacity import CapacityPool
from fleet.steps import Step, StepName, Undated
from orchestrator.close import close_runner, end_machine, left_to_sweep, relaunch
from orchestrator.reconcile import ReconcileResult, reconcile
from orchestrator.route import RouteResult, route_event
from orchestrator.scale import ScaleResult, scale
from orchestrator.settle import SettleResult, settle
from orchestrator.sweep import SweepResult, sweep
from orchestrator.world import World
from tests.fakes import (
    AT,
    Clock,
    FakeBackend,
    FakeCipher,
    FakeGitLab,
    FakeQueue,
    FakeTable,
    runner_rows,
)

INSTANCE = "gitlab.example.com"
STACK = "demo"
PROJECT = 7
GITLAB = f'[gitlab]\nurl = "https://{INSTANCE}"\nrunners_in = "group:42"\n'
POOL = """
[pools.docker]
backend = "tests"
tags = ["docker", "big"]
ceiling = 5
attempts = 2
"""
FLEET = GITLAB + POOL
SHARED = FLEET.replace('"group:42"', '"group:42"\ncredentials = "shared"')
RETRYING = FLEET + "infra_retry = true\n"
SPOT, ON_DEMAND = (
    CapacityPool(instance_type="m7i.large", subnet="subnet-1", market=market)
    for market in ("spot", "on-demand")
)


@cache
def configured(text: str = FLEET) -> FleetConfig:
    return read_config(text, backends=("tests", "lambda"))


def reported(
    steps: Iterable[StepName | Undated], at: datetime, job_id: int | None
) -> tuple[Step, ...]:
    """The steps of a report; a name alone is one of this job."""
    named = (
        Undated(name=step, job_id=job_id) if isinstance(step, StepName) else step for step in steps
    )
    return tuple(step.dated(at) for step in named)


def key(job_id: int) -> JobKey:
    return JobKey(instance=INSTANCE, job_id=job_id)


def described(runner: Runner) -> str:
    """How GitLab shows a runner of ours."""
    return f"{runner.id} ({STACK})"


def logged(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The lines of one event in the log, since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


class ScenePoolSecrets(PoolSecrets):
    """The pools' tokens of a scene."""

    def __init__(self, scene: "Scene") -> None:
        self.scene = scene

    def find(self, pool: PoolConfig) -> PoolToken | None:
        return self.scene.pool_tokens.get(pool.name)

    def store(self, pool: PoolConfig, token: PoolToken) -> None:
        """Another token; a failure may come after it was written."""
        if self.scene.fails_to_store is None or self.scene.stores_and_fails:
            self.scene.pool_tokens[pool.name] = token
        if self.scene.fails_to_store is not None:
            raise self.scene.fails_to_store


@dataclass
class Scene:
    """Everything at once; what the state machines do between the tasks is done by methods."""

    text: str = FLEET
    clock: Clock = field(default_factory=Clock)
    table: FakeTable = field(default_factory=FakeTable)
    gitlab: FakeGitLab = field(default_factory=FakeGitLab)

    def __post_init__(self) -> None:
        self.queue = FakeQueue(self.clock, "tests-queue")
        self.backend = FakeBackend(clock=self.clock)
        self.ids = count(1)
        self.deliveries = count(1)
        self.pool_tokens: dict[str, PoolToken] = {"docker": PoolToken(runner_id=1, token="glrt-p")}
        self.gitlab.clock = self.clock
        self.fails_to_store: FleetError | None = None  # a pool's token
        self.stores_and_fails = False
        self.world = self.with_config(self.text)

    def with_config(
        self, text: str, *, leaving: tuple[str, ...] = (), removed: tuple[str, ...] = ()
    ) -> World:
        """The world of the next invocations, after this text was applied."""
        self.world = World(
            config=configured(text),
            stack=STACK,
            instance=INSTANCE,
            jobs=JobRows(self.table),
            runners=runner_rows(self.table, INSTANCE),
            history=HistoryRows(self.table),
            fleet=FleetRows(self.table),
            gitlab=self.gitlab,
            queues={"tests": self.queue},
            backends={"tests": self.backend},
            pool_token=self._pool_token,
            pool_secrets=ScenePoolSecrets(self),
            clock=self.clock,
            new_id=lambda: f"{next(self.ids):012x}",
            applied_at=self.clock(),
            removed=removed,
            leaving=leaving,
        )
        return self.world

    def _pool_token(self, pool: str) -> PoolToken:
        if pool not in self.pool_tokens:
            raise Refused(call="secretsmanager.GetSecretValue", code="ResourceNotFoundException")
        return self.pool_tokens[pool]

    # GitLab's side

    def push(self, job_id: int, *, tags: Iterable[str] = ("docker",), **facts: Any) -> GitLabJob:
        defaults: dict[str, Any] = {
            "project_id": PROJECT,
            "name": f"job-{job_id}",
            "status": "pending",
            "pipeline_id": 3,
            "ref": "main",
            "queued_duration_s": 1.0,
        }
        return self.gitlab.add(GitLabJob(id=job_id, tags=tuple(tags), **(defaults | facts)))

    def event(self, job_id: int, status: str, **facts: Any) -> JobEvent:
        """The job event that follows from a webhook."""
        known = self.gitlab.jobs.get(job_id)
        defaults: dict[str, Any] = {
            "instance": INSTANCE,
            "project_id": known.project_id if known else PROJECT,
            "project_path": "acme/demo",
            "job_id": job_id,
            "job_name": known.name if known else f"job-{job_id}",
            "stage": "test",
            "pipeline_id": 3,
            "ref": "main",
            "status": status,
            "delivery_id": f"d{next(self.deliveries)}",
            "received_at": self.clock(),
        }
        return JobEvent(**(defaults | facts))

    def hands_over(self, job_id: int, runner: Runner) -> None:
        """GitLab gives a job to a runner of ours."""
        self.gitlab.change(
            job_id,
            status="running",
            runner_id=runner.gitlab_runner_id,
            runner_description=described(runner),
            started_at=self.clock(),
        )

    def takes(self, job_id: int, runner: Runner) -> SettleResult:
        """A runner of ours takes a job, and GitLab's webhook says so."""
        self.hands_over(job_id, runner)
        return self.settle(
            job_id,
            "running",
            runner_id=runner.gitlab_runner_id,
            runner_description=described(runner),
            started_at=self.clock(),
        )

    # The state machines' side

    def route(self, job_id: int, **facts: Any) -> RouteResult:
        """The route machine's task after a `job.pending` event."""
        return route_event(self.world, self.event(job_id, "pending", **facts))

    def waits(self, *job_ids: int, **facts: Any) -> None:
        """Jobs of these ids are pushed and routed."""
        for job_id in job_ids:
            self.push(job_id, **facts)
            self.route(job_id)

    def scale(self) -> ScaleResult:
        return scale(self.world)

    def settle(self, job_id: int, status: str, *, round_: int = 0, **facts: Any) -> SettleResult:
        """The settle machine's task for a webhook."""
        job_event = self.event(job_id, status, **facts)
        event = {"detail-type": job_event.detail_type, "detail": job_event.to_detail()}
        return settle(self.world, event, round_=round_)

    def settle_machine(self, kind: str, machine_id: str, *, round_: int = 0) -> SettleResult:
        """The settle machine's task for an event of a machine."""
        event = {"detail-type": kind, "detail": {"instance-id": machine_id}}
        return settle(self.world, event, round_=round_)

    def reconcile(self, *time_left_s: float) -> ReconcileResult:
        """The minute's reconcile; its time left each time that it looks, else plenty."""
        remaining = iter(time_left_s)
        return reconcile(self.world, lambda: next(remaining, 50.0 if not time_left_s else 0.0))

    def sweep(self) -> SweepResult:
        return sweep(self.world)

    # The machines' side

    def reports(
        self,
        runner: Runner,
        state: MachineState,
        *steps: StepName | Undated,
        job_id: int | None = None,
        dated: datetime | None = None,
        **facts: Any,
    ) -> None:
        """A machine writes its report, as its mailbox does; `dated`: what its clock says."""
        at = dated or self.clock()
        item = Report(
            heartbeat_at=at,
            state=state,
            runner_id=runner.id,
            job_id=job_id,
            steps=reported(steps, at, job_id),
            **facts,
        ).item()
        new = item.pop("steps")
        pk = runner.mailbox or ""
        write = Change(pk=pk, sk="report", put=item, append={"steps": new}, add={"beats": 1})
        self.table.mail.write(write)

    def closes(self, runner: Runner, reason: Reason) -> bool:
        """End a runner as settle and sweep do; False when that was done before or failed."""
        with left_to_sweep(runner, reason):
            return close_runner(self.world, end_machine(self.world, runner, reason))
        return False

    def loses(self, runner: Runner, reason: Reason) -> None:
        """The same, for one whose job still needs a runner."""
        if self.closes(runner, reason):
            relaunch(self.world, runner, reason)

    # What one looks at

    @property
    def runners(self) -> tuple[Runner, ...]:
        return self.world.runners.live("docker")

    @property
    def only_runner(self) -> Runner:
        (runner,) = self.runners
        return runner

    def row(self, job_id: int) -> JobRow:
        row = self.world.jobs.row(key(job_id))
        assert row is not None
        return row

    def job(self, job_id: int) -> Job:
        return self.row(job_id).job

    def steps(self, job_id: int) -> list[str]:
        return [step.name for step in self.row(job_id).steps]

    def launched(self, *job_ids: int) -> tuple[Runner, ...]:
        """Jobs of these ids are pushed, routed and launched for; their runners, oldest first."""
        self.waits(*job_ids)
        self.scale()
        by_job = {runner.for_job: runner for runner in self.runners}
        return tuple(by_job[key(job_id)] for job_id in job_ids)

    def runs(self, job_id: int) -> Runner:
        """A job that was launched for and now runs on its runner, which every side knows."""
        (runner,) = self.launched(job_id)
        self.reports(runner, MachineState.BUSY, StepName.JOB_TAKEN, job_id=job_id)
        self.takes(job_id, runner)
        return self.only_runner

    @property
    def credential(self) -> Credential:
        """What lies in the only machine's mailbox."""
        items = self.table.mail.items
        (item,) = [item for (_, sk), item in items.items() if sk == "credential"]
        return Credential.of_item(item, FakeCipher())

    def books_balance(self) -> None:
        """The counter of the pool says how many live rows there are."""
        rows = [item for item in self.table.items if item[0] == "pool#docker" and item[1] != "pool"]
        counter = self.table.items.get(("pool#docker", "pool"), {}).get("in_use", 0)
        assert counter == len(rows)


__all__ = [
    "AT",
    "FLEET",
    "GITLAB",
    "INSTANCE",
    "ON_DEMAND",
    "POOL",
    "PROJECT",
    "RETRYING",
    "SHARED",
    "SPOT",
    "STACK",
    "Scene",
    "configured",
    "described",
    "key",
    "logged",
]
