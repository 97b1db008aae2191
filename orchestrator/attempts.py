"""New attempts, after an `apply`, for jobs that were given up and still wait in GitLab."""

from collections.abc import Iterable

from adapters.aws.demand import Demand
from fleet.model import Job
from fleet.reasons import Reason
from fleet.steps import Step, StepName
from orchestrator.world import World


def renew(world: World, jobs: Iterable[Job]) -> list[Demand]:
    """Give jobs that were given up all attempts again; the demands to send for them.

    Scaling launches for a job also where its demand is not sent.
    """
    demands = []
    for job in jobs:
        pool = world.pool(job.pool or "")
        if pool is None:
            continue  # the job is routed to another pool
        step = Step(
            at=world.clock(),
            name=StepName.DEMAND_SENT,
            reason=Reason.RENEWED,
            pool=pool.name,
        )
        if world.jobs.renew(job, step):
            demands.append(
                Demand(job=job.key, project_id=job.project_id, pool=pool.name, attempt=job.attempt)
            )
    return demands
