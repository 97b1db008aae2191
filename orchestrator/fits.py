"""What a job's end says of the next job of its name."""

from collections.abc import Iterable

from fleet.model import Job
from fleet.rules.image import Containers
from fleet.rules.route import outgrew
from fleet.steps import Step, StepName
from orchestrator.world import World


def note_outgrown(world: World, job: Job, failure_reason: str | None) -> None:
    """Remember a job that ran out of time, so that the next of its name goes to the overflow."""
    pool = world.pool(job.pool or "")
    if pool is not None and outgrew(failure_reason, overflow=pool.overflow):
        world.jobs.fits.note(job, at=world.clock())


def note_containers(world: World, job: Job, steps: Iterable[Step]) -> None:
    """Remember the `image:` and `services:` that a machine reports of the job it had.

    So the next of its name goes to the overflow of a pool that has no such machines. A machine of
    the overflow reports them, too, until its job asks for nothing.
    """
    if not any(pool.overflow for pool in world.config.pools):
        return
    details = {step.name: step.detail for step in steps if step.job_id == job.job_id}
    containers = Containers(
        image=details.get(StepName.IMAGE), services=StepName.SERVICES in details
    )
    if containers or StepName.JOB_FINISHED in details:
        world.jobs.fits.note_containers(job, containers, at=world.clock())
