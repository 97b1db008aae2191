"""Which runner a job ran on, by GitLab's answer, the ledger and the machine's claim."""

from collections.abc import Iterable
from typing import Protocol

from fleet.model import Job, JobKey, Runner, RunnerState


class ShownJob(Protocol):
    """A job as GitLab shows it."""

    @property
    def runner_id(self) -> int | None:
        """The runner record that GitLab gave the job to."""


def ran_on(runner: Runner, job: Job | None, shown: ShownJob | None) -> bool:
    """Whether GitLab's answer or webhook confirms that the runner had the job.

    The job id in a machine's report is only a claim: a job can write any number there, and must
    not get another job canceled by it. `job` is the job's row.
    """
    if job is not None and job.runner_id is not None:
        return job.runner_id == runner.id
    if shown is None or runner.gitlab_runner_id is None:
        return True  # GitLab has it no longer, or shows the pool's one record for all machines
    return shown.runner_id == runner.gitlab_runner_id


def ran_here(job: Job, *, described: str | None, is_ours: bool, shared: bool) -> bool:
    """Whether a runner of this fleet had the job; other fleets retry their own.

    `described`: the runner's description in GitLab; `is_ours`: it names a record of this fleet.
    Where machines share the pool's record (`shared`), the description names no fleet.
    """
    if job.runner_id is not None or described is None or shared:
        return True
    return is_ours


def may_have_taken(runner: Runner) -> bool:
    """Whether GitLab may have given a runner a job, known to the ledger or not."""
    said_none = runner.state is RunnerState.DONE or not runner.equipped
    return runner.job is not None or not said_none


def runs_unclaimed(runner: Runner, running: Iterable[JobKey], living: Iterable[Runner]) -> bool:
    """Whether a job that no other machine of the pool claims runs on their shared record.

    `running`: the jobs that GitLab shows on the record; `living`: the pool's live runners.
    """
    claimed = {other.job for other in living if other.id != runner.id}
    return any(key not in claimed for key in running)


def possible_runners(job: Job, described: str | None) -> tuple[str, ...]:
    """Ids of the runners that may have taken a job, the best source first.

    `described`: the runner of this fleet that GitLab's description names.
    """
    return tuple(name for name in (described, job.runner_id) if name)


def claimant(job: Job, living: Iterable[Runner]) -> Runner | None:
    """The runner among `living` that reports a job as its own."""
    return next((runner for runner in living if runner.job == job.key), None)
