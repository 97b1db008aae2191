"""Which runner a job ran on: what GitLab shows, what the ledger has, what a machine claims."""

from collections.abc import Iterable
from typing import Protocol

from fleet.model import Job, JobKey, Runner, RunnerState


class ShownJob(Protocol):
    """A job as GitLab shows it."""

    @property
    def runner_id(self) -> int | None:
        """The runner record that GitLab gave the job to."""


def ran_on(runner: Runner, job: Job | None, shown: ShownJob | None) -> bool:
    """Whether a job is the runner's indeed, as GitLab shows it or as its webhook said.

    The number in a machine's report is no more than a claim: a job can write there what it likes,
    and must not have another's job cancelled by it. `job` is its row.
    """
    if job is not None and job.runner_id is not None:
        return job.runner_id == runner.id
    if shown is None or runner.gitlab_runner_id is None:
        return True  # GitLab has it no longer, or shows the pool's one record for all machines
    return shown.runner_id == runner.gitlab_runner_id


def ran_here(job: Job, *, described: str | None, is_ours: bool, shared: bool) -> bool:
    """Whether a runner of this fleet had the job; what others' machines fail is theirs to retry.

    `described`: the runner's description in GitLab; `is_ours`: it is of a record of this fleet.
    Where machines share the pool's record (`shared`), it does not say which fleet's it is.
    """
    if job.runner_id is not None or described is None or shared:
        return True
    return is_ours


def may_have_taken(runner: Runner) -> bool:
    """Whether GitLab may have given a runner a job, known to the ledger or not."""
    said_none = runner.state is RunnerState.DONE or not runner.equipped
    return runner.job is not None or not said_none


def runs_unclaimed(runner: Runner, running: Iterable[JobKey], living: Iterable[Runner]) -> bool:
    """Whether a job runs on a shared record that no other of the pool's machines is known to have.

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
