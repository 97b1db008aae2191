"""Which runner a job ran on, by GitLab's answer, the ledger and the machine's claim."""

from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from fleet.model import Job, JobKey, Runner, RunnerState

# GitLab's event follows a machine's report within a second; reconcile looks within a minute.
WORD_TAKES = timedelta(minutes=1)


class ShownJob(Protocol):
    """A job as GitLab shows it."""

    @property
    def runner_id(self) -> int | None:
        """The runner record that GitLab gave the job to."""


def ran_on(runner: Runner, job: Job | None, shown: ShownJob | None) -> bool:
    """Whether GitLab's answer or webhook confirms that the runner had the job.

    GitLab's answer goes before the row, which an event may have written. `job` is the job's row.
    """
    if shown is not None and runner.gitlab_runner_id is not None:
        return shown.runner_id == runner.gitlab_runner_id
    if job is not None and job.runner_id is not None:
        return job.runner_id == runner.id
    return shown is None or is_of_record(runner, shown.runner_id)


def is_of_record(runner: Runner, record_id: int | None) -> bool:
    """Whether GitLab's runner record is the runner's own, or that of its pool's machines.

    True without a number: nothing is said then that could contradict.
    """
    own = runner.gitlab_runner_id or runner.pool_record_id
    return record_id is None or own is None or record_id == own


def may_cancel(runner: Runner, shown: ShownJob | None) -> bool:
    """Whether GitLab itself says that a job runs on this very machine.

    Of machines that share a record it never does: who has which job is their own claim then.
    """
    own = runner.gitlab_runner_id
    return own is not None and shown is not None and shown.runner_id == own


def awaits_word(runner: Runner, backlog: Container[JobKey], at: datetime) -> bool:
    """Whether a claim to a job that still waits may be true, and GitLab's event on its way.

    Such a runner is worth one job of the backlog, as it was before. The job itself stays there.
    A short job's machine may be done before GitLab's event arrives.
    """
    claims = runner.state in {RunnerState.BUSY, RunnerState.DONE}
    if not claims or runner.job is not None or runner.is_called_off:
        return False
    return runner.claim in backlog and (runner.claimed_at is None or may_hear(runner, at))


def may_hear(runner: Runner, at: datetime) -> bool:
    """Whether GitLab's events of the job that a machine claims may still be on their way.

    By the time at which the fleet first read the claim: the machine cannot move it.
    """
    return runner.claimed_at is not None and at - runner.claimed_at < WORD_TAKES


def is_unnamed(runner: Runner) -> bool:
    """Whether a machine says that it finished a job which no event of GitLab has named yet."""
    return runner.state is RunnerState.DONE and runner.claim is not None and runner.job is None


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
    return runner.job is not None or runner.claim is not None or not said_none


def runs_unclaimed(runner: Runner, running: Iterable[JobKey], living: Iterable[Runner]) -> bool:
    """Whether a job that no other machine of the pool claims runs on their shared record.

    `running`: the jobs that GitLab shows on the record; `living`: the pool's live runners. What
    others claim counts for nothing here, only what GitLab's events named them for.
    """
    known = {other.job for other in living if other.id != runner.id} - {runner.claim}
    return any(key not in known for key in running)


def possible_runners(job: Job, described: str | None) -> tuple[str, ...]:
    """Ids of the runners that may have taken a job, the best source first.

    `described`: the runner of this fleet that GitLab's description names.
    """
    return tuple(name for name in (described, job.runner_id) if name)


def claimant(job: Job, record_id: int | None, living: Iterable[Runner]) -> Runner | None:
    """The one runner among `living` that claims a job which GitLab shows on its record.

    None where two claim it: one of them lies.
    """
    claiming = [
        runner
        for runner in living
        if runner.claim == job.key
        and runner.job in {None, job.key}
        and record_id is not None
        and record_id == runner.pool_record_id
    ]
    return claiming[0] if len(claiming) == 1 else None
