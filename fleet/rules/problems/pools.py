"""Problems of pools: their configuration, images, tokens, room and budgets."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from fleet.model import Job
from fleet.reasons import Reason
from fleet.rules.budgets import BudgetUse
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import Problem, ProblemKind
from fleet.rules.schedule import idle_target
from fleet.words import counted

# GitLab stops seeing a pool as online after two hours; the fleet shows itself every half hour, a
# new pool within the next minutes.
UNSEEN_AFTER = timedelta(minutes=90)
# A pool is full for a while whenever many jobs arrive at once.
FULL_AFTER = timedelta(minutes=10)
# Capacity comes back by itself within minutes, or another capacity pool has some.
NO_CAPACITY_AFTER = timedelta(minutes=2)
DO_APPLY = "correct it, then `runner-fleet apply`"


def pools_at_fault(facts: FleetFacts) -> Iterator[Problem]:
    """Pools that AWS refuses, whose machines fail before a job, or that GitLab does not know."""
    for pool in facts.pools:
        if pool.config is None:
            continue
        if pool.refused:
            what = f"pool {pool.name}: AWS refuses its configuration: {pool.refused}"
            yield Problem(kind=ProblemKind.POOL_REFUSED, what=what, do=DO_APPLY, example=pool.name)
        keeps_warm = idle_target(pool.config.idle, facts.at) > 0
        if keeps_warm and pool.warm.stops(pool.config.attempts):
            failures = counted(pool.warm.failures, "failure")
            what = f"pool {pool.name}: no machine is kept warm after {failures}"
            yield Problem(
                kind=ProblemKind.WARM_STOPPED,
                what=f"{what}: {pool.warm.why}",
                do="check its image and the console output in EC2, then `runner-fleet apply`",
                example=pool.name,
            )
        seen_at = pool.verified_at
        if (seen_at is None or facts.at - seen_at > UNSEEN_AFTER) and facts.is_checked:
            since = f"since {seen_at:%F %R} UTC" if seen_at else "yet"
            what = f"pool {pool.name}: GitLab has not heard of it {since}"
            yield Problem(
                kind=ProblemKind.POOL_UNSEEN,
                what=f"{what}; jobs that wait over an hour fail as stuck",
                do="`runner-fleet apply` makes its runner record; then look at reconcile's log",
                example=pool.name,
            )


def old_images(facts: FleetFacts) -> Iterator[Problem]:
    """Machines that start from an older image than is built, or than the stack's code."""
    for image in facts.images:
        start = f"{image.kind} machines start from an image of {image.used_at:%F %R} UTC"
        if image.newest_at > image.used_at:
            yield Problem(
                kind=ProblemKind.IMAGE_BEHIND,
                what=f"{start}, and one of {image.newest_at:%F %R} UTC is built",
                do="`runner-fleet image use` takes the newest; `runner-fleet image list` has all",
                example=image.kind,
            )
        elif image.is_of_other_code:
            yield Problem(
                kind=ProblemKind.IMAGE_BEHIND,
                what=f"{start}, which was built from other sources than the stack's code",
                do=f"`runner-fleet image build --for {image.kind}`, then `runner-fleet image use`;"
                " `runner-fleet deploy` does both",
                example=image.kind,
            )


def tokens_not_renewed(facts: FleetFacts) -> Iterator[Problem]:
    """Tokens that expire and cannot be made anew."""
    for pool in facts.pools:
        if pool.config is None or pool.renewal_failed_at is None:
            continue
        ends = pool.token_expires_at
        when = f" which expires at {ends:%F %R} UTC," if ends else ""
        since = f"cannot be renewed since {pool.renewal_failed_at:%F %R} UTC: {pool.renewal_failed}"
        yield Problem(
            kind=ProblemKind.RENEWAL_FAILED,
            what=f"pool {pool.name}: its runner token{when} {since}",
            do="correct what GitLab or AWS refuses, then `runner-fleet apply`; see reconcile's log",
            example=pool.name,
        )


def full_pools(facts: FleetFacts) -> Iterator[Problem]:
    """Jobs that wait for room: the ceiling's, the cloud's, or the budget's."""
    for pool in facts.pools:
        if pool.config is None:
            continue
        full = [job for job in pool.backlog if job.reason is Reason.AT_CEILING]
        if full and pool.full_since is not None and facts.at - pool.full_since >= FULL_AFTER:
            yield Problem(
                kind=ProblemKind.POOL_FULL,
                what=f"pool {pool.name} is at its ceiling since {pool.full_since:%F %R} UTC,"
                f" and {_jobs_wait(full)}",
                do=f"raise its ceiling, then `runner-fleet apply`; for a time:"
                f" `runner-fleet pool ceiling {pool.name} <number> --for 2h`",
                count=len(full),
                example=pool.name,
            )
        dry = [job for job in pool.backlog if job.reason is Reason.NO_CAPACITY_UNTIL]
        oldest = min((job.pending_at for job in dry), default=facts.at)
        if dry and facts.at - oldest >= NO_CAPACITY_AFTER:
            yield Problem(
                kind=ProblemKind.NO_CAPACITY,
                what=f"pool {pool.name}: the cloud has no machine, and {_jobs_wait(dry)}",
                do="it is asked again by itself; more instance_types or subnets help, or the"
                ' market "spot-then-on-demand"',
                count=len(dry),
                example=pool.name,
            )


def used_budgets(facts: FleetFacts) -> Iterator[Problem]:
    """Budgets of today that are used up, while jobs wait for them."""
    jobs = [job for pool in facts.pools for job in pool.backlog if job.reason is Reason.BUDGET]
    for use in facts.budgets:
        kind = "project" if use.is_project else "pool"
        own = [job for job in jobs if _is_of(job, use)]
        if not use.is_used_up or not own:
            continue
        yield Problem(
            kind=ProblemKind.BUDGET_USED,
            what=f"{kind} {use.name} used {use.used_usd:.2f} of its {use.usd_per_day:.2f} USD of"
            f" today, and {_jobs_wait(own)}",
            do="launches go on at 00:00 UTC, or with a larger budget in fleet.toml, then"
            " `runner-fleet apply`",
            count=len(own),
            example=use.name,
        )


def _is_of(job: Job, use: BudgetUse) -> bool:
    if not use.is_project:
        return job.pool == use.name
    return use.name.lower() in (str(job.project_id), job.project_path.lower())


def _jobs_wait(jobs: Sequence[Job]) -> str:
    return f"{len(jobs)} jobs wait" if jobs[1:] else f"job {jobs[0].job_id} waits"
