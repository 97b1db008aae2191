"""The end of one runner: whole, once, and with its history in the job's own."""

from datetime import timedelta

import pytest

from adapters.machines.backend import Machine
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.steps import StepName, Undated
from orchestrator.close import demand_again, end_machine
from tests.unit.orchestrator.scene import AT, FLEET, Scene


def test_machine_record_and_row_go_and_the_room_is_free() -> None:
    scene = Scene()
    runner = scene.runs(1)
    assert scene.closes(runner, Reason.FINISHED)
    assert scene.backend.ended == [runner.machine_id]
    assert scene.gitlab.records == {}
    assert scene.world.fleet.pool("docker").in_use == 0
    assert scene.table.mail.items == {}
    ended = scene.table.items[f"runner#{runner.id}", "runner"]
    assert (ended["reason"], ended["ended_at"]) == ("finished", AT.isoformat())
    assert not scene.closes(runner, Reason.FINISHED)  # another did
    assert scene.world.fleet.pool("docker").in_use == 0
    assert scene.steps(1).count("machine_gone") == 1


def test_the_steps_that_a_machine_reported_stay_with_the_job_that_it_ran() -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.clock.go(20)
    scene.reports(runner, MachineState.DONE, StepName.FIRST_OUTPUT, StepName.ENDED, job_id=1)
    scene.closes(runner, Reason.FINISHED)
    by_name = {step.name: step for step in scene.row(1).steps}
    assert by_name[StepName.JOB_TAKEN].at == AT
    assert by_name[StepName.ENDED].at == AT + timedelta(seconds=20)
    assert (by_name[StepName.MACHINE_GONE].reason, by_name[StepName.MACHINE_GONE].machine) == (
        Reason.FINISHED,
        runner.machine_id,
    )
    row = scene.row(1)
    assert (row.torn_down_at, row.machine) == (scene.clock(), runner.machine_id)


TWO_KINDS = """executor = "shell"
overflow = "containers"

[pools.containers]
backend = "tests"
tags = ["docker"]
ceiling = 1
"""


@pytest.mark.parametrize(
    ("steps", "pool", "reason"),
    [
        ([], "docker", Reason.ROUTED),
        ([(StepName.IMAGE, 1, "ruby:3")], "containers", Reason.IMAGE),
        ([(StepName.SERVICES, 1, "redis")], "containers", Reason.SERVICES),
        ([(StepName.IMAGE, 2, "ruby:3")], "docker", Reason.ROUTED),
        (
            [(StepName.IMAGE, 1, "ruby:$V"), (StepName.IMAGE, 1, "ruby:3")],
            "containers",
            Reason.IMAGE,
        ),
    ],
    ids=["nothing", "an image", "services", "of another job", "an image with variables"],
)
def test_what_a_job_asks_for_decides_where_the_next_of_its_name_goes(
    steps: list[tuple[StepName, int, str]], pool: str, reason: Reason
) -> None:
    scene = Scene(text=FLEET + TWO_KINDS)
    runner = scene.runs(1)
    reported_steps = [
        Undated(name=name, job_id=job_id, detail=text) for name, job_id, text in steps
    ]
    scene.reports(runner, MachineState.DONE, *reported_steps, StepName.JOB_FINISHED, job_id=1)
    assert scene.closes(scene.only_runner, Reason.FINISHED)
    scene.push(2, name=scene.job(1).name)
    assert scene.route(2).reason is reason
    assert scene.job(2).pool == pool
    scene.waits(3, name="another")
    assert scene.job(3).pool == "docker"


def test_a_runner_without_a_machine_closes_too_and_its_record_goes() -> None:
    scene = Scene()
    scene.waits(1)
    scene.backend.failing = Transient()
    with pytest.raises(Transient):
        scene.scale()
    assert scene.closes(scene.only_runner, Reason.BOOT_DEADLINE)
    assert not scene.gitlab.records
    scene.books_balance()


@pytest.mark.parametrize("side", ["machine", "record"])
def test_while_one_side_fails_the_row_stays(side: str) -> None:
    scene = Scene()
    runner = scene.runs(1)
    failure = Refused("not allowed", status=403)
    if side == "machine":
        scene.backend.failing = failure
    else:
        scene.gitlab.failing["delete_runner"] = failure
    assert not scene.closes(runner, Reason.FINISHED)
    assert scene.world.fleet.pool("docker").in_use == 1
    assert "machine_gone" not in scene.steps(1)
    scene.backend.failing = None
    scene.gitlab.failing.clear()
    assert scene.closes(runner, Reason.FINISHED)
    scene.books_balance()


def test_the_next_attempt_is_sent_once() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    before = scene.job(1)
    scene.loses(runner, Reason.BOOT_DEADLINE)
    demand_again(scene.world, before, Reason.BOOT_DEADLINE)  # the other finder of the same end
    assert [demand.attempt for demand in scene.queue.demands] == [2]
    assert scene.job(1).attempt == 2
    (step,) = [step for step in scene.row(1).steps if step.reason == Reason.BOOT_DEADLINE][-1:]
    assert (step.name, step.cause) == (StepName.DEMAND_SENT, Reason.BOOT_DEADLINE)
    assert (step.attempt, step.attempts) == (1, 2)


def test_the_last_attempt_goes_to_the_dead_letters_once() -> None:
    scene = Scene(text=FLEET.replace("attempts = 2", "attempts = 1"))
    (runner,) = scene.launched(1)
    before = scene.job(1)
    scene.loses(runner, Reason.BOOT_DEADLINE)
    demand_again(scene.world, before, Reason.BOOT_DEADLINE)
    assert len(scene.queue.buried) == 1
    assert scene.queue.depth() == 0
    assert scene.job(1).given_up
    assert scene.row(1).steps[-1].reason == Reason.ATTEMPTS_USED


def test_a_job_whose_pool_was_removed_is_left_to_reconcile() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.with_config(FLEET.replace("pools.docker", "pools.other"))
    scene.loses(runner, Reason.MACHINE_GONE)
    assert scene.queue.depth() == 0
    assert scene.job(1).attempt == 1


@pytest.mark.parametrize(
    ("ended", "calls"), [pytest.param(True, 0, id="ended"), pytest.param(False, 1, id="stopped")]
)
def test_a_machine_that_its_cloud_shows_as_ended_costs_no_call(ended: bool, calls: int) -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    shown = Machine(
        machine_id=runner.machine_id or "", alive=False, launched_at=scene.clock(),
        launch_id=None, pool=None, ended=ended,
    )  # fmt: skip
    scene.backend.failing = Transient()
    made = 0
    try:
        end_machine(scene.world, runner, Reason.MACHINE_GONE, shown=shown)
    except Transient:
        made = 1
    assert made == calls
