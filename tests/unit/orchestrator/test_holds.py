"""While GitLab gives no credential no machine is launched for one, and no attempt is used."""

from collections.abc import Iterable

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from fleet.errors import FleetError, Refused, Transient
from fleet.holds import Hold
from fleet.model import JobStatus
from fleet.reasons import Reason
from tests.unit.orchestrator.living_fleet import LivingFleet
from tests.unit.orchestrator.scene import GITLAB, Scene

POOLS = """
[pools.docker]
backend = "tests"
tags = ["docker"]
ceiling = 12
attempts = 2

[pools.arm]
backend = "tests"
tags = ["arm"]
ceiling = 12
attempts = 2
"""
SHARED = GITLAB + 'credentials = "shared"\n' + POOLS
PER_MACHINE = GITLAB + POOLS
PER_PROJECT = GITLAB.replace("group:42", "project") + POOLS
LIMIT = {"base": ["Maximum number of ci registered group runners (50) exceeded"]}
A_HANDFUL = 5
JOBS = 20


def refused(status: int, words: object = "") -> Refused:
    return Refused(call="POST /user/runners", status=status, words=str(words))


def burst(fleet: LivingFleet, *, projects: Iterable[int] = (7, 8, 9)) -> list[int]:
    """Twenty jobs in two pools, of several projects; their webhooks come within a minute."""
    places = list(projects)
    jobs = [
        fleet.push(tags=(("docker", "arm")[n % 2],), project=places[n % len(places)])
        for n in range(JOBS)
    ]
    fleet.go(1)
    return jobs


def serves_all_within_two_ticks(fleet: LivingFleet, jobs: Iterable[int]) -> None:
    """Each job has a machine that was launched for it, or runs, and no attempt was used."""
    fleet.go(2)
    rows = [fleet.scene.job(job) for job in jobs]
    assert {job.attempt for job in rows} == {1}
    waits = [row for row in rows if row.status is JobStatus.PENDING]
    assert {row.reason for row in waits} <= {Reason.COVERED}
    fleet.go(12)
    assert not fleet.unfinished()
    assert not fleet.scene.queue.buried
    assert {fleet.scene.job(job).attempt for job in jobs} == {1}


@pytest.mark.parametrize(
    ("text", "failure", "reason"),
    [
        pytest.param(PER_MACHINE, refused(401), Reason.GITLAB_REFUSES, id="401"),
        pytest.param(SHARED, refused(401), Reason.GITLAB_REFUSES, id="401, shared"),
        pytest.param(PER_PROJECT, refused(401), Reason.GITLAB_REFUSES, id="401, of a project"),
        pytest.param(PER_MACHINE, refused(400, LIMIT), Reason.GITLAB_REFUSES, id="400"),
        pytest.param(PER_PROJECT, refused(403), Reason.GITLAB_REFUSES, id="403"),
        pytest.param(SHARED, refused(404), Reason.GITLAB_REFUSES, id="404"),
        pytest.param(PER_MACHINE, Transient(status=503), Reason.GITLAB_OUT, id="503"),
        pytest.param(SHARED, Transient(status=503), Reason.GITLAB_OUT, id="503, shared"),
        pytest.param(PER_PROJECT, Transient(retry_after_s=5.0), Reason.PACED, id="no calls left"),
    ],
)
def test_what_gitlab_gives_no_credential_for_is_not_launched(
    text: str, failure: FleetError, reason: Reason
) -> None:
    fleet = LivingFleet(text)
    for call in ("create_runner", "verify_runner"):
        fleet.scene.gitlab.failing[call] = failure
    jobs = burst(fleet)
    fleet.go(25)
    assert len(fleet.guests) <= A_HANDFUL
    assert {fleet.scene.job(job).reason for job in jobs} == {reason}
    assert {fleet.scene.job(job).attempt for job in jobs} == {1}
    held = [hold for hold in fleet.scene.world.fleet.holds() if hold.lifted_at is None]
    assert held
    assert {(hold.reason, hold.status) for hold in held} == {(reason, failure.facts.get("status"))}
    fleet.scene.gitlab.failing.clear()
    serves_all_within_two_ticks(fleet, jobs)
    assert all(hold.lifted_at for hold in fleet.scene.world.fleet.holds())


@pytest.mark.parametrize("text", [PER_MACHINE, SHARED])
def test_an_hour_without_gitlab_launches_next_to_nothing(text: str) -> None:
    """The webhooks arrived, then GitLab failed: neither routing nor looking up helps meanwhile."""
    fleet = LivingFleet(text)
    fleet.down(True)
    fleet.scene.gitlab.failing.pop("pending_in_pipeline")
    fleet.scene.gitlab.failing.pop("job")
    jobs = burst(fleet)
    fleet.down(True)
    fleet.go(60)
    assert len(fleet.guests) <= A_HANDFUL
    fleet.down(False)
    serves_all_within_two_ticks(fleet, jobs)


@pytest.mark.parametrize(("text", "period"), [(PER_MACHINE, 1), (SHARED, 3), (PER_MACHINE, 7)])
def test_a_flapping_gitlab_costs_no_attempt_and_few_machines(text: str, period: int) -> None:
    """It answers for a tick of twenty seconds and fails for some; jobs are still served."""
    fleet = LivingFleet(text, in_order=True)
    jobs = burst(fleet, projects=(7,))
    ticks = 0

    def flaps() -> None:
        nonlocal ticks
        ticks += 1
        is_out = ticks % (period + 1) != 0
        failing = {name: Transient(status=502) for name in ("create_runner", "verify_runner")}
        fleet.scene.gitlab.failing = failing if is_out else {}  # type: ignore[assignment]

    fleet.go(60, each_tick=flaps)
    assert not fleet.unfinished()
    assert {fleet.scene.job(job).attempt for job in jobs} == {1}
    assert len(fleet.guests) <= JOBS + A_HANDFUL


def test_a_burst_beyond_the_minutes_calls_is_no_outage_and_does_not_wait_for_the_tick() -> None:
    """Three hundred calls at once, five more in each second; machines need one each."""
    limit = "calls_per_minute = 300\n"
    scene = Scene(text=GITLAB + limit + POOLS.replace("ceiling = 12", "ceiling = 900"))
    allowance = OwnAllowance(calls_per_minute=300, clock=scene.clock)
    called = scene.gitlab._called

    def paced(name: str, about: object = None) -> None:
        allowance.take()
        called(name, about)

    scene.gitlab._called = paced  # type: ignore[method-assign]
    for job_id in range(1, 451):
        scene.push(job_id)
    scene.route(1)
    seconds = 0
    while (again_in_s := scene.scale().again_in_s) is not None:
        seconds += again_in_s
        scene.clock.go(again_in_s)
        assert scene.job(450).reason in {Reason.PACED, Reason.COVERED}
    assert len(scene.runners) == 450
    assert all(runner.equipped for runner in scene.runners)
    assert seconds <= 50  # 30 where not a call is lost
    assert len([name for name in scene.steps(450) if name == "waits"]) == 1


def test_a_round_before_an_outages_time_comes_back_at_that_time() -> None:
    """Another pool has more to do at once, or another event wakes scaling in between."""
    scene = Scene(text=PER_MACHINE)
    for job_id in (1, 2):
        scene.push(job_id)
    scene.route(1)
    scene.gitlab.failing["create_runner"] = Transient(status=503)
    for wait_s in (1, 2, 4):
        assert scene.scale().again_in_s == wait_s
        scene.clock.go(wait_s)
    assert scene.scale().again_in_s == 8
    scene.clock.go(3)
    assert scene.scale().again_in_s == 5
    scene.gitlab.failing.clear()
    scene.clock.go(5)
    scene.scale()
    scene.scale()
    assert len(scene.runners) == 2


def test_of_project_runners_only_the_refused_project_is_held() -> None:
    fleet = LivingFleet(PER_PROJECT)
    fleet.scene.gitlab.failing["create_runner 8"] = refused(403, "Forbidden")
    jobs = burst(fleet)
    fleet.go(15)
    waiting = [job for job in fleet.unfinished() if job.status == "pending"]
    assert {job.project_id for job in waiting} == {8}
    assert {fleet.scene.job(job.id).reason for job in waiting} == {Reason.GITLAB_REFUSES}
    assert len(fleet.guests) == JOBS - len(waiting)
    fleet.scene.gitlab.failing.clear()
    serves_all_within_two_ticks(fleet, jobs)


def test_a_limit_of_records_is_used_to_the_last_and_launches_nothing_beyond() -> None:
    """GitLab takes so many records at once; what ends makes room for what waits."""
    fleet = LivingFleet(PER_MACHINE, in_order=True)
    gitlab = fleet.scene.gitlab

    def limits() -> None:
        is_full = (
            sum(record.description.startswith("rf-") for record in gitlab.records.values()) >= 3
        )
        gitlab.failing = {"create_runner": refused(400, LIMIT)} if is_full else {}

    make = gitlab.create_runner

    def create(new: object) -> object:
        limits()
        return make(new)  # type: ignore[arg-type]

    gitlab.create_runner = create  # type: ignore[method-assign, assignment]
    jobs = burst(fleet)
    fleet.go(90)
    assert not fleet.unfinished()
    assert {fleet.scene.job(job).attempt for job in jobs} == {1}
    assert len(fleet.guests) <= 2 * JOBS


@pytest.mark.parametrize(
    ("failure", "again_in_s"),
    [(Transient(status=503), 1), (Transient(retry_after_s=57.5), 10), (refused(403), None)],
)
def test_the_probe_is_a_call_and_no_machine(failure: FleetError, again_in_s: int | None) -> None:
    scene = Scene()
    scene.gitlab.failing["create_runner"] = failure
    scene.waits(1, 2, 3)
    first = scene.scale()
    assert (first.launched, first.again_in_s) == (0, again_in_s)
    assert scene.scale().launched == 0  # too early to ask again
    assert scene.gitlab.calls.count("create_runner") == 1
    scene.clock.go(20)
    assert scene.scale().launched == 0
    assert scene.gitlab.calls.count("create_runner") == 2
    scene.gitlab.failing.clear()
    scene.clock.go(20)
    assert [scene.scale().again_in_s, scene.scale().again_in_s] == [1, None]
    assert len(scene.runners) == len(scene.gitlab.records) == 3


def waits_bare(failure: FleetError) -> Scene:
    """GitLab stops giving records when the first machine of three has its own."""
    scene = Scene()
    make = scene.gitlab.create_runner

    def once(new: object) -> object:
        made = make(new)  # type: ignore[arg-type]
        scene.gitlab.failing["create_runner"] = failure
        return made

    scene.gitlab.create_runner = once  # type: ignore[method-assign, assignment]
    scene.waits(1, 2, 3)
    scene.scale()
    scene.gitlab.create_runner = make  # type: ignore[method-assign]
    return scene


@pytest.mark.parametrize("failure", [Transient(status=503), refused(401), refused(400, LIMIT)])
def test_a_machine_that_waits_for_its_credential_gets_it_when_gitlab_gives_one(
    failure: FleetError,
) -> None:
    scene = waits_bare(failure)
    assert sum(runner.equipped for runner in scene.runners) == 1
    scene.clock.go(60)
    scene.scale()
    assert scene.gitlab.calls.count("create_runner") < 2 + 9  # not one call for each of many
    scene.gitlab.failing.clear()
    scene.clock.go(60)
    scene.scale()
    assert all(runner.equipped for runner in scene.runners)
    assert (len(scene.runners), len(scene.gitlab.records)) == (3, 3)


def active(scene: Scene) -> list[Hold]:
    return [hold for hold in scene.world.fleet.holds() if hold.lifted_at is None]


@pytest.mark.parametrize(
    ("text", "failure", "scope"),
    [
        (PER_MACHINE, refused(400), ("docker", None)),
        (PER_PROJECT, refused(404), (None, 7)),
        (SHARED, refused(403), ("docker", None)),
        (SHARED, Transient(status=500), (None, None)),
    ],
)
def test_a_hold_is_as_wide_as_the_failure(
    text: str, failure: FleetError, scope: tuple[str | None, int | None]
) -> None:
    scene = Scene(text=text)
    scene.gitlab.failing = {"create_runner": failure, "verify_runner": failure}
    scene.waits(1)
    scene.scale()
    assert [hold.scope for hold in active(scene)] == [scope]
    began = active(scene)[0].since
    scene.clock.go(60)
    scene.scale()
    assert [hold.since for hold in active(scene)] == [began]


def test_what_is_asked_about_many_refused_projects_takes_turns() -> None:
    scene = Scene(text=PER_PROJECT)
    for job_id in range(1, 31):
        scene.push(job_id, project_id=100 + job_id)
        scene.route(job_id)
        scene.gitlab.failing[f"create_runner {100 + job_id}"] = refused(403)
    for _ in range(9):
        while scene.scale().again_in_s:
            pass
        scene.clock.go(60)
    failures = {hold.project_id: hold.failures for hold in active(scene)}
    assert len(failures) == 30
    assert min(failures.values()) >= 2
    assert scene.gitlab.calls.count("create_runner") <= 9 * 10 + 30
