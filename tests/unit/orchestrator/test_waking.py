"""A wake follows each job that waits in a pool, in any order of events and after any death."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, permutations

import pytest

from adapters.aws.demand import Demand
from adapters.ledger.table import Change
from fleet.errors import FleetError, Transient
from fleet.job_event import JobEvent
from fleet.model import Job
from orchestrator.route import route_event
from tests.fakes import Clock, FakeQueue, FakeTable
from tests.unit.orchestrator.scene import FLEET, PROJECT, Scene, key

# One pipeline: two jobs of ours, one for another team's runners, one that no pool takes untagged.
PIPELINE = {1: ("docker",), 2: ("docker", "big"), 3: ("gpu",), 4: ()}
TRIES = 5  # of the route machine's task
ROUNDS = 20  # of its waits for another reader


class Died(Exception):
    """The function's process ended: nothing more of this invocation happens."""


@dataclass
class Fate:
    """Something befalls an invocation before its n-th effect; the dead have no effect."""

    before: int = 0
    befalls: Callable[[], None] = lambda: None
    effects: int = 0
    dead: bool = False

    def effect(self) -> None:
        """One effect is about to happen."""
        self.alive()
        self.effects += 1
        if self.effects == self.before:
            self.befalls()
            self.alive()

    def alive(self) -> None:
        if self.dead:
            raise Died


class FatedTable(FakeTable):
    """A table that its caller may not live to write to."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self.fate = fate
        self.numbers = count(1)
        self.routed: dict[str, int] = {}  # when each job's row was written, by partition

    def _carry_out(self, changes: Iterable[Change]) -> bool:
        changes = list(changes)
        self.fate.effect()
        done = super()._carry_out(changes)
        if done:
            partitions = [change.pk for change in changes if "pool" in change.put]
            self.routed |= dict.fromkeys(partitions, next(self.numbers))
        return done

    def _may_fail(self) -> None:
        self.fate.alive()
        super()._may_fail()


class FatedQueue(FakeQueue):
    """A queue that its caller may not live to send to."""

    def __init__(self, clock: Clock, fate: Fate) -> None:
        super().__init__(clock)
        self.fate = fate

    def send(self, demands: Iterable[Demand]) -> None:
        self.fate.effect()
        super().send(demands)


@dataclass
class Execution:
    """One execution of the route machine: its tries, its waits, its wake."""

    event: JobEvent
    tries: int = 0
    rounds: int = 0


@dataclass
class Site:
    """A scene on fated collaborators, and the executions of the route machine there."""

    fate: Fate = field(default_factory=Fate)
    wakes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = FatedTable(self.fate)
        self.scene = Scene(table=self.table)
        self.scene.queue = FatedQueue(self.scene.clock, self.fate)
        self.scene.with_config(FLEET)
        for job_id, tags in PIPELINE.items():
            self.scene.push(job_id, tags=tags)
        self.waiting: deque[Execution] = deque()

    def comes(self, *job_ids: int) -> None:
        """Webhooks of these jobs come, one after the other."""
        self.waiting.extend(
            Execution(event=self.scene.event(job_id, "pending")) for job_id in job_ids
        )

    def run(self) -> None:
        while self.waiting:
            self.step()

    def step(self) -> None:
        """One invocation of the execution that waits longest; it may have to come again."""
        this = self.waiting.popleft()
        try:
            result = route_event(self.scene.world, this.event)
        except (Died, FleetError):
            self.fate.dead = False
            this.tries += 1
            self.scene.clock.go(1)
            if this.tries < TRIES:
                self.waiting.append(this)
            return
        if result.again_in_s is not None:
            this.rounds += 1
            self.scene.clock.go(result.again_in_s)
            assert this.rounds < ROUNDS
            self.waiting.append(this)
        elif result.wake:
            self.wakes.append(next(self.table.numbers))

    def kill(self) -> None:
        self.fate.dead = True

    def forgotten(self) -> list[Job]:
        """The jobs that wait in a pool and that no wake followed."""
        last = max(self.wakes, default=0)
        return [
            job
            for job in self.scene.world.jobs.waiting_in("docker")
            if self.table.routed[f"job#{job.key}"] > last
        ]


def orders() -> Iterator[tuple[int, ...]]:
    """What comes of a pipeline's webhooks: some, in any order, one of them twice."""
    for size in range(1, len(PIPELINE) + 1):
        yield from permutations(PIPELINE, size)
    yield from permutations((*PIPELINE, 3), 3)


EVERY_ORDER = sorted(set(orders()))


def effects_of(order: tuple[int, ...]) -> int:
    """How many effects an undisturbed run has."""
    site = Site()
    site.comes(*order)
    site.run()
    return site.fate.effects


def checked(site: Site) -> None:
    """No job that should wait is missing, and none is forgotten."""
    waiting = {job.job_id for job in site.scene.world.jobs.waiting_in("docker")}
    assert waiting == {1, 2}
    assert site.forgotten() == []


def test_every_order_of_a_pipelines_webhooks_and_every_death() -> None:
    for order in EVERY_ORDER:
        for before in range(effects_of(order) + 1):
            site = Site()
            site.fate.before, site.fate.befalls = before, site.kill
            site.comes(*order)
            site.run()
            checked(site)


def test_another_webhook_comes_in_between_any_two_effects() -> None:
    for order in permutations(PIPELINE, 2):
        for before in range(1, effects_of(order) + 1):
            for dies in (False, True):
                site = Site()

                def befalls(site: Site = site, dies: bool = dies) -> None:
                    if site.waiting:
                        site.step()
                    site.fate.dead = dies

                site.fate.before, site.fate.befalls = before, befalls
                site.comes(*order)
                site.run()
                checked(site)


def test_a_reader_whose_every_try_dies_leaves_the_others_to_their_own_webhooks() -> None:
    for before in range(1, effects_of((3,)) + 1):
        site = Site()
        site.fate.before, site.fate.befalls = before, site.kill
        site.comes(3)
        site.step()
        site.waiting.clear()
        site.comes(4, 1, 2)
        site.run()
        checked(site)


def test_wakes_end_with_what_is_covered() -> None:
    site = Site()
    site.comes(3, 1, 2, 4)
    site.run()
    site.scene.scale()
    site.wakes.clear()
    site.scene.clock.go(300)
    site.comes(1, 2, 4, 3)
    site.run()
    assert site.wakes == []


def test_a_wake_before_the_index_shows_the_job_looks_again_soon() -> None:
    scene = Scene()
    scene.push(1)
    scene.table.lag()
    scene.route(1)
    scene.queue.depth = lambda: 0  # type: ignore[method-assign]  # SQS counts about
    result = scene.scale()
    assert (result.launched, result.again_in_s) == (0, 1)
    scene.table.catch_up()
    scene.clock.go(2)
    assert (scene.scale().launched, scene.scale().again_in_s) == (1, None)


class TestSettle:
    """A runner that takes what was never counted leaves the job that it was there for."""

    def runs(self, scene: Scene, job_id: int) -> bool:
        runner = scene.only_runner
        return scene.takes(job_id, runner).wake

    @pytest.mark.parametrize("tags", [("docker",), ("gpu",), ()])
    @pytest.mark.parametrize("routed", [False, True])
    def test_it_wakes_scaling(self, tags: tuple[str, ...], routed: bool) -> None:
        scene = Scene()
        scene.launched(1)
        scene.push(2, tags=tags)
        if routed:
            scene.route(2)
        was_counted = routed and tags == ("docker",)
        assert [self.runs(scene, 2) for _ in range(2)] == [not was_counted] * 2  # a retry, too

    def test_a_relaunch_that_cannot_be_written_down_still_wakes(self) -> None:
        scene = Scene()
        (runner,) = scene.launched(1)
        scene.backend.die(runner.machine_id or "")
        scene.queue.failing = Transient(call="sqs.SendMessageBatch")
        scene.world.backends["ec2"] = scene.backend  # type: ignore[index]
        result = scene.settle_machine(
            "EC2 Instance State-change Notification", runner.machine_id or ""
        )
        assert result.wake
        assert scene.runners == ()
        scene.queue.failing = None
        assert scene.scale().launched == 1


class TestReconcile:
    """What reconcile routes is followed by a wake, however little else is going on."""

    @pytest.mark.parametrize("tags", [("docker",), ("gpu",)])
    def test_a_pool_that_was_applied(self, tags: tuple[str, ...]) -> None:
        scene = Scene(text=FLEET.replace('["docker", "big"]', '["other"]'))
        scene.waits(1, tags=tags)
        scene.with_config(FLEET)
        scene.queue.depth = lambda: 0  # type: ignore[method-assign]  # SQS counts about
        assert scene.reconcile().wake == (tags == ("docker",))

    def test_a_project_that_fails_after_its_jobs_were_routed(self) -> None:
        scene = Scene()
        scene.world.fleet.watch("gitlab.example.com", PROJECT, "acme/demo", at=scene.clock())
        scene.push(1)
        scene.queue.failing = Transient(call="sqs.SendMessageBatch")
        assert scene.reconcile().wake
        assert scene.world.jobs.job(key(1)) is not None
