"""Random histories of a whole fleet on fakes, minute by minute: what is promised holds in each.

Every invocation may end at any of its calls, every webhook may be lost, late or doubled, every
machine may die, fall silent or boot too late, GitLab and the cloud have bad hours, indexes lag, and
fleet.toml changes while machines boot. Then the weather clears, and nothing may be left.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest

from adapters.machines.backend import Machine
from fleet.model import JobStatus, rank
from fleet.reasons import Reason
from tests.unit.orchestrator.living_fleet import LivingFleet, Weather
from tests.unit.orchestrator.scene import GITLAB, key

TIMES = 'max_lifetime = "1h"\nboot_deadline = "5m"\nwait_timeout = "2m"\n'
SMALL = (
    '\n[pools.small]\nbackend = "tests"\ntags = ["docker"]\nceiling = 3\ninfra_retry = true\n'
    'attempts = 3\nidle = { count = 0 }\n' + TIMES
)  # fmt: skip
BIG = (
    '\n[pools.big]\nbackend = "tests"\ntags = ["docker", "big"]\nceiling = 4\n'
    'attempts = 2\nidle = { count = 0, idle_time = "5m" }\n' + TIMES
)  # fmt: skip
BOTH = GITLAB + SMALL + BIG
SHARED = BOTH.replace('"group:42"', '"group:42"\ncredentials = "shared"')
OF_PROJECTS = BOTH.replace('"group:42"', '"project"')
ATTEMPTS = {"small": 3, "big": 2}
CALM = Weather()
NOTICED_WITHIN_MINUTES = 30


@dataclass
class History:
    """One seed's: half an hour of anything, then fair weather until all is quiet."""

    seed: int
    text: str = BOTH
    blind: bool = False  # a back end that shows no machines, as Lambda
    forged: float = 0.0
    fleet: LivingFleet = field(init=False)

    def __post_init__(self) -> None:
        chance = Random(self.seed)

        def some(most: float) -> float:
            return chance.choice([0, 0, most / 3, most])

        weather = Weather(
            lost=chance.choice([0, 0.2, 0.6, 1]),
            late=some(0.5),
            doubled=some(0.4),
            dies=some(0.05),
            dies_unseen=some(0.5),
            mute=some(0.02),
            slow_boot=some(0.3),
            crash=some(0.3),
            cancelled=some(0.05),
            interrupted=some(0.02),
            skewed_s=chance.choice([0, 45, 600, 260_000]),
            forged=self.forged,
        )
        self.fleet = LivingFleet(self.text, seed=self.seed, weather=weather)
        self.fleet.scene.backend.shows_machines = not self.blind
        self.down_for = 0

    def live(self) -> None:
        fleet = self.fleet
        fleet.go(30, each_tick=self._storm)
        fleet.weather = CALM
        fleet.down(False)
        fleet.table.catch_up()
        fleet.scene.backend.room = 1_000
        fleet.applies(self.text)
        fleet.tick_s = 30
        for minutes in range(0, 150, 5):
            fleet.go(5, each_tick=self._is_safe)
            if minutes >= NOTICED_WITHIN_MINUTES:
                self._is_swept()
            if not self._left():
                return

    def _storm(self) -> None:
        fleet = self.fleet
        chance = fleet.chance
        if fleet.hits(0.3):
            for _ in range(chance.randint(1, 4)):
                tags = chance.choice([("docker",), ("docker", "big"), ("big",)])
                pushed = fleet.push(tags=tags, project=chance.choice([7, 7, 7, 8, 9]))
                if fleet.hits(0.03):
                    fleet.withheld.add(pushed)
        waiting = fleet.unfinished()
        if waiting and fleet.hits(fleet.weather.cancelled):
            fleet.cancel(chance.choice(waiting).id)
        if fleet.hits(fleet.weather.forged):
            fleet.forge()
        self._bad_hours()
        if fleet.hits(0.02):
            self._another_configuration()
        self._is_safe()

    def _bad_hours(self) -> None:
        """GitLab is out, the cloud has hardly any machines, the index of waiting jobs lags."""
        fleet = self.fleet
        self.down_for -= 1
        if self.down_for < 0 and fleet.hits(0.02):
            self.down_for = fleet.chance.choice([3, 45, 80])
        if fleet.gitlab_is_down != (self.down_for > 0):
            fleet.down(self.down_for > 0)
        if fleet.hits(0.03):
            fleet.scene.backend.room = fleet.chance.choice([0, 1, 100, 1_000])
        if fleet.hits(0.02):
            fleet.table.lag()
        elif fleet.hits(0.2):
            fleet.table.catch_up()

    def _another_configuration(self) -> None:
        """Ceilings below what lives, a pool taken away, runners kept warm; or back again."""
        low = self.text.replace("ceiling = 3", "ceiling = 1").replace("ceiling = 4", "ceiling = 1")
        warm = self.text.replace("count = 0", "count = 1")
        texts = [(self.text, ()), (low, ()), (self.text.replace(BIG, ""), ("big",))]
        if '"project"' not in self.text:
            texts.append((warm, ()))
        text, leaving = self.fleet.chance.choice(texts)
        self.fleet.applies(text, leaving=leaving)

    def _is_safe(self) -> None:
        """At every time: no job was killed, and the counters that guard the ceilings are right."""
        assert self.fleet.killed == []
        for pool in ("small", "big"):
            row = self.fleet.table.items.get((f"pool#{pool}", "pool"), {})
            assert row.get("in_use", 0) == len(self.fleet.rows(pool))

    def _is_swept(self) -> None:
        """No row outlives its machine for longer than GitLab believes in what ran there."""
        since = self.fleet.at - timedelta(minutes=NOTICED_WITHIN_MINUTES)
        rows = (row for pool in ("small", "big") for row in self.fleet.rows(pool))
        guests = (self.fleet.guests.get(row["machine_id"]) for row in rows if "machine_id" in row)
        assert [
            guest for guest in guests if guest and guest.gone_at and guest.gone_at < since
        ] == []

    def _left(self) -> list[str]:
        """What is not over yet, and should be some day."""
        fleet = self.fleet
        waiting = [job.id for job in fleet.unfinished() if not self._given_up(job.id)]
        return [
            *(f"job {number}" for number in waiting),
            *(
                machine.machine_id
                for machine in fleet.scene.backend.shown.values()
                if self._runs(machine)
            ),
            *(row["id"] for pool in ("small", "big") for row in fleet.rows(pool)),
            *(
                record.description
                for record in fleet.scene.gitlab.records.values()
                if record.description.startswith("rf-")
            ),
        ]

    def _runs(self, machine: Machine) -> bool:
        """Whether the machine is still there; of a blind back end only the machine itself knows."""
        guest = self.fleet.guests.get(machine.machine_id)
        return machine.alive and not (self.blind and guest is not None and guest.state == "gone")

    def _given_up(self, job_id: int) -> bool:
        row = self.fleet.scene.world.jobs.row(key(job_id))
        return row is not None and row.job.given_up

    def problems(self) -> Iterator[str]:
        """Everything that should not be so at the end."""
        yield from self._left()
        jobs = self.fleet.scene.world.jobs
        buried = {demand.job.job_id for demand in self.fleet.scene.queue.buried}
        for job in self.fleet.scene.gitlab.jobs.values():
            row = jobs.row(key(job.id))
            if row is None:
                continue  # it waited and ended within a minute, without a webhook
            if row.job.given_up and rank(job.status) is JobStatus.PENDING:
                if job.id not in buried or row.job.reason is not Reason.ATTEMPTS_USED:
                    yield f"job {job.id} was given up, and no message says so"
                if self.fleet.failed_launches(job.id) < ATTEMPTS[row.job.pool or ""]:
                    yield f"job {job.id} was given up too soon"
            is_over = rank(job.status) is JobStatus.FINISHED
            if is_over and row.job.pool and row.job.status is JobStatus.PENDING:
                yield f"job {job.id} is over and waits in the ledger"


def replayed(history: History) -> None:
    history.live()
    assert list(history.problems()) == []
    assert len(history.fleet.scene.gitlab.jobs) > 20
    assert len(history.fleet.guests) > 10


@pytest.mark.parametrize("seed", [1, 4, 25])
def test_nothing_is_stuck_leaked_or_killed_in_any_history(seed: int) -> None:
    replayed(History(seed))


@pytest.mark.parametrize("seed", [11, 50007])  # the second: one at work that was never heard of
def test_nothing_is_stuck_on_a_back_end_that_shows_no_machines(seed: int) -> None:
    replayed(History(seed, blind=True))


@pytest.mark.parametrize(("seed", "text"), [(1, BOTH), (25, BOTH), (11, SHARED)])
def test_nothing_is_stuck_where_most_events_are_forged(seed: int, text: str) -> None:
    replayed(History(seed, text=text, forged=0.7))


def test_nothing_is_stuck_where_a_pool_has_one_record_for_all_its_machines() -> None:
    replayed(History(11, text=SHARED))


def test_nothing_is_stuck_where_runners_are_a_project_s_own() -> None:
    replayed(History(4, text=OF_PROJECTS))


def test_with_every_webhook_lost_each_job_starts_within_a_minute_and_a_boot() -> None:
    fleet = LivingFleet(BOTH, weather=Weather(lost=1), seed=3, in_order=True)
    pushed = {}

    def push() -> None:
        for _ in range(fleet.chance.choice([0, 0, 1])):
            pushed[fleet.push(tags=("docker",), project=fleet.chance.choice([7, 8, 9]))] = fleet.at

    fleet.applies(BOTH.replace("ceiling = 3", "ceiling = 50"))
    fleet.go(10, each_tick=push)
    fleet.go(3)
    waits_s = {job: (fleet.started[job] - at).total_seconds() for job, at in pushed.items()}
    assert len(waits_s) > 5
    assert max(waits_s.values()) <= 60 + 40 + 2 * fleet.tick_s  # minute, boot, two ticks


def test_a_job_that_gitlab_gives_no_runner_is_given_up_and_harms_no_other() -> None:
    fleet = LivingFleet(BOTH, seed=4)
    hopeless = fleet.push()
    fleet.withheld.add(hopeless)
    others = [fleet.push(project=8) for _ in range(6)]
    fleet.go(30)
    assert {fleet.scene.gitlab.jobs[job].status for job in others} == {"success"}
    assert [demand.job.job_id for demand in fleet.scene.queue.buried] == [hopeless]
    assert fleet.failed_launches(hopeless) == ATTEMPTS["small"]
    assert fleet.rows("small") == []
