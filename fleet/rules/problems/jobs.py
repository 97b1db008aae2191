"""Problems of single jobs: lost with their machine, withheld by GitLab, or without a runner."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import SENTENCES, Reason
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import Problem, ProblemKind, and_more
from fleet.rules.route import may_take

# A job without a pool is mostly for runners outside the fleet, which take it within this time.
NO_POOL_AFTER = timedelta(minutes=5)
# Reconcile routes the jobs of a removed pool again within a minute.
POOL_GONE_AFTER = timedelta(minutes=3)
# The autoscaler looks at each job that waits, once a minute at least.
UNATTENDED_AFTER = timedelta(minutes=10)
# A runner that is ready asks GitLab every few seconds, or is answered within a long poll of 50 s.
WITHHELD_AFTER = timedelta(minutes=2)

_BECAUSE = {
    ProblemKind.NO_POOL: SENTENCES[Reason.NO_POOL],
    ProblemKind.UNTAGGED: SENTENCES[Reason.UNTAGGED],
    ProblemKind.UNPROTECTED: SENTENCES[Reason.UNPROTECTED],
    ProblemKind.PROTECTION_UNKNOWN: SENTENCES[Reason.PROTECTION_UNKNOWN],
    ProblemKind.POOL_GONE: "its pool is no longer in fleet.toml; see the log of reconcile",
    ProblemKind.UNATTENDED: "nothing looked at it for long; see the logs of scale and reconcile",
}
STUCK = (ProblemKind.GIVEN_UP, *_BECAUSE)  # the kinds of `count_stuck`
_OF_REF: Mapping[Reason | None, ProblemKind] = {
    Reason.UNPROTECTED: ProblemKind.UNPROTECTED,
    Reason.PROTECTION_UNKNOWN: ProblemKind.PROTECTION_UNKNOWN,
}


def count_stuck(facts: FleetFacts) -> int:
    """How many waiting jobs get no runner until a person acts."""
    return sum(problem.count for problem in stuck_jobs(facts))


def idle_beside(job: Job, runners: Iterable[Runner], at: datetime) -> Runner | None:
    """The runner that was idle longest while this job, which it may take, waited as long.

    None when there is none, or when GitLab may give it the job any moment.
    """
    if job.status is not JobStatus.PENDING or job.given_up or at - job.pending_at < WITHHELD_AFTER:
        return None
    idle = (
        runner
        for runner in runners
        if runner.asks
        and runner.state is RunnerState.IDLE
        and runner.project_id in {None, job.project_id}
        and runner.changed_at is not None
        and at - runner.changed_at >= WITHHELD_AFTER
        and at - (runner.heartbeat_at or runner.launched_at) < WITHHELD_AFTER
    )
    return min(idle, key=lambda runner: (runner.since, runner.id), default=None)


def lost_jobs(facts: FleetFacts) -> Iterator[Problem]:
    """Jobs that GitLab shows as running, on machines that are gone."""
    lost = [
        job
        for job in facts.unpooled
        if job.status is JobStatus.RUNNING and job.reason is Reason.MACHINE_LOST
    ]
    if lost:
        oldest = min(lost, key=lambda job: (job.pending_at, job.key))
        run = "run" if lost[1:] else "runs"
        first = f"job {oldest.job_id} ({oldest.name})"
        yield Problem(
            kind=ProblemKind.MACHINE_LOST,
            what=f"{and_more(first, lost)} {run} no more: the machine is gone",
            do=f"cancel and retry it in GitLab; `runner-fleet explain {oldest.job_id}` says more",
            count=len(lost),
            example=str(oldest.job_id),
        )


def withheld_jobs(facts: FleetFacts) -> Iterator[Problem]:
    """Jobs that GitLab does not give to a runner that is ready for them."""
    for pool in facts.pools:
        withheld = [
            (job, idle)
            for job in pool.backlog
            if (idle := idle_beside(job, pool.runners, facts.at))
        ]
        if withheld:
            job, idle = withheld[0]
            waits = f"and {len(withheld) - 1} more wait" if withheld[1:] else "waits"
            yield Problem(
                kind=ProblemKind.WITHHELD,
                what=f"job {job.job_id} ({job.name}) {waits} while {idle.id} is idle",
                do=f"`runner-fleet explain {job.job_id}` says what to look at",
                count=len(withheld),
                example=str(job.job_id),
            )


def stuck_jobs(facts: FleetFacts) -> Iterator[Problem]:
    """Jobs that wait and get no runner, one problem for each reason why."""
    waiting = [job for job in facts.unpooled if job.status is JobStatus.PENDING]
    waiting += [job for pool in facts.pools for job in pool.backlog]
    given_up = [job for job in waiting if job.given_up]
    yield from _no_runner(ProblemKind.GIVEN_UP, given_up, SENTENCES[Reason.ATTEMPTS_USED])
    by_kind: dict[ProblemKind, list[Job]] = {kind: [] for kind in _BECAUSE}
    for job in waiting:
        kind = None if job.given_up else _why_stuck(job, facts)
        if kind is not None:
            by_kind[kind].append(job)
    for kind, jobs in by_kind.items():
        yield from _no_runner(kind, jobs, _BECAUSE[kind])


def _why_stuck(job: Job, facts: FleetFacts) -> ProblemKind | None:
    """Why a waiting job gets no runner for too long; None while it is not late."""
    routed_at = job.changed_at or job.pending_at
    is_late = facts.at - max(routed_at, facts.applied_at) >= UNATTENDED_AFTER
    if job.pool is None:
        kind = _without_pool(job, facts)
        if kind is None:
            return ProblemKind.UNATTENDED if is_late else None
        return kind if facts.at - job.pending_at >= NO_POOL_AFTER else None
    if facts.config.pool(job.pool) is None:
        removed_at = next(pool.removed_at for pool in facts.pools if pool.name == job.pool)
        since_removed = facts.at - (removed_at or facts.applied_at)
        return ProblemKind.POOL_GONE if since_removed >= POOL_GONE_AFTER else None
    was_looked_at = job.reason not in {None, Reason.ROUTED, Reason.OVERFLOW}
    return ProblemKind.UNATTENDED if is_late and not was_looked_at else None


def _without_pool(job: Job, facts: FleetFacts) -> ProblemKind | None:
    """Why no pool of the configuration may serve a job; None: some pool may, or might."""
    fitting = [pool for pool in facts.config.pools if may_take(pool, job.tags)]
    if fitting:
        are_closed = all(pool.protected_only for pool in fitting)
        return _OF_REF.get(job.reason) if are_closed else None
    return ProblemKind.NO_POOL if job.tags else ProblemKind.UNTAGGED


def _no_runner(kind: ProblemKind, jobs: Sequence[Job], because: str) -> Iterator[Problem]:
    if not jobs:
        return
    oldest = min(jobs, key=lambda job: (job.pending_at, job.key))
    gets = "get" if jobs[1:] else "gets"
    first = f"job {oldest.job_id} ({oldest.name})"
    yield Problem(
        kind=kind,
        what=f"{and_more(first, jobs)} {gets} no runner: {because}",
        do=f"`runner-fleet explain {oldest.job_id}`",
        count=len(jobs),
        example=str(oldest.job_id),
    )
