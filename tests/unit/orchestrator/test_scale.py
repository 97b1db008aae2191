"""The autoscaler on a back end that exists only here: how many machines, for whom, and why."""

from dataclasses import replace

import pytest

from adapters.aws.demand import Demand
from adapters.ledger.table import Change
from adapters.machines.backend import Shortfall
from fleet.aws_errors import ErrorKind
from fleet.errors import Transient
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale
from fleet.steps import StepName
from orchestrator.close import demand_again
from orchestrator.observe import observe
from orchestrator.scale import carry_out
from tests.unit.orchestrator.scene import (
    FLEET,
    ON_DEMAND,
    PROJECT,
    RETRYING,
    SHARED,
    SPOT,
    Scene,
    described,
    key,
)

WARM = FLEET + "idle = { count = 2, idle_time = '5m' }\n"


def test_one_job_gets_one_machine_with_its_credential() -> None:
    scene = Scene()
    scene.waits(1)
    assert scene.scale().launched == 1
    runner = scene.only_runner
    assert (runner.state, runner.for_job) == (RunnerState.IN_FLIGHT, key(1))
    assert runner.machine_id in scene.backend.shown
    record = scene.gitlab.records[runner.gitlab_runner_id or 0]
    assert (record.description, record.tags) == (described(runner), ("docker", "big"))
    assert scene.credential.token == f"glrt-{record.id}"
    assert (scene.job(1).reason, scene.steps(1)[-1]) == (Reason.COVERED, "launched")
    assert scene.queue.depth() == 0
    scene.books_balance()


def test_two_rounds_on_the_same_snapshot_launch_once() -> None:
    scene = Scene()
    scene.waits(1)
    (pool,) = scene.world.config.pools
    observations = [observe(scene.world, pool, messages=1) for _ in range(2)]
    outcomes = [
        carry_out(scene.world, observed, decide_scale(observed.snapshot, observed.limits))
        for observed in observations
    ]
    assert [outcome.machines for outcome in outcomes] == [1, 0]
    assert len(scene.backend.orders) == len(scene.runners) == 1
    scene.books_balance()


def test_an_index_that_lags_launches_nothing_twice() -> None:
    scene = Scene()
    scene.waits(1)
    scene.table.lag()
    scene.scale()
    scene.scale()
    scene.table.catch_up()
    assert len(scene.runners) == 1


@pytest.mark.parametrize("messages", [0, 1, 2])
def test_a_job_is_launched_for_once_whatever_became_of_its_message(messages: int) -> None:
    scene = Scene()
    scene.waits(1)
    scene.queue.messages.clear()
    scene.queue.send([Demand(job=key(1), project_id=PROJECT, pool="docker", attempt=1)] * messages)
    assert scene.scale().launched == 1
    assert scene.queue.depth() == 0


def test_at_the_ceiling_the_rest_waits_and_its_row_says_why() -> None:
    scene = Scene()
    runners = scene.launched(1, 2, 3, 4, 5)
    scene.waits(6, 7)
    done = scene.scale()
    assert (done.launched, done.reasons) == (0, {"docker": Reason.AT_CEILING})
    assert scene.job(6).reason is Reason.AT_CEILING
    assert scene.queue.depth() == 2
    scene.scale()
    assert scene.steps(6).count("waits") == 1  # noted once, not once a round
    scene.settle(1, "canceled")
    assert scene.world.runners.close(runners[0], Reason.FINISHED, at=scene.clock())
    assert scene.scale().launched == 1
    assert scene.job(6).reason is Reason.COVERED
    scene.books_balance()


def test_partial_capacity_launches_what_there_is_and_asks_again_later() -> None:
    scene = Scene()
    scene.backend.room = 2
    scene.waits(1, 2, 3)
    done = scene.scale()
    assert (done.launched, done.again_in_s) == (2, 1)
    scene.books_balance()
    scene.backend.room = 5
    held = scene.scale()
    assert (held.launched, held.reasons) == (0, {"docker": Reason.NO_CAPACITY_UNTIL})
    assert held.again_in_s is None
    waiting = [job for job in (1, 2, 3) if scene.job(job).reason is Reason.NO_CAPACITY_UNTIL]
    assert len(waiting) == 1
    assert scene.job(waiting[0]).attempt == 1  # that the cloud had none is not its attempt
    scene.clock.go(61)
    assert scene.scale().launched == 1
    scene.books_balance()


def test_a_configuration_that_aws_refused_is_asked_again_and_may_be_taken() -> None:
    """A permission is put right without `apply`."""
    scene = Scene()
    scene.backend.room = 0
    scene.backend.short = Shortfall(
        kind=ErrorKind.CONFIGURATION, code="UnauthorizedOperation", capacity=None, message="no"
    )
    scene.waits(1)
    scene.scale()
    scene.clock.go(299)
    assert scene.scale().reasons == {"docker": Reason.CONFIGURATION}
    assert scene.job(1).reason is Reason.CONFIGURATION
    scene.clock.go(2)
    assert scene.scale().reasons == {"docker": Reason.BACKLOG}
    assert "UnauthorizedOperation" in (scene.world.fleet.pool("docker").refused or "")
    scene.clock.go(599)  # refused twice: it waits twice as long
    scene.backend.room = 1
    assert scene.scale().reasons == {"docker": Reason.CONFIGURATION}
    scene.clock.go(2)
    assert scene.scale().launched == 1
    assert scene.world.fleet.pool("docker").refused is None


def test_a_launch_that_failed_unclearly_is_not_repeated_before_its_deadline() -> None:
    """The cloud may have made the machine: its intent stays until boot deadline says no."""
    scene = Scene()
    scene.waits(1)
    scene.backend.failing = Transient()
    with pytest.raises(Transient):
        scene.scale()
    scene.backend.failing = None
    assert scene.scale().launched == 0
    assert scene.only_runner.state is RunnerState.REQUESTED
    scene.books_balance()


def test_a_job_whose_machine_took_another_one_gets_its_own() -> None:
    """GitLab binds no runner to a job: that of job 1 gets job 2, which is younger."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.push(2)
    scene.takes(2, runner)
    assert scene.scale().launched == 1
    assert {runner.for_job for runner in scene.runners} == {key(1)}
    assert [runner.job for runner in scene.runners if runner.job] == [key(2)]


def test_a_warm_target_is_kept_and_its_runners_wait_long() -> None:
    scene = Scene(text=WARM)
    assert scene.scale().launched == 2
    credentials = [i for (_, sk), i in scene.table.mail.items.items() if sk == "credential"]
    (pool,) = scene.world.config.pools
    longest = pool.max_lifetime - pool.max_job_time
    assert {item["wait_timeout_s"] for item in credentials} == {longest.total_seconds()}
    assert scene.scale().launched == 0


def test_a_runner_that_stayed_idle_too_long_is_ordered_to_drain() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.reports(runner, MachineState.IDLE, StepName.CALLED_HOME)
    scene.settle(1, "canceled")
    scene.clock.go(601)
    scene.reports(runner, MachineState.IDLE)
    done = scene.scale()
    assert (done.drained, done.reasons) == (1, {"docker": Reason.SURPLUS})
    order = scene.table.mail.items[runner.mailbox or "", "order"]
    assert (order["order"], order["reason"]) == ("drain", "surplus")
    assert scene.only_runner.state is RunnerState.DRAINING
    assert scene.scale().drained == 0


def test_a_machine_that_another_round_is_equipping_just_now_is_left_to_it() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    pk = f"pool#{runner.pool}"
    scene.table.write(Change(pk=pk, sk=f"runner#{runner.id}", remove=("equipped",)))
    scene.clock.go(30)
    scene.scale()
    assert scene.gitlab.calls.count("create_runner") == 1
    scene.clock.go(31)
    scene.scale()
    assert scene.gitlab.calls.count("create_runner") == 2


def test_a_machine_is_equipped_once_and_a_record_that_is_too_late_is_deleted() -> None:
    scene = Scene()
    scene.waits(1)
    (pool,) = scene.world.config.pools
    scene.scale()
    runner = scene.only_runner
    seen_bare = observe(scene.world, pool, messages=0)
    pk = f"pool#{runner.pool}"
    scene.table.write(Change(pk=pk, sk=f"runner#{runner.id}", remove=("equipped",)))
    scene.clock.go(61)
    bare = observe(scene.world, pool, messages=0)
    scene.table.write(Change(pk=pk, sk=f"runner#{runner.id}", put={"equipped": True}))
    carry_out(scene.world, bare, decide_scale(bare.snapshot, bare.limits))
    assert list(scene.gitlab.records) == [seen_bare.snapshot.runners[0].gitlab_runner_id]


def test_a_shared_credential_makes_no_record() -> None:
    scene = Scene(text=SHARED)
    scene.launched(1)
    assert scene.gitlab.records == {}
    assert scene.credential.token == "glrt-p"


def test_a_retry_is_launched_on_demand() -> None:
    scene = Scene(text=RETRYING)
    scene.backend.places = (SPOT, ON_DEMAND)
    runner = scene.runs(1)
    scene.gitlab.change(1, status="failed", failure_reason="runner_system_failure")
    scene.settle(
        1, "failed", failure_reason="runner_system_failure", runner_description=described(runner)
    )
    again = max(scene.gitlab.jobs)
    scene.route(again)
    scene.scale()
    assert [order.try_in for order in scene.backend.orders] == [(SPOT, ON_DEMAND), (ON_DEMAND,)]
    assert "retry" in scene.steps(again)


def given_up() -> Scene:
    """A job whose letter lies in the dead-letter queue."""
    scene = Scene()
    scene.waits(1)
    demand_again(scene.world, replace(scene.job(1), attempt=2), Reason.BOOT_DEADLINE)
    return scene


@pytest.mark.parametrize("end", ["canceled", "renewed", "forgotten"])
def test_a_dead_letter_goes_with_what_it_tells_of(end: str) -> None:
    """Its alarm ends without a person, and not before the row can say what the letter does."""
    scene = given_up()
    if end == "canceled":
        scene.settle(1, "canceled")
    if end == "renewed":
        scene.table.items["job#gitlab.example.com#1", "job"].pop("given_up")
    if end == "forgotten":
        scene.table.items.pop(("job#gitlab.example.com#1", "job"))
    scene.scale()
    assert scene.queue.dead() == 1
    scene.clock.go(60)
    scene.scale()
    assert scene.queue.dead() == 0


@pytest.mark.parametrize(
    ("text", "remaining"),
    [
        (FLEET.replace("pools.docker", "pools.other"), 0),
        (FLEET.replace('backend = "tests"', 'backend = "lambda"\nmax_job_time = "11m"'), 0),
        (FLEET, 1),
    ],
)
def test_messages_for_a_pool_that_is_not_there_any_more_go(text: str, remaining: int) -> None:
    """Nothing is served from this back end's queue for it, whether it has other pools or none."""
    scene = Scene()
    scene.waits(1)
    scene.backend.room = 0
    scene.with_config(text)
    scene.scale()
    assert scene.queue.depth() == remaining


def test_a_dead_letter_stays_as_long_as_its_job_is_given_up() -> None:
    scene = given_up()
    for _ in range(3):
        scene.scale()
        scene.clock.go(60)
    assert scene.queue.dead() == 1


def test_what_a_machine_took_is_not_waiting_even_before_gitlab_says_so() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.reports(runner, MachineState.BUSY, StepName.JOB_TAKEN, job_id=1)
    assert scene.scale().launched == 0
