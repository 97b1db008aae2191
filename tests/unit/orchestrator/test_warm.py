"""Pools whose warm machines never serve, over hours: few launches, and an alarm."""

import pytest

from adapters.ledger.table import Change
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.steps import Outcome, StepName
from tests.unit.orchestrator.living_fleet import LivingFleet, Weather
from tests.unit.orchestrator.scene import FLEET, GITLAB, ON_DEMAND, SPOT, Scene, logged

TIMES = 'max_lifetime = "1h"\nboot_deadline = "5m"\nwait_timeout = "2m"\n'
KEPT_WARM = (
    '\n[pools.small]\nbackend = "tests"\ntags = ["docker"]\nceiling = 8\nattempts = 3\n'
    'idle = { count = 4 }\n'
) + TIMES  # fmt: skip
WARM = FLEET + "idle = { count = 1 }\n"


@pytest.mark.parametrize(
    "weather", [Weather(slow_boot=1), Weather(dies=1), Weather(dies=1, dies_unseen=1)],
    ids=["never calls home", "powers off", "dies unseen"],
)  # fmt: skip
def test_an_image_that_never_serves_is_launched_few_times(weather: Weather) -> None:
    fleet = LivingFleet(GITLAB + KEPT_WARM, seed=1, weather=weather, tick_s=30)
    fleet.go(3 * 60)
    assert len(fleet.guests) == 4 + 1 + 1, "the first launch, and two probes"
    fleet.scene.world.fleet.forgive("small")  # as `apply` does
    fleet.go(3 * 60)
    assert len(fleet.guests) == 2 * 6
    fleet.weather = Weather()
    fleet.scene.world.fleet.forgive("small")
    fleet.go(30)
    alive = [guest for guest in fleet.guests.values() if guest.state != "gone"]
    assert len(alive) == 4, "a good image is kept warm again"


def test_a_pool_that_stopped_serves_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = LivingFleet(GITLAB + KEPT_WARM, seed=1, weather=Weather(dies=1), tick_s=30)
    fleet.go(60)
    stopped = logged(capsys, "WarmLaunchesStopped")
    assert len(stopped) > 30, "each minute, for the alarm"
    assert {(line["pool"], line["failures"]) for line in stopped} == {("small", 3)}
    fleet.weather = Weather()
    job_id = fleet.push()
    fleet.go(15)
    assert fleet.scene.gitlab.jobs[job_id].status == "success"
    assert fleet.scene.world.fleet.pool("small").warm.failures == 3, "until the next apply"


def test_a_runner_that_serves_ends_the_row_of_failures() -> None:
    fleet = LivingFleet(GITLAB + KEPT_WARM, seed=1, weather=Weather(slow_boot=1), tick_s=30)
    fleet.go(9)
    assert fleet.scene.world.fleet.pool("small").warm.failures == 1
    fleet.weather = Weather()
    fleet.push()
    fleet.go(45)
    assert fleet.scene.world.fleet.pool("small").warm.failures == 0


def test_the_place_of_a_failed_warm_machine_is_asked_last() -> None:
    scene = Scene(WARM)
    scene.backend.places = (SPOT, ON_DEMAND)
    scene.scale()
    failed = scene.only_runner
    assert failed.capacity == str(SPOT)
    scene.reports(
        failed, MachineState.DONE, StepName.CALLED_HOME, StepName.CREDENTIAL_READ,
        outcome=Outcome.SYSTEM_FAILURE, detail="no Docker engine",
    )  # fmt: skip
    scene.closes(scene.only_runner, Reason.WENT_UNSERVED)
    assert scene.runners == ()
    scene.scale()
    assert scene.runners == (), "not at once"
    assert scene.world.fleet.pool("docker").reason == Reason.WARM_FAILED
    scene.clock.go(30)
    (for_a_job,) = scene.launched(1)
    assert for_a_job.capacity == str(ON_DEMAND), "elsewhere"


def test_a_second_close_counts_nothing_twice() -> None:
    scene = Scene(WARM)
    scene.scale()
    failed = scene.only_runner
    assert failed.state is RunnerState.IN_FLIGHT
    assert scene.closes(failed, Reason.BOOT_DEADLINE)
    assert not scene.closes(failed, Reason.MACHINE_GONE)
    assert scene.world.fleet.pool("docker").warm.failures == 1


def test_only_places_that_failed_are_left_to_ask() -> None:
    """Jobs have attempts of their own: a place in doubt is better than a job that waits."""
    scene = Scene(WARM)
    scene.backend.places = (SPOT,)
    scene.scale()
    scene.closes(scene.only_runner, Reason.BOOT_DEADLINE)
    (for_a_job,) = scene.launched(1)
    assert for_a_job.capacity == str(SPOT)


def test_a_runner_is_closed_though_its_end_cannot_be_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = Scene(WARM)
    scene.scale()
    failed = scene.only_runner
    unreadable = {"back_off": {str(SPOT): {"until": "never", "failures": 1, "code": "x"}}}
    scene.table.write(Change(pk="pool#docker", sk="pool", put=unreadable))
    assert scene.closes(failed, Reason.BOOT_DEADLINE)
    (line,) = logged(capsys, "WorkPutOff")
    assert (line["level"], line["doing"]) == (
        "WARNING",
        f"note how warm runner {failed.id} ended",
    )
