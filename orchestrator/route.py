"""Task `Route`: where does this pending job go?"""

from typing import Any

from adapters.fleet_rows import Reading
from adapters.gitlab import GitLabJob
from adapters.job_rows import Step
from fleet.decide_route import RoutePlan
from fleet.errors import Transient
from fleet.job_event import JobEvent
from fleet.model import JobKey, Status
from fleet.reasons import Reason
from orchestrator.routing import Lead, Routed, route, route_together, send_demands
from orchestrator.wiring import wiring
from orchestrator.world import World

# Ten pages of GitLab's; the rest of a larger pipeline is found by its own webhooks.
PIPELINE_AT_MOST = 1000


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Look the tags up, decide, record; the state machine sends the demand."""
    world = wiring("route")
    return answer(world, route_event(world, JobEvent.from_detail(event["detail"])))


def route_event(world: World, told: JobEvent) -> Routed:
    """A pending job as GitLab knows it now: the payload has no tags, and may be old.

    Keys carry the GitLab of fleet.toml, however the event spells it: an address that only GitLab
    itself uses, say. The delivery was proven to be its own.
    """
    at = world.clock()
    world.fleet.heard_from(world.instance, told.project_id, told.project_path, at=at)
    key = JobKey(instance=world.instance, job_id=told.job_id)
    steps = (
        Step(at=told.received_at, step="webhook_received", detail=told.delivery_id),
        Step(at=at, step="event", detail=told.detail_type),
    )
    known = world.jobs.job(key)
    if known is not None and (known.status > Status.PENDING or known.pool):
        before = _told_before(known.status)
        world.jobs.tell(key, [*steps, Step(at=at, step="ignored", reason=before.plan.reason)])
        return before
    # Before the job itself: should this fail, the next try still finds it unrouted, and wakes.
    found = _with_its_pipeline(world, told) or world.gitlab.job(told.project_id, told.job_id)
    return route(world, found, key, Lead(steps=steps, path=told.project_path))


def _with_its_pipeline(world: World, told: JobEvent) -> GitLabJob | None:
    """Route all other jobs of its pipeline that wait; the job itself, where GitLab lists it.

    A pipeline's first webhook comes when many more are on their way. Reading all that waits costs
    GitLab as much as reading one job, and the whole burst is launched for at once. Raises
    `Transient` while somebody else does this: shortly afterwards the job is in the ledger.
    """
    at = world.clock()
    reading = world.fleet.claim_pipeline(told.instance, told.pipeline_id, at=at)
    if reading is Reading.UNDER_WAY:
        raise Transient("the pipeline of this job is just being read", job_id=told.job_id)
    if reading is Reading.DONE:
        return None
    step = Step(at=at, step="found", detail=f"with job {told.job_id}")
    read = False
    try:
        listed = world.gitlab.pending_in_pipeline(
            told.project_id, told.pipeline_id, at_most=PIPELINE_AT_MOST
        )
        others = [job for job in listed if job.id != told.job_id]
        lead = Lead(steps=(step,), path=told.project_path)
        send_demands(world, route_together(world, others, lead))
        read = True
    finally:
        world.fleet.note_pipeline(told.instance, told.pipeline_id, read=read)
    return next((job for job in listed if job.id == told.job_id), None)


def answer(world: World, routed: Routed) -> dict[str, Any]:
    """What the state machine needs: the queue and the message, or only the reason."""
    pool = world.pool(routed.plan.pool) if routed.plan.pool else None
    if routed.demand is None or pool is None:
        return {"queue_url": None, "message": None, "reason": routed.plan.reason}
    return {
        "queue_url": world.queues[pool.backend].url,
        "message": routed.demand.body(),
        "group": routed.demand.group,
        "reason": routed.plan.reason,
    }


def _told_before(status: Status) -> Routed:
    """A duplicate or late delivery: the first one did all there is to do."""
    reason = Reason.STALE_EVENT if status is Status.PENDING else Reason.TAKEN
    return Routed(plan=RoutePlan(pool=None, reason=reason))
