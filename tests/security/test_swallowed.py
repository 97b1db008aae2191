"""An invocation that a hostile job took from another job's runner costs that other job nothing."""

from dataclasses import replace

import pytest

from fleet.machine.mailbox import MachineState
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.attempts import SWALLOWED_AT_MOST, Cost, decide_attempt, decide_cost
from fleet.steps import StepName
from tests.unit.fleet.facts import job, key, runner
from tests.unit.orchestrator.scene import Scene, key as scene_key

SANDBOX = runner("r", backend="lambda", for_job=key(1))


@pytest.mark.parametrize(
    ("lost", "swallowed", "read_credential", "cost"),
    [
        (SANDBOX, 0, False, Cost.LAUNCH),
        (SANDBOX, SWALLOWED_AT_MOST - 1, False, Cost.LAUNCH),
        (SANDBOX, SWALLOWED_AT_MOST, False, Cost.ATTEMPT),
        (SANDBOX, 0, True, Cost.ATTEMPT),
        (replace(SANDBOX, backend="ec2"), 0, False, Cost.ATTEMPT),
        (replace(SANDBOX, job=key(2)), 0, False, Cost.NOTHING),
    ],
)
@pytest.mark.parametrize("reason", [Reason.BOOT_DEADLINE, Reason.INVOCATION_FAILED])
def test_only_a_lambda_runner_without_a_credential_was_swallowed(
    lost: Runner, swallowed: int, read_credential: bool, cost: Cost, reason: Reason
) -> None:
    waits = job(1, swallowed=swallowed)
    assert decide_cost(waits, lost, reason, read_credential=read_credential) is cost


@pytest.mark.parametrize(("cost", "swallowed"), [(Cost.LAUNCH, 2), (Cost.ATTEMPT, 1)])
def test_only_a_launch_without_cost_counts_as_swallowed(cost: Cost, swallowed: int) -> None:
    waits = job(1, attempt=2, swallowed=1)
    plan = decide_attempt(waits, waits, attempts=2, reason=Reason.BOOT_DEADLINE, cost=cost)
    assert plan is not None
    assert plan.swallowed == swallowed


def in_lambda(runner: Runner) -> Runner:
    return replace(runner, backend="lambda")


def test_a_swallowed_invocation_is_launched_again_at_once_and_not_for_ever() -> None:
    """The numbers of the launches go on; the attempts are used only from the fourth on."""
    scene = Scene()
    scene.waits(1)
    used = []
    for _ in range(SWALLOWED_AT_MOST + 2):
        scene.scale()
        scene.loses(in_lambda(scene.only_runner), Reason.BOOT_DEADLINE)
        used.append(scene.job(1).attempts_used)
    assert used == [1, 1, 1, 2, 3]
    assert scene.job(1).given_up
    assert len(scene.queue.buried) == 1
    reasons = [step.reason for step in scene.row(1).steps]
    assert reasons.count(Reason.SWALLOWED) == SWALLOWED_AT_MOST


def test_a_sandbox_that_is_given_up_costs_no_attempt() -> None:
    """It called home, found itself unclean, and left the credential where it was."""
    scene = Scene()
    (lost,) = scene.launched(1)
    scene.reports(lost, MachineState.DONE, StepName.CALLED_HOME, StepName.ENDED)
    scene.loses(in_lambda(scene.only_runner), Reason.WENT_UNSERVED)
    assert (scene.job(1).attempt, scene.job(1).attempts_used) == (2, 1)
    assert [demand.attempt for demand in scene.queue.demands] == [2]


def test_a_renewed_job_has_all_its_attempts() -> None:
    scene = Scene()
    scene.waits(1)
    for _ in range(SWALLOWED_AT_MOST + 2):
        scene.scale()
        scene.loses(in_lambda(scene.only_runner), Reason.BOOT_DEADLINE)
    row = scene.row(1)
    assert scene.world.jobs.renew(row.job, replace(row.steps[-1], reason=Reason.RENEWED))
    assert scene.job(1).attempts_used == 1
    assert scene.world.jobs.job(scene_key(1)) == scene.job(1)
