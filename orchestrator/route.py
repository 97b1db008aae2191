"""Task `Route`: where does this pending job go?"""

from dataclasses import asdict, dataclass
from typing import Any

from adapters.fleet_rows import Reading
from adapters.gitlab import GitLabJob
from adapters.job_rows import Step
from fleet.job_event import JobEvent
from fleet.model import Job, JobKey, Status
from fleet.reasons import Reason
from orchestrator.routing import Lead, route, route_together, send_demands
from orchestrator.watching import note_proof
from orchestrator.wiring import wiring
from orchestrator.world import World

# Ten pages of GitLab's; the rest of a larger pipeline is found by its own webhooks.
PIPELINE_AT_MOST = 1000
# Reading a pipeline takes about a second.
LOOK_AGAIN_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the state machine is to do next.

    `wake`: a job waits in a pool, this one or another of its pipeline, and scaling may not have
    looked since. `again_in_s`: call again after so long, nothing is decided yet.
    """

    reason: Reason
    wake: bool = False
    again_in_s: int | None = None


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Look the tags up, decide, record, send the demand; the state machine wakes scaling."""
    return asdict(route_event(wiring("route"), JobEvent.from_detail(event["detail"])))


def route_event(world: World, told: JobEvent) -> Answer:
    """A pending job as GitLab knows it now: the payload has no tags, and may be old.

    Keys carry the GitLab of fleet.toml, however the event spells it: an address that only GitLab
    itself uses, say. The delivery was proven to be its own.

    The wake does not depend on who routed whom. Whoever finds a job routed and without a runner
    wakes: a try after a crash anywhere in here sees what the one before it left, and no more.
    """
    at = world.clock()
    world.fleet.heard_from(world.instance, told.project_id, told.project_path, at=at)
    note_proof(world, told)
    key = JobKey(instance=world.instance, job_id=told.job_id)
    steps = (
        Step(at=told.received_at, step="webhook_received", detail=told.delivery_id),
        Step(at=at, step="event", detail=told.detail_type),
    )
    facts = {"deploys": True} if told.deploys else {}
    known = world.jobs.job(key)
    if known is not None and (known.status > Status.PENDING or known.pool):
        reason = _told_before(known)
        world.jobs.tell(key, [*steps, Step(at=at, step="ignored", reason=reason)], **facts)
        return Answer(reason=reason, wake=known.wants_runner or _owes_wake(world, told))
    reading = world.fleet.claim_pipeline(told.instance, told.pipeline_id, at=at)
    if reading is Reading.UNDER_WAY:
        return Answer(reason=Reason.UNDER_WAY, again_in_s=LOOK_AGAIN_S)
    # Before the job itself: should this fail, the next try still finds it unrouted.
    listed = _route_its_pipeline(world, told) if reading is Reading.MINE else None
    found = listed or world.gitlab.job(told.project_id, told.job_id)
    routed = route(world, found, key, Lead(steps=steps, path=told.project_path))
    if facts:
        world.jobs.tell(key, [], **facts)
    if routed.demand is not None:
        send_demands(world, [routed.demand])
    # A stale one was routed by somebody else while we looked.
    is_waiting = routed.demand is not None or routed.plan.reason is Reason.STALE_EVENT
    return Answer(reason=routed.plan.reason, wake=is_waiting or _owes_wake(world, told))


def _route_its_pipeline(world: World, told: JobEvent) -> GitLabJob | None:
    """Route all other jobs of its pipeline that wait; the job itself, where GitLab lists it.

    A pipeline's first webhook comes when many more are on their way. Reading all that waits costs
    GitLab as much as reading one job, and the whole burst is launched for at once.
    """
    step = Step(at=world.clock(), step="found", detail=f"with job {told.job_id}")
    read = waits = False
    try:
        listed = world.gitlab.pending_in_pipeline(
            told.project_id, told.pipeline_id, at_most=PIPELINE_AT_MOST
        )
        others = [job for job in listed if job.id != told.job_id]
        together = route_together(world, others, Lead(steps=(step,), path=told.project_path))
        send_demands(world, together.demands)
        read, waits = True, together.waits
    finally:
        world.fleet.note_pipeline(told.instance, told.pipeline_id, read=read, waits=waits)
    return next((job for job in listed if job.id == told.job_id), None)


def _owes_wake(world: World, told: JobEvent) -> bool:
    return world.fleet.owes_wake(told.instance, told.pipeline_id, at=world.clock())


def _told_before(known: Job) -> Reason:
    """A duplicate or late delivery: the first one did all there is to do."""
    return Reason.STALE_EVENT if known.status is Status.PENDING else Reason.TAKEN
