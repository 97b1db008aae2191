"""GitLab's list is the truth: reconcile corrects what no webhook reported and `apply` changed."""

from dataclasses import replace

import pytest

from fleet.errors import FleetError, Refused, Transient
from fleet.model import JobStatus, RunnerState
from fleet.reasons import Reason
from fleet.steps import StepName
from orchestrator.close import demand_again
from tests.unit.orchestrator.scene import AT, FLEET, GITLAB, INSTANCE, PROJECT, Scene, key, logged

GPU = '\n[pools.gpu]\nbackend = "tests"\ntags = ["gpu"]\nceiling = 1\n'


def watching(*projects: int, text: str = FLEET) -> Scene:
    """A fleet that watches these projects, and lists no groups for now."""
    scene = Scene(text=text)
    scene.world.fleet.note_listed(INSTANCE, at=AT)
    for project in projects or (PROJECT,):
        scene.world.fleet.watch(INSTANCE, project, f"acme/p{project}", at=AT)
    return scene


def test_a_job_whose_webhook_was_lost_is_routed_once() -> None:
    scene = watching()
    scene.push(1)
    done = scene.reconcile()
    assert (done.projects, done.routed, done.looked_up, done.wake) == (1, 1, 0, True)
    assert scene.steps(1) == ["reconcile_found", "routed", "demand_sent"]
    assert (scene.job(1).pool, scene.job(1).project_path) == ("docker", "acme/p7")
    scene.clock.go(60)
    done = scene.reconcile()
    assert (done.projects, done.routed) == (1, 0)
    assert scene.route(1).reason is Reason.STALE_EVENT  # its webhook comes late
    assert scene.queue.depth() == 1


def test_only_jobs_that_it_routed_count_as_routed(capsys: pytest.CaptureFixture[str]) -> None:
    scene = watching()
    scene.push(1)
    scene.push(2, runner_id=5)  # GitLab gives it away now
    done = scene.reconcile()
    assert (done.routed, done.wake) == (1, True)
    assert [line["routed"] for line in logged(capsys, "Reconciled")] == [1]


@pytest.mark.parametrize(
    ("status", "outcome", "rank"),
    [
        ("success", "success", JobStatus.FINISHED),
        ("canceled", "canceled", JobStatus.FINISHED),
        ("running", None, JobStatus.RUNNING),
        (None, "gone", JobStatus.FINISHED),
    ],
)
def test_a_row_that_waits_for_what_gitlab_does_not_list_is_looked_up(
    status: str | None, outcome: str | None, rank: JobStatus
) -> None:
    scene = watching()
    scene.waits(1)
    scene.clock.go(60)
    if status is None:
        scene.gitlab.jobs.clear()
    else:
        scene.gitlab.change(1, status=status)
    assert scene.reconcile().looked_up == 1
    assert (scene.job(1).status, scene.job(1).outcome) == (rank, outcome)
    unseen = Reason.TAKEN_UNSEEN if rank is JobStatus.RUNNING else Reason.FINISHED_UNSEEN
    assert scene.row(1).steps[-1].reason is unseen
    assert scene.world.jobs.waiting_in("docker") == ()


def test_a_job_taken_unseen_makes_its_runner_busy() -> None:
    scene = watching()
    (runner,) = scene.launched(1)
    scene.hands_over(1, runner)
    scene.clock.go(60)
    scene.reconcile()
    assert scene.job(1).runner_id == runner.id
    assert (scene.only_runner.state, scene.only_runner.job) == (RunnerState.BUSY, key(1))
    assert scene.row(1).steps[-1].reason == Reason.TAKEN_UNSEEN


def test_a_job_that_no_pool_could_take_is_routed_once_one_can() -> None:
    scene = watching()
    scene.waits(1, tags=("gpu",))
    for _ in range(2):
        scene.clock.go(60)
        scene.reconcile()
    assert scene.steps(1).count("routed") == 1  # no step is repeated while nothing changes
    scene.with_config(FLEET + GPU)
    scene.clock.go(60)
    assert scene.reconcile().routed == 0  # no webhook was lost
    assert (scene.job(1).pool, scene.job(1).reason) == ("gpu", Reason.ROUTED)
    assert [demand.pool for demand in scene.queue.demands] == ["gpu"]
    assert scene.scale().launched == 1


OTHER = FLEET.replace("pools.docker", "pools.other")
UNFIT = FLEET.replace('["docker", "big"]', '["big"]')
MORE = OTHER.removeprefix(GITLAB).replace("pools.other", "pools.more")
LESS = FLEET.replace("pools.docker", "pools.gpu").replace('["docker", "big"]', '["gpu"]')


@pytest.mark.parametrize(
    ("text", "removed", "why", "to"),
    [
        (OTHER, ("docker",), Reason.POOL_GONE, "other"),
        (UNFIT + OTHER.removeprefix(GITLAB), (), Reason.POOL_UNFIT, "other"),
        (LESS, ("docker",), Reason.POOL_GONE, None),
        (UNFIT, (), Reason.POOL_UNFIT, None),
    ],
)
@pytest.mark.parametrize("given_up", [False, True])
def test_a_job_leaves_a_pool_that_is_gone_or_does_not_fit_it_any_more(
    text: str, removed: tuple[str, ...], why: Reason, to: str | None, given_up: bool
) -> None:
    """Where no pool fits it waits among those without one, and goes to the first that does."""
    scene = watching()
    scene.waits(1)
    if given_up:
        demand_again(scene.world, replace(scene.job(1), attempt=2), Reason.BOOT_DEADLINE)
        assert scene.job(1).given_up
    scene.with_config(text, removed=removed)
    for _ in range(3):
        scene.clock.go(60)
        scene.reconcile()
        scene.scale()
    steps = scene.row(1).steps
    leaving, routed, *_ = steps[[step.name for step in steps].index(StepName.LEFT_POOL) :]
    assert (leaving.reason, leaving.pool) == (why, "docker")
    assert (routed.name, routed.pool) == ("routed", to)
    assert scene.steps(1).count("left_pool") == 1  # and no step is repeated while nothing changes
    job = scene.job(1)
    assert (job.pool, job.attempt, job.given_up) == (to, 1, False)
    assert scene.world.jobs.waiting_in("docker") == ()
    assert {demand.pool for demand in scene.queue.demands} <= {to}
    assert scene.queue.buried == []
    assert len(scene.backend.machines() or ()) == (1 if to else 0)
    if to is None:
        assert job.reason is Reason.NO_POOL
        scene.with_config(text + MORE, removed=removed)
        scene.clock.go(60)
        scene.reconcile()
        assert scene.job(1).pool == "more"
        assert scene.scale().launched == 1


@pytest.mark.parametrize("before", [FLEET, LESS])
def test_jobs_that_an_apply_moves_do_not_wait_for_their_projects_turn(before: str) -> None:
    """Neither from a pool that is gone, nor to one that is new."""
    scene = watching(*range(100, 140), text=before)
    scene.waits(1, project_id=139)
    for project in range(100, 140):
        scene.world.fleet.note_polled(INSTANCE, project, at=scene.clock.go(1))
    scene.clock.go(1200)
    after = LESS if before == FLEET else FLEET
    scene.with_config(
        after.replace("[pools", "calls_per_minute = 10\n[pools", 1), removed=("docker", "gpu")
    )
    scene.reconcile()
    assert scene.job(1).pool == ("docker" if after == FLEET else None)


def test_more_projects_than_calls_take_turns() -> None:
    few = FLEET.replace('runners_in = "group:42"', 'runners_in = "group:42"\ncalls_per_minute = 10')
    scene = watching(*range(7, 16), text=few)
    for project in range(7, 16):
        scene.push(project, project_id=project)
    rounds = 0
    while scene.queue.depth() < 9:
        assert scene.reconcile().projects <= 3
        scene.clock.go(60)
        rounds += 1
        assert rounds <= 20


def test_a_living_runner_wakes_it_and_a_warm_target_does() -> None:
    scene = watching()
    scene.launched(1)
    scene.gitlab.change(1, status="running")
    assert scene.reconcile().wake
    warm = FLEET.replace("ceiling =", "idle = { count = 1 }\nceiling =", 1)
    assert watching(text=warm).reconcile().wake


def test_a_message_that_no_job_needs_any_more_wakes_it() -> None:
    scene = watching()
    scene.waits(1)
    scene.gitlab.change(1, status="canceled")
    scene.clock.go(60)
    assert scene.reconcile().wake
    scene.clock.go(60)
    assert scene.reconcile().wake  # the row is closed now, its message is not deleted yet


@pytest.mark.parametrize("failure", [Transient(status=500), Refused("hidden", status=404)])
def test_a_project_that_gitlab_cannot_answer_for_blocks_no_other(failure: FleetError) -> None:
    scene = watching(7, 8)
    scene.push(1, project_id=8)
    scene.gitlab.failing["pending_jobs 7"] = failure
    assert scene.reconcile().routed == 1


@pytest.mark.parametrize(
    ("failure", "calls"),
    [(Transient(status=502), 3), (Transient(retry_after_s=5.0), 1), (Refused(status=403), 8)],
)
def test_a_gitlab_that_is_down_is_not_asked_for_every_project(
    failure: FleetError, calls: int
) -> None:
    scene = watching(*range(7, 15))
    scene.gitlab.failing["pending_jobs"] = failure
    scene.reconcile()
    assert scene.gitlab.calls.count("pending_jobs") == calls


def test_a_pass_ends_before_its_time_does() -> None:
    scene = watching(7, 8, 9)
    #                       presence, two projects, not the third, and no listing
    assert scene.reconcile(50.0, 50.0, 50.0).projects == 2
    assert scene.gitlab.calls.count("pending_jobs") == 2
