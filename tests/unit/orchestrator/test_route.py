"""Where a pending job goes, whatever arrived before it, twice or too late."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from adapters.aws.demand import Demand
from adapters.ledger.jobs import JobRows
from adapters.ledger.pipelines import Reading
from adapters.ledger.table import Table
from fleet.errors import FleetError, Refused, Transient
from fleet.model import Job, JobKey, JobStatus
from fleet.reasons import Reason
from orchestrator.route import RouteCause, RouteResult, route, route_together
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, PROJECT, Scene, key

SMALL = '\n[pools.small]\nbackend = "tests"\ntags = ["docker"]\nceiling = 1\noverflow = "docker"\n'
GITLAB, DOCKER = FLEET.split("\n[pools.docker]")


def test_a_pending_job_gets_its_pool_and_its_demand_is_sent() -> None:
    scene = Scene()
    scene.push(1, queued_duration_s=2.5)
    result = scene.route(1)
    assert result == RouteResult(reason=Reason.ROUTED, wake=True)
    (demand,) = scene.queue.demands
    assert demand == Demand(job=key(1), project_id=PROJECT, pool="docker", attempt=1)
    job = scene.job(1)
    assert (job.pool, job.status, job.reason) == ("docker", JobStatus.PENDING, Reason.ROUTED)
    assert (AT - job.pending_at).total_seconds() == 2.5
    assert job.project_path == "acme/demo"
    assert scene.steps(1) == ["webhook_received", "event", "routed", "demand_sent"]
    assert scene.world.jobs.waiting_in("docker") == (job,)
    (watched,) = scene.world.fleet.watched(INSTANCE)
    assert (watched.project_id, watched.last_hook_at, watched.last_polled_at) == (PROJECT, AT, None)


def test_the_same_delivery_twice_sends_one_demand() -> None:
    scene = Scene()
    scene.waits(1)
    again = scene.route(1)
    assert again == RouteResult(reason=Reason.STALE_EVENT, wake=True)
    assert scene.queue.depth() == 1
    assert scene.steps(1).count("routed") == 1
    assert scene.gitlab.calls == ["pending_in_pipeline"]  # the second delivery costs no call


def test_of_two_that_decide_at_once_the_first_to_write_sends_the_demand() -> None:
    scene = Scene()
    job = scene.push(1)
    first, second = (route(scene.world, job, key(1), RouteCause()) for _ in range(2))
    assert first.demand is not None
    assert (second.demand, second.plan.reason) == (None, Reason.STALE_EVENT)
    assert scene.steps(1) == ["routed", "demand_sent"]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [(("gpu",), Reason.NO_POOL), (("docker", "gpu"), Reason.NO_POOL), ((), Reason.UNTAGGED)],
)
def test_a_job_that_no_pool_may_take_is_kept_with_the_reason(
    tags: tuple[str, ...], reason: Reason
) -> None:
    scene = Scene()
    scene.push(1, tags=tags)
    result = scene.route(1)
    assert result == RouteResult(reason=reason)
    assert (scene.job(1).pool, scene.job(1).reason, scene.job(1).tags) == (None, reason, tags)
    assert scene.steps(1) == ["webhook_received", "event", "routed"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param(None, Reason.UNKNOWN_JOB, id="GitLab does not have it"),
        pytest.param({"runner_id": 31}, Reason.TAKEN, id="it has a runner"),
        pytest.param({"status": "canceled"}, Reason.NOT_PENDING, id="it is over"),
    ],
)
def test_a_job_that_does_not_wait_gets_no_row(facts: dict[str, Any] | None, reason: Reason) -> None:
    scene = Scene()
    if facts is not None:
        scene.push(1, **facts)
    assert scene.route(1) == RouteResult(reason=reason)
    assert scene.world.jobs.row(key(1)) is None


@pytest.mark.parametrize("call", ["pending_in_pipeline", "job"])
@pytest.mark.parametrize(
    "failure",
    [
        Transient("GitLab did not answer well", status=429, retry_after_s=3),
        Transient("GitLab did not answer well", status=500),
        Refused("this token may not do this", status=403),
    ],
)
def test_when_gitlab_fails_the_state_machine_gets_its_error_and_nothing_is_written(
    failure: FleetError, call: str
) -> None:
    scene = Scene()
    if call == "job":  # another function has just read the pipeline
        scene.world.fleet.claim_pipeline(INSTANCE, 3, at=AT)
        scene.world.fleet.note_pipeline(INSTANCE, 3, read=True)
    scene.push(1)
    scene.gitlab.failing[call] = failure
    with pytest.raises(type(failure)):
        scene.route(1)
    assert scene.world.jobs.row(key(1)) is None
    scene.gitlab.failing.clear()
    assert scene.route(1).wake


def test_a_job_that_outgrew_its_pool_goes_to_the_overflow() -> None:
    scene = Scene(text=f"{GITLAB}{SMALL}\n[pools.docker]{DOCKER}")
    scene.waits(1, name="build")
    assert scene.job(1).pool == "small"
    scene.settle(1, "failed", failure_reason="job_execution_timeout")
    scene.push(2, name="build")
    result = scene.route(2)
    assert (scene.job(2).pool, result.reason) == ("docker", Reason.OVERFLOW)
    scene.waits(3, name="lint")
    assert scene.job(3).pool == "small"


class TestPipeline:
    """The first webhook of a pipeline brings its other jobs along."""

    def test_all_that_waits_is_routed_with_one_call(self) -> None:
        scene = Scene()
        for job_id in (1, 2, 3):
            scene.push(job_id)
        assert scene.route(2).wake
        assert [job.job_id for job in scene.world.jobs.waiting_in("docker")] == [1, 2, 3]
        assert scene.gitlab.calls == ["pending_in_pipeline"]
        assert scene.queue.depth() == 3
        assert scene.steps(1) == ["pipeline_read", "routed", "demand_sent"]
        assert scene.job(1).project_path == "acme/demo"
        # Their own webhooks cost no call and no message.
        assert scene.route(1) == RouteResult(reason=Reason.STALE_EVENT, wake=True)
        assert (len(scene.gitlab.calls), scene.queue.depth()) == (1, 3)
        assert scene.steps(1)[-2:] == ["event", "ignored"]

    def test_a_job_that_begins_to_wait_just_after_is_looked_up_alone(self) -> None:
        scene = Scene()
        scene.waits(1)
        scene.push(2)
        assert scene.route(2).reason is Reason.ROUTED
        assert scene.gitlab.calls == ["pending_in_pipeline", "job"]

    def test_a_later_stage_is_read_again(self) -> None:
        scene = Scene()
        scene.waits(1)
        scene.clock.go(11)
        scene.push(2)
        scene.waits(3)
        assert [job.job_id for job in scene.world.jobs.waiting_in("docker")] == [1, 2, 3]
        assert scene.gitlab.calls == ["pending_in_pipeline"] * 2

    def test_each_goes_where_its_own_tags_and_past_say(self) -> None:
        scene = Scene(text=f"{GITLAB}{SMALL}\n[pools.docker]{DOCKER}")
        scene.waits(1, name="build")
        scene.settle(1, "failed", failure_reason="job_execution_timeout")
        scene.gitlab.change(1, status="failed")
        scene.clock.go(11)
        scene.push(2, name="lint")
        scene.push(3, name="build")
        scene.push(4, name="gpu", tags=("gpu",))
        scene.push(5, name="taken", runner_id=31)
        scene.route(2)
        pools = {n: scene.job(n).pool for n in (2, 3, 4)}
        assert pools == {2: "small", 3: "docker", 4: None}
        assert scene.job(4).reason is Reason.NO_POOL
        assert scene.world.jobs.row(key(5)) is None

    @pytest.mark.parametrize("job_ids", [(1, 2), (1,)])
    def test_a_job_that_its_own_webhook_routed_meanwhile_is_not_routed_twice(
        self, job_ids: tuple[int, ...]
    ) -> None:
        scene = Scene()
        pushed = [scene.push(job_id) for job_id in job_ids]
        jobs = JobsRoutedMeanwhile(
            scene.table, lambda: route(scene.world, pushed[0], key(1), RouteCause())
        )
        world = replace(scene.world, jobs=jobs)
        together = route_together(world, pushed, RouteCause())
        assert together.waits
        assert [demand.job for demand in together.demands] == [key(n) for n in job_ids[1:]]
        assert scene.steps(1).count("routed") == 1
        waiting = scene.world.jobs.waiting_in("docker")
        assert [job.job_id for job in waiting] == list(job_ids)

    def test_while_another_reads_it_the_state_machine_is_to_come_again(self) -> None:
        scene = Scene()
        scene.push(1)
        assert scene.world.fleet.claim_pipeline(INSTANCE, 3, at=AT) is Reading.MINE
        assert scene.route(1) == RouteResult(reason=Reason.UNDER_WAY, again_in_s=1)
        assert scene.gitlab.calls == []
        scene.world.fleet.note_pipeline(INSTANCE, 3, read=True)
        assert scene.route(1) == RouteResult(reason=Reason.ROUTED, wake=True)

    def test_a_reader_that_died_holds_up_no_other_for_long(self) -> None:
        scene = Scene()
        scene.push(1)
        scene.world.fleet.claim_pipeline(INSTANCE, 3, at=AT)
        scene.clock.go(11)
        assert scene.route(1) == RouteResult(reason=Reason.ROUTED, wake=True)

    def test_one_that_failed_leaves_it_to_the_next(self) -> None:
        scene = Scene()
        for job_id in (1, 2):
            scene.push(job_id)
        scene.gitlab.failing["pending_in_pipeline"] = Transient(status=500)
        with pytest.raises(Transient):
            scene.route(1)
        scene.gitlab.failing.clear()
        scene.route(2)
        assert scene.gitlab.calls == ["pending_in_pipeline"] * 2
        assert [job.job_id for job in scene.world.jobs.waiting_in("docker")] == [1, 2]


class JobsRoutedMeanwhile(JobRows):
    """Another function routes a job between the look at the rows and the writing of them."""

    def __init__(self, table: Table, meanwhile: Callable[[], object]) -> None:
        super().__init__(table)
        self._meanwhile = meanwhile

    def jobs(self, keys: Iterable[JobKey]) -> dict[JobKey, Job]:
        jobs = super().jobs(keys)
        self._meanwhile()
        return jobs


def test_a_gitlab_that_calls_itself_by_another_name_is_the_one_of_fleet_toml() -> None:
    scene = Scene()
    scene.push(1)
    assert scene.route(1, instance="gitlab.internal:8443").wake
    assert [demand.job for demand in scene.queue.demands] == [key(1)]
    assert [project.instance for project in scene.world.fleet.watched(INSTANCE)] == [INSTANCE]
    scene.settle(1, "success", instance="gitlab.internal:8443")
    assert scene.job(1).status is JobStatus.FINISHED
    assert scene.world.jobs.waiting_in("docker") == ()


def test_a_pipeline_is_read_once_whichever_address_its_events_have() -> None:
    scene = Scene()
    for job_id in (1, 2):
        scene.push(job_id)
    scene.route(1)
    scene.push(3)
    assert scene.route(3, instance="gitlab.internal:8443").reason is Reason.ROUTED
    assert scene.gitlab.calls == ["pending_in_pipeline", "job"]


def test_a_pipeline_read_by_another_address_is_under_way() -> None:
    scene = Scene()
    scene.push(1)
    scene.world.fleet.claim_pipeline(INSTANCE, 3, at=AT)
    result = scene.route(1, instance="gitlab.internal:8443")
    assert result == RouteResult(reason=Reason.UNDER_WAY, again_in_s=1)


def test_a_wake_is_owed_to_events_of_every_address() -> None:
    """A reader died before its wake, and the event of a job that is over by now completes it."""
    scene = Scene()
    for job_id in (1, 2):
        scene.push(job_id)
    scene.route(1)
    scene.settle(1, "success")
    assert scene.route(1, instance="gitlab.internal:8443") == RouteResult(
        reason=Reason.TAKEN, wake=True
    )


SAFE = '[pools.safe]\nbackend = "tests"\ntags = ["docker", "deploy"]\nprotected_only = true\n'


class TestProtection:
    """A pool for protected refs and an open one share a tag."""

    def scene(self, **protected: bool | None) -> Scene:
        scene = Scene(text=f"{GITLAB}\n{SAFE}ceiling = 5\n\n[pools.docker]{DOCKER}")
        scene.gitlab.protected |= protected
        return scene

    @pytest.mark.parametrize(
        ("tags", "protected", "pool", "reason"),
        [
            (("docker",), True, "safe", Reason.ROUTED),
            (("docker",), None, "docker", Reason.ROUTED),
            (("deploy",), False, None, Reason.UNPROTECTED),
        ],
    )
    @pytest.mark.parametrize("how", ["its event", "the event of another", "reconcile"])
    def test_a_job_goes_where_gitlab_lets_it(
        self,
        *,
        how: str,
        tags: tuple[str, ...],
        protected: bool | None,
        pool: str | None,
        reason: Reason,
    ) -> None:
        scene = self.scene(work=protected)
        scene.push(1, tags=tags, ref="work")
        scene.push(2, tags=("big",), ref="main")
        if how == "reconcile":
            scene.world.fleet.watch(INSTANCE, PROJECT, "acme/demo", at=AT)
            scene.reconcile()
        else:
            scene.route(1 if how == "its event" else 2)
        assert (scene.job(1).pool, scene.job(1).reason) == (pool, reason)
        assert scene.job(2).pool == "docker"
        sent = {demand.job: demand.pool for demand in scene.queue.demands}
        assert sent.get(key(1)) == pool
        assert scene.gitlab.calls.count("is_protected") == 1  # job 2 hangs on nothing

    def test_a_tag_is_asked_about_as_a_tag(self) -> None:
        scene = self.scene()
        scene.gitlab.protected["tag v1"] = True
        scene.push(1, ref="v1", is_tag=True)
        scene.push(2, ref="v1")  # a branch of that name
        scene.route(1)
        assert [scene.job(n).pool for n in (1, 2)] == ["safe", "docker"]

    def test_the_others_of_a_pipeline_need_not_wait_for_one_that_cannot_be_asked_about(
        self,
    ) -> None:
        scene = self.scene()
        scene.push(1, ref="work")
        scene.push(2, tags=("big",), ref="work")
        scene.push(3, tags=("big",), ref="work")
        scene.gitlab.failing["is_protected"] = Transient(status=502)
        assert scene.route(3).wake
        assert [job.job_id for job in scene.world.jobs.waiting_in("docker")] == [2, 3]
        with pytest.raises(Transient):
            scene.route(1)
        scene.gitlab.failing.clear()
        assert scene.route(1) == RouteResult(reason=Reason.ROUTED, wake=True)

    def test_the_row_of_a_job_without_a_pool_says_why_it_has_none_by_now(self) -> None:
        scene = self.scene(work=None)
        scene.waits(1, tags=("deploy",), ref="work")
        text = scene.text
        for protected, tag, reason in (
            (None, "deploy", Reason.PROTECTION_UNKNOWN),
            (False, "deploy", Reason.UNPROTECTED),
            (False, "other", Reason.NO_POOL),
            (None, "deploy", Reason.PROTECTION_UNKNOWN),
        ):
            scene.with_config(text.replace("deploy", tag))
            scene.gitlab.protected["work"] = protected
            for _ in range(3):
                scene.clock.go(60)
                scene.reconcile()
            assert scene.job(1).reason is reason
        assert scene.steps(1).count("routed") == 4  # once for each answer

    def test_a_job_leaves_a_pool_that_apply_made_one_for_protected_refs(self) -> None:
        scene = self.scene(work=False)
        text = scene.text
        scene.with_config(text.replace("protected_only = true\n", ""))
        scene.waits(1, ref="work")
        scene.waits(2, tags=("deploy",), ref="work")
        assert [scene.job(n).pool for n in (1, 2)] == ["safe", "safe"]
        scene.with_config(text)
        assert scene.reconcile().wake
        assert [(scene.job(n).pool, scene.job(n).reason) for n in (1, 2)] == [
            ("docker", Reason.ROUTED),
            (None, Reason.UNPROTECTED),
        ]
