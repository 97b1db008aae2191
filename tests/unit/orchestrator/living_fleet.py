"""A fleet that lives: a `Scene` whose GitLab, webhooks and machines act by themselves, by chance.

Whatever happens is drawn from one seed, so that a history can be repeated. The fleet is called as
its state machines call it, on fakes; this world knows what is true, and the fleet is not asked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

from adapters.aws.secrets import PoolToken
from adapters.gitlab.values import GitLabJob, GitLabRunner, NewRunner
from adapters.ledger.table import Change
from fleet.errors import FleetError, Transient
from fleet.machine.mailbox import Credential, MachineState, Report
from fleet.model import JobKey, rank
from fleet.reasons import Reason
from fleet.steps import Outcome, Step, StepName
from tests.fakes import FakeCipher, FakeTable
from tests.unit.orchestrator.scene import INSTANCE, Scene, key

BOOTS_S = 40
SPOT_NOTICE = "EC2 Spot Instance Interruption Warning"
CREDENTIAL_WITHIN = timedelta(minutes=5)  # as the agent waits
LOST_AFTER = timedelta(minutes=20)  # GitLab fails a job whose runner sends nothing
GITLAB_CALLS = (
    "job pending_jobs retry_job cancel_job pipeline_jobs pending_in_pipeline create_runner"
    " delete_runner runners_described runner_jobs verify_runner group_projects groups_above"
    " project"
)


class BrittleTable(FakeTable):
    """A ledger that fails after as many more calls as `fails_in` says."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_in: int | None = None

    def _may_fail(self) -> None:
        if self.fails_in is not None:
            self.fails_in -= 1
            if self.fails_in < 0:
                self.fails_in = None
                raise Transient(call="dynamodb")
        super()._may_fail()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How likely each mishap is: of a webhook, of a machine in one tick, of a whole minute."""

    lost: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    dies: float = 0.0
    dies_unseen: float = 0.0  # the cloud does not show it, only heartbeats end
    mute: float = 0.0  # works on, but its reports do not arrive
    slow_boot: float = 0.0
    crash: float = 0.0  # an invocation ends at any of its calls to the ledger
    cancelled: float = 0.0
    interrupted: float = 0.0  # a spot machine goes with a notice
    skewed_s: int = 0  # machines' clocks are wrong by up to so much
    forged: float = 0.0  # an event that is not true


@dataclass(slots=True, kw_only=True)
class Guest:
    """One machine as it really is."""

    id: str
    pool: str
    runner_id: str
    boots_at: datetime
    expires_at: datetime
    state: str = "boots"  # waits (for its credential), asks, works, gone
    patience: datetime | None = None
    record: int | None = None
    token: str = ""
    job_id: int | None = None
    ends_at: datetime | None = None
    gone_at: datetime | None = None
    mute: bool = False
    skew: timedelta = timedelta()
    starved: bool = False  # GitLab was down: it never had a credential


@dataclass(slots=True, kw_only=True)
class _Due:
    """Something that comes later."""

    at: datetime
    act: Callable[[], object]
    tries: int = 5


@dataclass
class LivingFleet:
    """One history. `go` lets so many minutes pass."""

    text: str
    seed: int = 0
    weather: Weather = field(default_factory=Weather)
    tick_s: int = 20
    in_order: bool = False  # GitLab gives the oldest job away first, else any

    def __post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.table = BrittleTable()
        self.scene = Scene(text=self.text, table=self.table)
        self.applies(self.text)
        for number, pool in enumerate(self.scene.world.config.pools):
            self.scene.pool_tokens[pool.name] = PoolToken(runner_id=number, token=f"glrt-{number}")
            record = NewRunner(kind="group_type", description=pool.name, tags=pool.tags)
            self.scene.gitlab.update_runner(number, record)
        for project in (7, 8, 9):
            self.scene.world.fleet.watch(INSTANCE, project, f"acme/p{project}", at=self.at)
        self.guests: dict[str, Guest] = {}
        self.due: list[_Due] = []
        self.withheld: set[int] = set()  # jobs that GitLab gives to no runner
        self.made_for: dict[str, JobKey | None] = {}  # by runner id
        self.killed: list[str] = []  # machines that the fleet ended while a job ran on them
        self.count = 0
        self.started: dict[int, datetime] = {}
        self.gitlab_is_down = False
        self._wakes = False

    @property
    def at(self) -> datetime:
        return self.scene.clock()

    def hits(self, probability: float) -> bool:
        """Whether a mishap of this likelihood happens now."""
        return self.chance.random() < probability

    # What users and GitLab do

    def applies(self, text: str, *, leaving: tuple[str, ...] = ()) -> None:
        """A new fleet.toml is in force; the runners of pools that leave drain."""
        world = self.scene.with_config(text, leaving=leaving)
        both = {"tests": self.scene.backend, "ec2": self.scene.backend}  # settle asks for EC2's
        self.scene.world = replace(world, backends=both)
        for pool in leaving:
            for runner in world.runners.live(pool):
                world.runners.drain(runner, Reason.SURPLUS, at=self.at)

    def failed_launches(self, job_id: int) -> int:
        """How many runners that were made for a job served none, unless GitLab is to blame."""
        made = [name for name, made_for in self.made_for.items() if made_for == key(job_id)]
        guests = [self.guests.get(f"m-{name}") for name in made]
        return sum(
            guest is None or guest.mute or (guest.job_id is None and not guest.starved)
            for guest in guests
        )

    def push(self, *, tags: tuple[str, ...] = ("docker",), project: int = 7, **facts: Any) -> int:
        """One more job waits; GitLab tells of it."""
        self.count += 1
        self.scene.push(self.count, tags=tags, project_id=project, pipeline_id=None, **facts)
        self._tell(self.count, "pending")
        return self.count

    def cancel(self, job_id: int) -> None:
        """A user cancels a job; its runner learns of it with its next word to GitLab."""
        if rank(self.scene.gitlab.jobs[job_id].status) < rank("success"):
            self._ends(job_id, "canceled")

    def forge(self) -> None:
        """A forger sends one event that is not true: of a job, a machine or an invocation."""
        numbers = [*self.scene.gitlab.jobs, self.count + 1]
        job_id = self.chance.choice(numbers)
        living = [runner for pool in self._pools() for runner in self.rows(pool)]
        victim = self.chance.choice(living) if living else {}
        status = self.chance.choice(["running", "success", "failed", "canceled"])
        facts = {
            "project_id": self.chance.choice([7, 8, 9]),
            "runner_id": victim.get("gitlab_runner_id"),
            "runner_description": f"{victim['id']} (demo)" if victim else None,
        }
        guest = self.guests.get(victim.get("machine_id", ""))
        forged: list[Callable[[], object]] = [self._delivery(job_id, status, facts)]
        if guest is not None and guest.state != "gone":
            forged += [
                partial(self.scene.settle_machine, kind, guest.id)
                for kind in ("EC2 Instance State-change Notification", SPOT_NOTICE)
            ]
        self._later(0, self.chance.choice(forged))

    def down(self, is_down: bool) -> None:
        """GitLab answers no call, or answers again."""
        self.gitlab_is_down = is_down
        failing = {name: Transient(status=500) for name in GITLAB_CALLS.split()}
        self.scene.gitlab.failing = failing if is_down else {}  # type: ignore[assignment]

    def unfinished(self) -> list[GitLabJob]:
        """The jobs that GitLab shows as waiting or running."""
        return [job for job in self.scene.gitlab.jobs.values() if rank(job.status) < rank("failed")]

    def _ends(self, job_id: int, status: str, **facts: Any) -> None:
        self.scene.gitlab.change(job_id, status=status, finished_at=self.at, **facts)
        self._tell(job_id, status, **facts)

    def _tell(self, job_id: int, status: str, **facts: Any) -> None:
        """GitLab sends a webhook: it may be lost, late or doubled."""
        job = self.scene.gitlab.jobs[job_id]
        known = {
            "runner_id": job.runner_id,
            "runner_description": job.runner_description,
            "pipeline_id": job_id,
            **facts,
        }
        for _ in range(1 + self.hits(self.weather.doubled)):
            if not self.hits(self.weather.lost):
                late_s = self.chance.randint(20, 400) if self.hits(self.weather.late) else 0
                self._later(late_s, self._delivery(job_id, status, known))

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self.due.append(_Due(at=self.at + timedelta(seconds=seconds), act=act))

    def _delivery(
        self, job_id: int, status: str, facts: dict[str, Any], *, round_: int = 0
    ) -> Callable[[], None]:
        def deliver() -> None:
            if status == "pending":
                self.scene.route(job_id, pipeline_id=job_id)
                self._wakes = True
                return
            settled = self.scene.settle(job_id, status, round_=round_, **facts)
            self._wakes |= settled.wake
            if settled.wait_s is not None:
                again = self._delivery(job_id, status, facts, round_=round_ + 1)
                self._later(settled.wait_s, again)

        return deliver

    # Time

    def go(self, minutes: float, *, each_tick: Callable[[], None] | None = None) -> None:
        """So much time passes; the fleet's minute begins with every full one."""
        for _ in range(int(minutes * 60 / self.tick_s)):
            self.scene.clock.go(self.tick_s)
            if each_tick:
                each_tick()
            self._gitlab_gives_up()
            for guest in list(self.guests.values()):
                self._lives(guest)
            self._deliveries()
            is_minute = int(self.at.timestamp()) % 60 < self.tick_s
            if is_minute:
                self._minute()
            if is_minute or self._wakes:
                self._wakes = False
                self._calls(self._scales)
            self._machines_change()

    def _minute(self) -> None:
        def reconciles() -> None:
            self._wakes |= self.scene.reconcile().wake

        acts = [reconciles, self.scene.sweep]
        self.chance.shuffle(acts)
        for act in acts:
            self._calls(act)
            self._machines_change()

    def _scales(self) -> None:
        for _ in range(12):
            again_in_s = self.scene.scale().again_in_s
            if again_in_s is None or again_in_s > 1:
                return

    def _deliveries(self) -> None:
        coming = [due for due in self.due if due.at <= self.at]
        self.due = [due for due in self.due if due.at > self.at]
        self.chance.shuffle(coming)
        for due in coming:
            if not self._calls(due.act) and due.tries > 1:
                later = self.at + timedelta(seconds=self.tick_s)
                self.due.append(_Due(at=later, act=due.act, tries=due.tries - 1))

    def _calls(self, act: Callable[[], object]) -> bool:
        """One invocation of the fleet, which may end half-way; whether it ran to its end."""
        if self.hits(self.weather.crash):
            self.table.fails_in = self.chance.randint(0, 25)
        with self._forgiving() as outcome:
            act()
            outcome.append(True)
        self.table.fails_in = None
        return bool(outcome)

    @contextmanager
    def _forgiving(self) -> Iterator[list[bool]]:
        outcome: list[bool] = []
        try:
            yield outcome
        except FleetError:  # as a state machine catches it
            return

    # Machines

    def _machines_change(self) -> None:
        """New machines start, those that the fleet ended are gone."""
        for runner in [row for pool in self._pools() for row in self.rows(pool)]:
            if runner["id"] not in self.made_for:
                for_job = runner.get("for_job")
                self.made_for[runner["id"]] = JobKey.parse(for_job) if for_job else None
        for machine in self.scene.backend.shown.values():
            guest = self.guests.get(machine.machine_id)
            if guest is None and machine.alive:
                self._starts(machine.machine_id, machine.pool or "")
            elif guest is not None and not machine.alive and guest.state != "gone":
                running = guest.state == "works" and self._status(guest) == "running"
                if running and guest.expires_at > self.at:
                    self.killed.append(guest.id)
                guest.state, guest.gone_at = "gone", self.at

    def _starts(self, machine_id: str, pool: str) -> None:
        slow_s = 600 if self.hits(self.weather.slow_boot) else 0
        self.guests[machine_id] = Guest(
            id=machine_id,
            pool=pool,
            runner_id=machine_id.removeprefix("m-"),
            boots_at=self.at + timedelta(seconds=BOOTS_S + slow_s),
            expires_at=self.at + timedelta(hours=1),
            skew=timedelta(seconds=self.chance.randint(-1, 1) * self.weather.skewed_s),
        )

    def _pools(self) -> list[str]:
        return [*(pool.name for pool in self.scene.world.config.pools), *self.scene.world.leaving]

    def rows(self, pool: str) -> list[dict[str, Any]]:
        """The rows of the live runners of a pool."""
        items = self.table.items.items()
        return [row for (pk, sk), row in items if pk == f"pool#{pool}" and sk != "pool"]

    def _status(self, guest: Guest) -> str:
        return self.scene.gitlab.jobs[guest.job_id].status if guest.job_id else ""

    def _lives(self, guest: Guest) -> None:
        if guest.state == "gone":
            return
        if self.hits(self.weather.dies):
            self._dies(guest, shown=not self.hits(self.weather.dies_unseen))
            return
        guest.mute = guest.mute or self.hits(self.weather.mute)
        if self.hits(self.weather.interrupted):
            self._machine_event(SPOT_NOTICE, guest)
        step = {
            "boots": self._boots, "waits": self._waits, "asks": self._asks, "works": self._works
        }[guest.state]  # fmt: skip
        step(guest)

    def _dies(self, guest: Guest, *, shown: bool) -> None:
        guest.state, guest.gone_at = "gone", self.at
        if shown:
            self.scene.backend.die(guest.id)
            self._machine_event("EC2 Instance State-change Notification", guest)

    def _machine_event(self, kind: str, guest: Guest) -> None:
        if not self.hits(self.weather.lost):
            self._later(0, lambda: self.scene.settle_machine(kind, guest.id))

    def _boots(self, guest: Guest) -> None:
        if guest.boots_at <= self.at:
            guest.state, guest.patience = "waits", self.at + CREDENTIAL_WITHIN
            self._reports(guest, MachineState.BOOTED, StepName.CALLED_HOME)

    def _waits(self, guest: Guest) -> None:
        credential = self.table.mail.items.pop((f"box-{guest.id}", "credential"), None)
        if credential is not None:
            guest.token = Credential.of_item(credential, FakeCipher()).token
            guest.state, guest.record = "asks", int(guest.token.removeprefix("glrt-"))
            guest.patience = self.at + timedelta(seconds=credential["wait_timeout_s"])
            self._reports(guest, MachineState.IDLE, StepName.CREDENTIAL_READ)
        elif guest.patience is not None and guest.patience <= self.at:
            guest.starved = True
            self._says_goodbye(guest, Outcome.NO_JOB)
        else:
            self._reports(guest, MachineState.BOOTED)

    def _asks(self, guest: Guest) -> None:
        ordered = (f"box-{guest.id}", "order") in self.table.mail.items
        impatient = guest.patience is not None and guest.patience <= self.at
        record = self.scene.gitlab.records.get(guest.record or 0)
        is_refused = record is None or not self.scene.gitlab.is_valid(guest.token)
        if ordered or impatient or record is None or is_refused:
            self._says_goodbye(guest, Outcome.NO_JOB)
            return
        fits = [job for job in self.scene.gitlab.jobs.values() if self._may_take(record, job)]
        if not fits or self.gitlab_is_down:
            self._reports(guest, MachineState.IDLE)
            return
        job = fits[0] if self.in_order else self.chance.choice(fits)
        guest.state, guest.job_id = "works", job.id
        guest.ends_at = self.at + timedelta(seconds=self.chance.choice([10, 60, 300]))
        self.started[job.id] = self.at
        self.scene.gitlab.change(
            job.id,
            status="running",
            runner_id=record.id,
            runner_description=record.description,
            started_at=self.at,
        )
        self._tell(job.id, "running", started_at=self.at)
        self._reports(guest, MachineState.BUSY, StepName.JOB_TAKEN)

    def _may_take(self, record: GitLabRunner, job: GitLabJob) -> bool:
        waits = job.status == "pending" and job.id not in self.withheld
        is_its = not record.project_ids or job.project_id in record.project_ids
        return waits and is_its and set(job.tags) <= set(record.tags)

    def _works(self, guest: Guest) -> None:
        assert guest.job_id is not None
        assert guest.ends_at is not None
        if self._status(guest) != "running":
            self._says_goodbye(guest, Outcome.CANCELED)
        elif guest.ends_at <= self.at and not self.gitlab_is_down:
            self._ends(guest.job_id, "success")
            self._says_goodbye(guest, Outcome.SUCCEEDED)
        else:
            self._reports(guest, MachineState.BUSY)

    def _says_goodbye(self, guest: Guest, outcome: Outcome) -> None:
        """It ends itself: a machine that powers off is gone for its cloud as well."""
        self._reports(guest, MachineState.DONE, StepName.ENDED, outcome=outcome)
        guest.state, guest.gone_at = "gone", self.at
        self.scene.backend.die(guest.id)
        self._machine_event("EC2 Instance State-change Notification", guest)

    def _reports(
        self, guest: Guest, state: MachineState, *steps: StepName, outcome: Outcome | None = None
    ) -> None:
        if guest.mute:
            return
        at = self.at + guest.skew
        item = Report(
            heartbeat_at=at,
            state=state,
            runner_id=guest.runner_id,
            job_id=guest.job_id,
            outcome=outcome,
            steps=tuple(Step(at=at, name=name, job_id=guest.job_id) for name in steps),
        ).item()
        new = item.pop("steps")
        pk = f"box-{guest.id}"
        self.table.mail.write(Change(pk=pk, sk="report", put=item, append={"steps": new}))

    def _gitlab_gives_up(self) -> None:
        """GitLab fails what runs on a machine that is no more."""
        works = {guest.job_id for guest in self.guests.values() if guest.state == "works"}
        for job in list(self.scene.gitlab.jobs.values()):
            is_orphan = job.status == "running" and job.id not in works
            if is_orphan and self.at - (job.started_at or self.at) >= LOST_AFTER:
                self._ends(job.id, "failed", failure_reason="stuck_or_timeout_failure")
