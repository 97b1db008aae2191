"""What goes wrong around the fleet costs no job its turn, and no project another's."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.machines.backend import Shortfall
from fleet.aws_errors import ErrorKind
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.model import JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.capacity import CapacityPool
from fleet.steps import Outcome, StepName
from tests.unit.adapters.fake_gitlab import Answer, fake_gitlab
from tests.unit.orchestrator.living_fleet import LivingFleet
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, SHARED, Scene, key

LATER_S = 31
PAUSE = Transient("our calls to GitLab are used up", retry_after_s=5.0)


def goes_unserved(scene: Scene, runner: Runner) -> None:
    """A machine gets no job, says goodbye and powers off."""
    scene.reports(runner, MachineState.DONE, StepName.ENDED, outcome=Outcome.NO_JOB)
    scene.clock.go(LATER_S)


def watching(*projects: int) -> Scene:
    """A fleet that watches these projects, the first of them unread for longest."""
    scene = Scene()
    scene.world.fleet.note_listed(INSTANCE, at=AT)
    for age, project in enumerate(projects):
        scene.world.fleet.watch(INSTANCE, project, f"acme/p{project}", at=AT)
        scene.world.fleet.note_polled(INSTANCE, project, at=AT - timedelta(hours=9 - age))
    return scene


# Attempts


def test_an_outage_of_gitlab_uses_up_no_attempt() -> None:
    """Machines boot, get no credential, and go: that is not the job's fault, nor theirs."""
    fleet = LivingFleet(FLEET)
    fleet.scene.gitlab.failing["create_runner"] = Transient(status=500)
    job = fleet.push()
    fleet.go(1)
    fleet.down(True)
    fleet.push()
    fleet.go(60)
    fleet.down(False)
    fleet.go(10)
    assert not fleet.unfinished()
    assert fleet.scene.job(job).attempt == 1


@pytest.mark.parametrize(
    ("failure", "attempt"),
    [
        pytest.param(None, 2, id="GitLab says that it waits"),
        pytest.param(Transient(status=502), 1, id="GitLab does not answer"),
        pytest.param(Refused("hidden", status=403), 2, id="GitLab never will"),
        pytest.param(Refused("revoked", status=401), 1, id="our token is dead"),
    ],
)
def test_a_goodbye_without_a_job_counts_while_gitlab_answers(
    failure: FleetError | None, attempt: int
) -> None:
    scene = Scene(text=SHARED)
    (runner,) = scene.launched(1)
    goes_unserved(scene, runner)
    if failure:
        scene.gitlab.failing["job"] = failure
    assert scene.sweep().closed == 1
    assert scene.job(1).attempt == attempt
    assert scene.scale().launched == 1


@pytest.mark.parametrize("has_event", [True, False], ids=["an AWS event", "the sweep finds it"])
def test_a_goodbye_without_a_job_counts_although_the_machine_is_gone_already(
    has_event: bool,
) -> None:
    """A machine powers off within seconds; the sweep comes once a minute."""
    scene = Scene()
    (runner,) = scene.launched(1)
    goes_unserved(scene, runner)
    scene.backend.die(runner.machine_id or "")
    if has_event:
        scene.world.backends["ec2"] = scene.backend  # type: ignore[index]
        scene.settle_machine("EC2 Instance State-change Notification", runner.machine_id or "")
    else:
        scene.sweep()
    assert scene.job(1).attempt == 2
    assert Reason.WENT_UNSERVED in {step.reason for step in scene.row(1).steps}


# Covered by no runner


def test_a_silent_machine_at_work_covers_no_other_job() -> None:
    """It took a job that the ledger never heard of, and its reports do not arrive."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.reports(runner, MachineState.IDLE)
    scene.settle(1, "canceled")
    scene.push(8)
    scene.hands_over(8, runner)
    for _ in range(7):
        scene.clock.go(60)
        assert scene.sweep().closed == 0
    assert (scene.only_runner.state, scene.only_runner.job) == (RunnerState.BUSY, key(8))
    assert (scene.job(8).status, scene.job(8).runner_id) == (JobStatus.RUNNING, runner.id)
    scene.waits(2)
    assert scene.scale().launched == 1


def test_a_silent_machine_that_may_be_at_work_is_left_also_where_a_pool_shares_its_record() -> None:
    """Neither its reports nor its webhook arrive; GitLab shows a job that no other one has."""
    scene = Scene(text=SHARED)
    silent, other = scene.launched(1, 2)
    for job_id in (1, 2):
        scene.gitlab.change(job_id, status="running", runner_id=1)
    scene.reports(other, MachineState.BUSY, StepName.JOB_TAKEN, job_id=2)
    scene.settle(2, "running", runner_id=1)
    scene.clock.go(60)
    assert scene.sweep().closed == 0
    scene.clock.go(301)
    scene.reports(other, MachineState.BUSY, job_id=2)
    assert scene.sweep().closed == 0
    scene.gitlab.change(1, status="success")
    assert scene.sweep().closed == 1
    assert scene.backend.ended == [silent.machine_id]


# Places


def test_what_one_launch_learned_of_a_place_the_next_one_of_the_round_knows() -> None:
    scene = Scene(text=FLEET.replace('"group:42"', '"project"'))
    spot, other = (
        CapacityPool(instance_type=name, subnet="subnet-1", market="spot")
        for name in ("m7i.large", "m7a.large")
    )
    scene.backend.places = (spot, other)
    scene.backend.room = 0
    scene.backend.short = Shortfall(
        kind=ErrorKind.CAPACITY, code="InsufficientInstanceCapacity", capacity=spot, message=""
    )
    for job_id, project in ((1, 7), (2, 8)):
        scene.waits(job_id, project_id=project)
    scene.scale()
    assert [order.try_in for order in scene.backend.orders] == [(spot, other), (other,)]
    held = scene.world.fleet.pool("docker").back_off or {}
    assert held[str(spot)].failures == 2  # the fake says so of spot whatever it was asked for


# Reading GitLab


def cancelled_unseen(scene: Scene, *job_ids: int, project: int = 7) -> None:
    """Jobs wait in the ledger that were cancelled in GitLab, and no webhook reported it."""
    for job_id in job_ids:
        scene.waits(job_id, project_id=project)
        scene.gitlab.change(job_id, status="canceled")
    scene.clock.go(60)


def test_a_project_with_much_to_look_up_keeps_no_other_from_being_read() -> None:
    scene = watching(7, 8)
    cancelled_unseen(scene, 1, 2, 3)
    scene.push(9, project_id=8)
    scene.gitlab.failing["job"] = PAUSE
    assert scene.reconcile().routed == 1
    assert scene.job(9).pool == "docker"
    scene.gitlab.failing.clear()
    scene.clock.go(60)
    assert scene.reconcile().looked_up == 3


def test_projects_take_turns_in_what_is_looked_up() -> None:
    scene = watching(7, 8)
    cancelled_unseen(scene, *range(1, 9))
    cancelled_unseen(scene, 9, project=8)
    #               presence, two projects, two jobs
    done = scene.reconcile(50.0, 50.0, 50.0, 50.0, 50.0)
    assert done.looked_up == 2
    assert scene.job(9).status is JobStatus.FINISHED


def test_a_project_that_uses_up_all_calls_has_no_first_turn_the_next_minute() -> None:
    scene = watching(7, 8)
    scene.push(9, project_id=8)
    scene.gitlab.failing["pending_jobs 7"] = PAUSE
    scene.reconcile()
    scene.clock.go(60)
    assert scene.reconcile().routed == 1


@pytest.mark.parametrize(
    ("failure", "calls"), [(Transient(status=502), 3), (PAUSE, 1), (Refused(status=403), 8)]
)
def test_looking_up_ends_when_gitlab_is_not_well(failure: FleetError, calls: int) -> None:
    scene = watching(7)
    cancelled_unseen(scene, *range(1, 9))
    scene.gitlab.failing["job"] = failure
    scene.gitlab.calls.clear()
    assert scene.reconcile().looked_up == 0
    assert scene.gitlab.calls.count("job") == calls


def test_of_a_huge_backlog_the_newest_are_read_and_the_older_ones_left_as_they_are() -> None:
    """More than GitLab lists in a minute's calls: what it does not list may still wait."""
    scene = watching(7)
    scene.waits(1, 2, 3, 2000)
    scene.gitlab.change(2000, status="canceled")
    for job_id in range(1001, 3001):
        if job_id != 2000:
            scene.push(job_id)
    scene.push(3001)
    scene.clock.go(60)
    done = scene.reconcile()
    assert (done.routed, done.looked_up) == (2000, 1)
    assert [scene.job(job_id).status for job_id in (1, 2, 3)] == [JobStatus.PENDING] * 3
    assert scene.job(2000).outcome == "canceled"


# Books


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 410])
@pytest.mark.parametrize("credentials", ["per-machine", "shared"])
def test_what_stands_before_gitlab_ends_no_working_machine(status: int, credentials: str) -> None:
    """Five silent minutes and an ingress whose page has GitLab's status: GitLab says nothing."""
    scene = Scene(FLEET.replace('"group:42"', f'"group:42"\ncredentials = "{credentials}"'))
    runner = scene.runs(1)
    scene.clock.go(60)
    assert scene.sweep().closed == 0  # its silence is counted from here
    page = "<html>default backend - 404</html>"
    with fake_gitlab() as ingress:
        ingress.always = Answer(status=status, body=page)
        allowance = OwnAllowance(calls_per_minute=1000, clock=scene.clock)
        before = GitLab(ingress.url, "glpat-1", allowance=allowance)
        scene.world = replace(scene.world, gitlab=before)
        scene.clock.go(301)
        assert scene.sweep().closed == 0
        assert scene.reconcile().looked_up == 0
        assert ingress.requests
    assert scene.backend.ended == []
    assert scene.only_runner.id == runner.id
    assert scene.job(1).status is JobStatus.RUNNING

    scene.world = replace(scene.world, gitlab=scene.gitlab)
    scene.gitlab.change(1, status="success")
    assert scene.sweep().closed == 1  # GitLab's own word, and the machine's silence


def test_once_every_place_is_dry_the_round_asks_no_more() -> None:
    scene = Scene(text=FLEET.replace('"group:42"', '"project"'))
    spot = CapacityPool(instance_type="m7i.large", subnet="subnet-1", market="spot")
    scene.backend.places = (spot,)
    scene.backend.room = 0
    for job_id in range(1, 6):
        scene.push(job_id, project_id=6 + job_id)
        scene.route(job_id)
    scene.scale()
    assert len(scene.backend.orders) == 1
    assert (scene.world.fleet.pool("docker").back_off or {})[str(spot)].failures == 1
    scene.books_balance()
