"""Which runner has a job, and whether a runner has one: ledger, GitLab and reports together."""

from fleet.job_event import JobEvent
from fleet.model import Job, JobKey, JobStatus, Runner, rank
from fleet.rules.job_runner import (
    claimant,
    is_of_record,
    possible_runners,
    ran_here,
    ran_on,
    runs_unclaimed,
)
from orchestrator.world import World


def runner_of(
    world: World, job: Job, *, description: str | None, record_id: int | None
) -> Runner | None:
    """Our live runner that took a job, by what GitLab says: its name there, and its record.

    Where machines share the pool's record, a machine's own claim says which of them it is.
    """
    described = world.runner_described(description or "")
    for runner_id in possible_runners(job, described):
        runner = world.runners.find(runner_id)
        if runner is not None and is_of_record(runner, record_id):
            return runner
    if job.pool is None or not world.shares_record(job.pool):
        return None
    return claimant(job, record_id, world.runners.live(job.pool))


def ran_in_fleet(world: World, job: Job, event: JobEvent) -> bool:
    """Whether a runner of this fleet had the job."""
    name = event.runner_description
    return ran_here(
        job,
        described=name,
        is_ours=name is not None and world.runner_described(name) is not None,
        shared=world.shares_record(job.pool),
    )


def did_run(world: World, job: Job, runner: Runner) -> bool:
    """Whether GitLab shows that a job ended which ran on a runner of ours."""
    shown = world.gitlab.job(job.project_id, job.job_id)
    is_over = shown is not None and rank(shown.status) is JobStatus.FINISHED
    return is_over and ran_on(runner, job, shown)


def runs_a_job(world: World, runner: Runner) -> bool:
    """Whether GitLab shows a job on a runner of ours now."""
    if _runs_its_own(world, runner):
        return True
    if runner.gitlab_runner_id is not None:
        return bool(world.gitlab.runner_jobs(runner.gitlab_runner_id, status="running"))
    if runner.pool_record_id is None:
        return False
    shown = world.gitlab.runner_jobs(runner.pool_record_id, status="running")
    running = [JobKey(instance=world.instance, job_id=job.id) for job in shown]
    return runs_unclaimed(runner, running, world.runners.live(runner.pool))


def _runs_its_own(world: World, runner: Runner) -> bool:
    """Whether GitLab shows the job that the ledger has for the runner as running on it."""
    if runner.job is None:
        return False
    job = world.jobs.job(runner.job)
    project_id = job.project_id if job else runner.works_for
    if project_id is None:
        return False
    shown = world.gitlab.job(project_id, runner.job.job_id)
    is_running = shown is not None and rank(shown.status) is JobStatus.RUNNING
    return is_running and ran_on(runner, job, shown)
