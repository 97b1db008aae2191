"""What was given up has its attempts again after an `apply`, as long as GitLab lists it."""

import pytest

from fleet.errors import Transient
from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from tests.unit.orchestrator.living_fleet import LivingFleet
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, Scene, key


def given_up(*job_ids: int) -> Scene:
    """Jobs whose machines died one after the other, until their attempts were used."""
    scene = Scene()
    scene.world.fleet.watch(INSTANCE, 7, "acme/demo", at=AT)
    scene.launched(*job_ids)
    loses_all(scene)
    scene.clock.go(60)
    return scene


def loses_all(scene: Scene) -> None:
    """Every machine is gone before it takes a job, as often as one is launched."""
    while scene.runners:
        for runner in scene.runners:
            scene.backend.die(runner.machine_id or "")
        scene.clock.go(121)
        scene.sweep()
        scene.scale()


def applies(scene: Scene, text: str = FLEET) -> None:
    scene.clock.go(60)
    scene.with_config(text)


@pytest.mark.parametrize("text", [FLEET, FLEET + "# cured\n"], ids=["the same file", "another"])
def test_apply_renews_the_attempts_of_what_gitlab_lists(text: str) -> None:
    scene = given_up(1, 2)
    scene.gitlab.change(2, status="canceled")
    assert (scene.job(1).given_up, len(scene.queue.buried)) == (True, 2)
    assert (scene.reconcile().routed, scene.scale().launched) == (0, 0)
    applies(scene, text)
    done = scene.reconcile()
    assert (done.routed, done.wake) == (0, True)  # no webhook was lost
    assert (scene.job(1).given_up, scene.job(1).reason) == (False, Reason.RENEWED)
    assert scene.job(2).status is JobStatus.FINISHED
    assert [demand.job for demand in scene.queue.demands] == [key(1)]
    assert scene.reconcile().routed == 0
    assert scene.scale().launched == 1
    for _ in range(2):
        scene.clock.go(60)
        scene.scale()
    assert scene.queue.buried == []


def test_a_job_that_a_person_forgives_gets_a_machine_without_a_demand() -> None:
    """No person may send one: see the policies of the queues."""
    scene = given_up(1)
    step = Step(at=AT, name=StepName.WAITS, reason=Reason.FORGIVEN)
    assert scene.world.jobs.renew(scene.job(1), step)
    assert (scene.reconcile().wake, scene.queue.demands) == (True, [])
    assert scene.scale().launched == 1


def test_a_job_that_fails_again_uses_them_again_and_says_so_again() -> None:
    scene = given_up(1)
    for _ in range(3):
        applies(scene)
        before = len(scene.backend.orders)
        scene.reconcile()
        scene.scale()
        loses_all(scene)
        assert len(scene.backend.orders) - before == 2
        assert (scene.job(1).given_up, len(scene.queue.buried)) == (True, 1)
        (*_, step) = (entry for entry in scene.row(1).steps if entry.name is StepName.GIVEN_UP)
        assert (step.attempt, step.attempts, step.cause) == (2, 2, Reason.MACHINE_GONE)
        assert scene.reconcile().routed == 0


def test_two_passes_at_once_renew_once_and_a_late_finder_costs_nothing() -> None:
    scene = given_up(1)
    applies(scene)
    job = scene.job(1)
    scene.reconcile()
    attempt = scene.job(1).attempt
    step = scene.row(1).steps[-1]
    assert not scene.world.jobs.renew(job, step)
    assert not scene.world.jobs.demand_again(job.key, attempt, step, given_up=True)
    assert (scene.job(1).attempts_used, scene.job(1).given_up) == (1, False)


def test_what_was_withheld_runs_after_the_cause_is_cured_and_applied() -> None:
    """GitLab gives the jobs to no runner; then a person puts that right, and applies."""
    fleet = LivingFleet(FLEET)
    jobs = [fleet.push() for _ in range(4)]
    fleet.withheld = set(jobs)
    fleet.go(90)
    assert all(fleet.scene.job(job).given_up for job in jobs)
    made = len(fleet.guests)
    fleet.withheld = set()
    fleet.go(20)
    assert len(fleet.guests) == made
    fleet.applies(FLEET)
    fleet.go(2)
    assert len(fleet.guests) > made
    fleet.go(15)
    assert not fleet.unfinished()
    assert not fleet.scene.queue.buried


def test_a_crash_after_the_row_leaves_a_job_that_is_launched_for() -> None:
    scene = given_up(1)
    applies(scene)
    scene.queue.failing = Transient(call="sqs.SendMessageBatch")
    scene.reconcile()
    scene.queue.failing = None
    assert scene.scale().launched == 1
