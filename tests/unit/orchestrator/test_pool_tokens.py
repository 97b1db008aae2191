"""Runner tokens that expire: renewed in time, without ending what a machine still needs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.aws.secrets import PoolToken
from adapters.gitlab.values import NewRunner
from fleet.errors import FleetError, Refused, Transient
from fleet.rules.pool_token import FORMER_KEPT
from orchestrator.pool_tokens import show_presence
from tests.unit.orchestrator.living_fleet import LivingFleet
from tests.unit.orchestrator.scene import FLEET, GITLAB, SHARED, Scene

PER_PROJECT = FLEET.replace('"group:42"', '"project"')
HOURS = timedelta(hours=1)
RENEWALS_FAIL = [Refused(call="POST /user/runners", status=401), Transient(status=503)]


def expiring(text: str = FLEET, *, hours: float = 2) -> Scene:
    """A pool whose record was made just now, in a GitLab where tokens live so long."""
    scene = Scene(text=text)
    scene.gitlab.clock = scene.clock
    scene.gitlab.token_lifetime = hours * HOURS
    record = scene.gitlab.create_runner(
        NewRunner(
            kind="project_type", owner_id=7, description="fleet pool docker", tags=("docker",)
        )
    )
    scene.pool_tokens["docker"] = PoolToken(runner_id=record.id, token=record.token)
    scene.reconcile()
    return scene


def minutes(scene: Scene, count: int) -> None:
    """So many ticks of reconcile; the token in force is valid in each of them."""
    for _ in range(count):
        scene.clock.go(60)
        scene.reconcile()
        assert scene.gitlab.is_valid(scene.pool_tokens["docker"].token)


@pytest.mark.parametrize(("text", "hours"), [(FLEET, 0.5), (SHARED, 2), (PER_PROJECT, 24)])
def test_a_pools_token_is_made_anew_before_it_expires(text: str, hours: float) -> None:
    scene = expiring(text, hours=hours)
    made = scene.gitlab.calls.count("create_runner")
    minutes(scene, int(hours * 60 * 4))
    renewed = scene.gitlab.calls.count("create_runner") - made
    assert 4 <= renewed <= 9
    assert len(scene.gitlab.records) <= 3  # those before are deleted when nothing uses them
    wanted = scene.gitlab.wanted[scene.pool_tokens["docker"].runner_id]
    assert (wanted.description, wanted.kind == "project_type") == (
        "fleet pool docker",
        text is PER_PROJECT,
    )
    assert scene.world.fleet.pool("docker").renewal_failed is None


def test_a_token_that_never_expires_is_left_alone() -> None:
    scene = Scene()
    for _ in range(180):
        scene.clock.go(60)
        scene.reconcile()
    assert "create_runner" not in scene.gitlab.calls


def test_a_token_that_gitlab_does_not_know_is_replaced_at_the_next_look() -> None:
    scene = expiring(hours=1000)
    old = scene.pool_tokens["docker"]
    scene.gitlab.invalid.add(old.token)
    scene.clock.go(1800)
    scene.reconcile()
    assert scene.pool_tokens["docker"] != old
    assert scene.gitlab.verified[-1] == scene.pool_tokens["docker"].token
    assert scene.world.fleet.pool("docker").verified_at == scene.clock()


@pytest.mark.parametrize("failure", RENEWALS_FAIL)
def test_a_renewal_that_fails_is_logged_and_tried_again(failure: FleetError) -> None:
    scene = expiring(hours=4)
    scene.clock.go(3 * 3600)
    scene.gitlab.failing["create_runner"] = failure
    scene.reconcile()
    row = scene.world.fleet.pool("docker")
    assert (row.renewal_failed, row.renewal_failed_at) == (str(failure), scene.clock())
    assert row.verified_at == scene.clock()  # it shows with what it has meanwhile
    began = scene.clock()
    scene.clock.go(60)
    scene.reconcile()
    assert scene.world.fleet.pool("docker").renewal_failed_at == began
    scene.gitlab.failing.clear()
    minutes(scene, 1)
    row = scene.world.fleet.pool("docker")
    assert (row.renewal_failed, row.renewal_failed_at) == (None, None)
    assert row.token_expires_at == scene.clock() + 4 * HOURS


@pytest.mark.parametrize(
    "is_written", [False, True], ids=["not written", "written, and the call failed"]
)
def test_a_crash_before_the_secret_is_written_leaves_nothing_for_long(is_written: bool) -> None:
    scene = expiring(hours=4)
    before = dict(scene.pool_tokens)
    scene.fails_to_store, scene.stores_and_fails = Transient(call="secretsmanager"), is_written
    scene.clock.go(3 * 3600)
    scene.reconcile()
    assert (scene.pool_tokens != before) is is_written
    scene.fails_to_store = None
    minutes(scene, 70 + 2 * int(FORMER_KEPT.total_seconds() / 60))
    current = scene.pool_tokens["docker"].runner_id
    assert set(scene.gitlab.records) == {current}


@pytest.mark.parametrize("failure", [Refused(code="AccessDenied"), Transient(code="Timeout")])
def test_a_secret_that_cannot_be_written_for_hours_fills_no_gitlab(failure: FleetError) -> None:
    """GitLab.com's Free plan has fifty records in a group."""
    scene = expiring(hours=48)
    scene.clock.go(36 * 3600)
    scene.fails_to_store = failure
    for _ in range(3 * 60):
        minutes(scene, 1)
        assert len(scene.gitlab.records) <= 8
    assert scene.world.fleet.pool("docker").renewal_failed == str(failure)
    scene.fails_to_store = None
    minutes(scene, 120)
    assert set(scene.gitlab.records) == {scene.pool_tokens["docker"].runner_id}


def test_a_record_that_machines_share_stays_until_they_are_gone() -> None:
    scene = expiring(SHARED, hours=2)
    old = scene.pool_tokens["docker"]
    (runner,) = scene.launched(1)
    assert scene.only_runner.pool_record_id == old.runner_id
    minutes(scene, 119)
    assert scene.pool_tokens["docker"] != old
    assert scene.gitlab.is_valid(old.token)  # it was not reset
    assert old.runner_id in scene.gitlab.records
    scene.backend.die(runner.machine_id or "")
    scene.gitlab.change(1, status="canceled")
    scene.sweep()
    minutes(scene, 65)
    assert old.runner_id not in scene.gitlab.records


@pytest.mark.parametrize("text", [FLEET, SHARED])
@pytest.mark.parametrize(("hours", "waits_s"), [(24, 900), (0.25, 600)])
def test_an_idle_machine_leaves_before_its_token_expires(
    text: str, hours: float, waits_s: int
) -> None:
    """It boots for five minutes at most, then waits; a quarter of an hour is its own limit."""
    scene = expiring(text + "idle = { count = 1 }\n", hours=hours)
    scene.scale()
    assert scene.credential.wait_timeout_s == waits_s


@pytest.mark.parametrize("shared", [True, False])
def test_hours_of_tokens_that_expire_cost_no_job_anything(shared: bool) -> None:
    text = GITLAB + ('credentials = "shared"\n' if shared else "")
    fleet = LivingFleet(text + FLEET.removeprefix(GITLAB))
    scene = fleet.scene
    scene.gitlab.clock = scene.clock
    scene.gitlab.token_lifetime = HOURS
    old = scene.gitlab.create_runner(
        NewRunner(kind="group_type", owner_id=42, description="fleet pool docker", tags=("docker",))
    )
    scene.pool_tokens["docker"] = replace(
        scene.pool_tokens["docker"], runner_id=old.id, token=old.token
    )
    jobs = []
    for _ in range(20):
        jobs += [fleet.push(), fleet.push(project=8)]
        fleet.go(12)
    fleet.go(15)
    assert not fleet.unfinished()
    assert {scene.job(job).attempt for job in jobs} == {1}
    assert len(scene.gitlab.records) <= 4


def test_every_pool_shows_itself_each_half_hour() -> None:
    scene = Scene()
    for seconds, times in ((0, 1), (60, 1), (1800, 2)):
        scene.clock.go(seconds)
        show_presence(scene.world, lambda: True)
        assert scene.gitlab.verified == ["glrt-p"] * times
    assert scene.world.fleet.pool("docker").verified_at == scene.clock()


def test_a_pool_without_a_record_does_not_keep_the_next_from_showing_itself() -> None:
    scene = Scene(
        text='[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"\n'
        '[pools.bare]\nbackend = "tests"\ntags = ["bare"]\nceiling = 1\n'
        '[pools.docker]\nbackend = "tests"\ntags = ["docker"]\nceiling = 1\n'
    )
    scene.pool_tokens["docker"] = PoolToken(runner_id=1, token="glrt-p")
    show_presence(scene.world, lambda: True)
    assert scene.gitlab.verified == ["glrt-p"]
    assert scene.world.fleet.pool("bare").verified_at is None
