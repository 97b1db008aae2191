"""The problems of the whole fleet: what does not recover by itself, or must be noticed.

`status` prints them and ends with 1 while there is any. A kind is the stable word for scripts;
many cases of one kind are one problem, with their number and an example.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum

from fleet.config.reading import FleetConfig, PoolConfig
from fleet.holds import Hold, HoldKind
from fleet.hook_scope import HookScope
from fleet.machine.mailbox import MachineState
from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import SENTENCES, Reason
from fleet.rules.budgets import BudgetUse
from fleet.rules.holds import advice, is_problem, sentence
from fleet.rules.liveness import stalled_since
from fleet.rules.route import may_take
from fleet.rules.schedule import idle_target
from fleet.rules.warm import WarmMemory
from fleet.times import HasUtcTimes
from fleet.trouble import DO_RENEW, TLS, TOKEN, Trouble, ends_soon

# GitLab stops seeing a pool as online after two hours; the fleet shows itself every half hour, a
# new pool within the next minutes.
UNSEEN_AFTER = timedelta(minutes=90)
# After an `apply` the next ticks read every job and pool again; problems wait for that.
CHECKED_WITHIN = timedelta(minutes=5)
# A job without a pool is mostly for runners outside the fleet, which take it within this time.
NO_POOL_AFTER = timedelta(minutes=5)
# Reconcile routes the jobs of a removed pool again within a minute.
POOL_GONE_AFTER = timedelta(minutes=3)
# The autoscaler looks at each job that waits, once a minute at least.
UNATTENDED_AFTER = timedelta(minutes=10)
# A runner that is ready asks GitLab every few seconds, or is answered within a long poll of 50 s.
WITHHELD_AFTER = timedelta(minutes=2)

# A pool is full for a while whenever many jobs arrive at once.
FULL_AFTER = timedelta(minutes=10)
# Capacity comes back by itself within minutes, or another capacity pool has some.
NO_CAPACITY_AFTER = timedelta(minutes=2)
# A launch answers within a minute; its row then names the machine.
UNPLACED_AFTER = timedelta(minutes=3)
# The sweep ends what is over its lifetime within a minute.
OVER_AGE_AFTER = timedelta(minutes=5)
# As many jobs within this time, and no webhook of any, are no accident.
SILENT_WITHIN = timedelta(hours=1)
SILENT_JOBS = 3

DO_APPLY = "correct it, then `runner-fleet apply`"
DO_EXPLAIN_ANY = "`runner-fleet explain <job>` says what went wrong; then docs/operations.md"


class ProblemKind(StrEnum):
    """Every kind of problem, in the order in which they are listed: from the outside in."""

    GITLAB_UNUSABLE = "gitlab_unusable"
    TOKEN_ENDS = "token_ends"  # noqa: S105
    WEBHOOK_UNHEALTHY = "webhook_unhealthy"
    WEBHOOK_SILENT = "webhook_silent"
    NO_CREDENTIAL = "no_credential"
    DEAD_DEMANDS = "dead_demands"
    DEAD_EVENTS = "dead_events"
    DEAD_EXPIRIES = "dead_expiries"
    POOL_REFUSED = "pool_refused"
    IMAGE_BEHIND = "image_behind"
    WARM_STOPPED = "warm_stopped"
    POOL_UNSEEN = "pool_unseen"
    RENEWAL_FAILED = "renewal_failed"
    POOL_FULL = "pool_full"
    NO_CAPACITY = "no_capacity"
    BUDGET_USED = "budget_used"
    LEAKED = "leaked"
    NEIGHBOUR = "neighbour"
    UNPLACED = "unplaced"
    OVER_AGE = "over_age"
    BOOT_LATE = "boot_late"
    SILENT = "silent"
    MACHINE_LOST = "machine_lost"
    WITHHELD = "withheld"
    GIVEN_UP = "given_up"
    NO_POOL = "no_pool"
    UNTAGGED = "untagged"
    UNPROTECTED = "unprotected"
    PROTECTION_UNKNOWN = "protection_unknown"
    POOL_GONE = "pool_gone"
    UNATTENDED = "unattended"
    UNREADABLE = "unreadable"


# Those that keep the fleet from serving jobs, or cost money, until a person acts. Any other is
# about single jobs and dead letters, or ends by itself.
OF_THE_FLEET = frozenset(
    {
        ProblemKind.GITLAB_UNUSABLE,
        ProblemKind.WEBHOOK_UNHEALTHY,
        ProblemKind.WEBHOOK_SILENT,
        ProblemKind.NO_CREDENTIAL,
        ProblemKind.POOL_REFUSED,
        ProblemKind.WARM_STOPPED,
        ProblemKind.POOL_UNSEEN,
        ProblemKind.RENEWAL_FAILED,
        ProblemKind.LEAKED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One kind of problem: how many cases, and what to do about them."""

    kind: ProblemKind
    what: str
    do: str
    count: int = 1
    example: str = ""  # of a case: a job's id, a runner's id, a pool, a queue, a hook's scope


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFacts:
    """An unhealthy webhook of the fleet."""

    scope: HookScope
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts(HasUtcTimes):
    """An image of the stack's own that machines start from, and the newest one of its kind."""

    kind: str  # ec2, ec2-arm64, lambda
    used_at: datetime  # when it was built
    newest_at: datetime
    sources: str = ""  # the digest of those that it was built from
    code_sources: str = ""  # of those of the stack's code; empty: an older stack does not say

    @property
    def is_of_other_code(self) -> bool:
        """Whether the stack's code, from which machines get their work, is of other sources."""
        return self.code_sources not in {"", self.sources}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDiscovery:
    """How the fleet learned of one of the last jobs."""

    by_webhook: bool  # any webhook of it arrived
    is_listed: bool  # reconcile read it in GitLab's list first


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSweep(HasUtcTimes):
    """What the last sweep could not end, and which other fleets' runners it met."""

    at: datetime
    leaked: tuple[str, ...] = ()  # runners, machines and runner records
    neighbours: tuple[str, ...] = ()  # other stacks with runners beside ours in GitLab


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """One pool with its backlog and its runners."""

    name: str
    config: PoolConfig | None  # None: it is not in fleet.toml any more
    refused: str | None = None  # AWS's words about the configuration in force
    verified_at: datetime | None = None  # when it last showed itself to GitLab
    token_expires_at: datetime | None = None  # of its runner record
    renewal_failed_at: datetime | None = None  # since when that cannot be renewed
    renewal_failed: str = ""  # and why
    warm: WarmMemory = field(default_factory=WarmMemory)
    removed_at: datetime | None = None  # when `apply` took it out of fleet.toml
    runners: tuple[Runner, ...] = ()
    backlog: tuple[Job, ...] = ()  # jobs that wait in it, oldest first
    full_since: datetime | None = None  # since then jobs wait because of its ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """The whole fleet at `at`: every open job is in a pool's backlog or in `unpooled`."""

    at: datetime
    config: FleetConfig
    applied_at: datetime
    token_ends_on: date | None = None  # as GitLab said within the last days
    troubles: tuple[Trouble, ...] = ()  # with GitLab, for all of the fleet
    hooks: tuple[HookFacts, ...] = ()  # those that do not work
    holds: tuple[Hold, ...] = ()  # where GitLab gives no credential for machines
    dead: Mapping[str, int] = field(default_factory=dict)  # dead letters, by queue
    pools: tuple[PoolFacts, ...] = ()
    unpooled: tuple[Job, ...] = ()  # jobs that run, and jobs that wait without a pool
    unreadable: tuple[str, ...] = ()  # rows of the fleet's tables that were left out, by their keys

    discoveries: tuple[JobDiscovery, ...] = ()  # the jobs that changed within `SILENT_WITHIN`
    swept: LastSweep | None = None
    budgets: tuple[BudgetUse, ...] = ()
    images: tuple[ImageFacts, ...] = ()  # of those kinds that the pools use

    @property
    def is_checked(self) -> bool:
        """Whether the fleet had the time to read everything since the last `apply`."""
        return self.at - self.applied_at >= CHECKED_WITHIN


def decide_problems(facts: FleetFacts) -> tuple[Problem, ...]:
    """Every problem, those that keep most jobs from running first."""
    return tuple(problem for rule in _RULES for problem in rule(facts))


def count_stuck(facts: FleetFacts) -> int:
    """How many waiting jobs get no runner until a person acts."""
    return sum(problem.count for problem in _jobs(facts))


def state_word(runner: Runner) -> str:
    """The state to show; a runner that does not ask GitLab yet has only booted."""
    is_ready = runner.state is not RunnerState.IDLE or runner.asks
    return runner.state.value if is_ready else MachineState.BOOTED.value


def ignored(job: Job, runners: Iterable[Runner], at: datetime) -> Runner | None:
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


def _troubles(facts: FleetFacts) -> Iterator[Problem]:
    for trouble in facts.troubles:
        kind = ProblemKind.GITLAB_UNUSABLE
        yield Problem(kind=kind, what=trouble.says, do=trouble.do, example=trouble.call)
    if ends_soon(facts.token_ends_on, facts.at):
        what = f"the fleet's GitLab token expires on {facts.token_ends_on}"
        yield Problem(kind=ProblemKind.TOKEN_ENDS, what=what, do=DO_RENEW)


def _hooks(facts: FleetFacts) -> Iterator[Problem]:
    for hook in facts.hooks:
        yield Problem(
            kind=ProblemKind.WEBHOOK_UNHEALTHY,
            what=f"webhook of {hook.scope}: {hook.detail or 'unhealthy'}",
            do="run `runner-fleet webhook register` for it again",
            example=str(hook.scope),
        )


def _silent_hooks(facts: FleetFacts) -> Iterator[Problem]:
    """No webhook arrives while jobs run: it is missing, or GitLab cannot reach the stack."""
    polled = [job for job in facts.discoveries if job.is_listed]
    if len(polled) < SILENT_JOBS or any(job.by_webhook for job in facts.discoveries):
        return
    yield Problem(
        kind=ProblemKind.WEBHOOK_SILENT,
        what=f"no webhook arrived for any of the last {len(facts.discoveries)} jobs: all were found"
        " in GitLab's list, which is read once a minute",
        do="`runner-fleet webhook list` says whether there is one; else `webhook register`",
        count=len(polled),
    )


def _holds(facts: FleetFacts) -> Iterator[Problem]:
    """The holds; the projects that GitLab refuses are one problem."""
    known = {trouble.kind for trouble in facts.troubles}  # they have a problem of their own
    active = (
        hold for hold in facts.holds if is_problem(hold, facts.at) and _cause(hold) not in known
    )
    holds = sorted(active, key=_hold_order)
    of_projects = [hold for hold in holds if hold.project_id is not None]
    for hold in [hold for hold in holds if hold.project_id is None] + of_projects[:1]:
        others = of_projects[1:] if hold.project_id is not None else []
        more = f"; and {len(others)} more are refused" if others else ""
        yield Problem(
            kind=ProblemKind.NO_CREDENTIAL,
            what=f"{sentence(hold)}; jobs wait{more}",
            do=advice(hold),
            count=1 + len(others),
            example=hold.pool or str(hold.project_id or ""),
        )


def _cause(hold: Hold) -> str | None:
    """The kind of trouble that a hold follows from, where that is known."""
    if hold.kind is HoldKind.REFUSAL:
        return TOKEN if hold.status == 401 and not hold.shared else None
    return TLS if hold.status is None else None


def _hold_order(hold: Hold) -> tuple[datetime, str]:
    return hold.since, str(hold.scope)


def _dead_letters(facts: FleetFacts) -> Iterator[Problem]:
    for queue, dead in facts.dead.items():
        if not dead:
            continue
        kind, do = ProblemKind.DEAD_DEMANDS, DO_EXPLAIN_ANY
        what = f"jobs got no {queue} machine after their last attempt"
        if queue == "events":
            kind, what = ProblemKind.DEAD_EVENTS, "events started no state machine"
            do = "see docs/operations.md, EventDeadLetters"
        elif queue == "expiries":
            kind, what = ProblemKind.DEAD_EXPIRIES, "expiry timers failed"
            do = "see docs/operations.md, ExpiryDeadLetters"
        yield Problem(kind=kind, what=f"{dead} {what}", do=do, count=dead, example=queue)


def _pools(facts: FleetFacts) -> Iterator[Problem]:
    for pool in facts.pools:
        if pool.config is None:
            continue
        if pool.refused:
            what = f"pool {pool.name}: AWS refuses its configuration: {pool.refused}"
            yield Problem(kind=ProblemKind.POOL_REFUSED, what=what, do=DO_APPLY, example=pool.name)
        keeps_warm = idle_target(pool.config.idle, facts.at) > 0
        if keeps_warm and pool.warm.stops(pool.config.attempts):
            what = f"pool {pool.name}: no machine is kept warm after {pool.warm.failures} failures"
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


def _images(facts: FleetFacts) -> Iterator[Problem]:
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


def _tokens(facts: FleetFacts) -> Iterator[Problem]:
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


def _room(facts: FleetFacts) -> Iterator[Problem]:
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


def _budgets(facts: FleetFacts) -> Iterator[Problem]:
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


def _swept(facts: FleetFacts) -> Iterator[Problem]:
    """What the sweep cannot end, and whose runners it meets."""
    swept = facts.swept
    if swept is None:
        return
    if swept.leaked:
        yield Problem(
            kind=ProblemKind.LEAKED,
            what=f"{_and_more(swept.leaked[0], swept.leaked)} cannot be ended",
            do="the sweep tries again each minute; its log says what AWS or GitLab refuses",
            count=len(swept.leaked),
            example=swept.leaked[0],
        )
    if swept.neighbours:
        names = ", ".join(swept.neighbours)
        yield Problem(
            kind=ProblemKind.NEIGHBOUR,
            what=f"another stack has runners in the same group or project of GitLab: {names}",
            do="give each stack tags or a group of its own: GitLab gives a job to either",
            count=len(swept.neighbours),
            example=swept.neighbours[0],
        )


def _aged(facts: FleetFacts) -> Iterator[Problem]:
    """Runners without a machine, and machines beyond their lifetime."""
    runners = [runner for pool in facts.pools for runner in pool.runners]
    unplaced = [
        runner
        for runner in runners
        if runner.state is RunnerState.REQUESTED
        and facts.at - runner.launched_at >= UNPLACED_AFTER
        and facts.at <= runner.expires_at
    ]
    old = [runner for runner in runners if facts.at - runner.expires_at >= OVER_AGE_AFTER]
    for kind, runners, what, do in (
        (
            ProblemKind.UNPLACED,
            unplaced,
            "asked for a machine and got no answer",
            "the sweep closes it after its boot deadline; see the log of scale",
        ),
        (
            ProblemKind.OVER_AGE,
            old,
            "older than the pool's max_lifetime",
            "the sweep ends it within a minute; if it stays, its log says what AWS refuses",
        ),
    ):
        if runners:
            first = min(runners, key=lambda runner: (runner.launched_at, runner.id)).id
            verb = "" if kind is ProblemKind.UNPLACED else "are " if runners[1:] else "is "
            yield Problem(
                kind=kind,
                what=f"{_and_more(first, runners)} {verb}{what}",
                do=do,
                count=len(runners),
                example=first,
            )


def _machines(facts: FleetFacts) -> Iterator[Problem]:
    for pool in facts.pools:
        if pool.config is None:
            continue
        late, silent = [], []
        for runner in _without_other_problem(pool.runners, facts.at):
            booting = runner.state in {RunnerState.REQUESTED, RunnerState.IN_FLIGHT}
            heard_at = stalled_since(runner, pool.config.stalled_after, facts.at)
            if booting and facts.at - runner.launched_at > pool.config.boot_deadline:
                late.append(runner)
            elif heard_at is not None:
                silent.append((heard_at, runner))
        if late:
            first = min(late, key=lambda runner: (runner.launched_at, runner.id)).id
            whose = "their" if late[1:] else "its"
            yield Problem(
                kind=ProblemKind.BOOT_LATE,
                what=f"{_and_more(first, late)} did not call home before {whose} boot deadline",
                do="the sweep replaces it within a minute; see its console",
                count=len(late),
                example=first,
            )
        if silent:
            heard_at, runner = min(silent, key=lambda pair: (pair[0], pair[1].id))
            minutes = (facts.at - heard_at).total_seconds() / 60
            are = "are" if silent[1:] else f"is {state_word(runner)} and"
            long = "for up to" if silent[1:] else "for"
            yield Problem(
                kind=ProblemKind.SILENT,
                what=f"{_and_more(runner.id, silent)} {are} silent {long} {minutes:.0f} minutes",
                do="the sweep ends it once GitLab and AWS agree that nothing runs there",
                count=len(silent),
                example=runner.id,
            )


def _without_other_problem(runners: Iterable[Runner], at: datetime) -> Iterator[Runner]:
    """Those that are no problem of their own already: without a machine, or too old."""
    for runner in runners:
        is_unplaced = runner.state is RunnerState.REQUESTED
        is_unplaced &= at - runner.launched_at >= UNPLACED_AFTER
        if not is_unplaced and at - runner.expires_at < OVER_AGE_AFTER:
            yield runner


def _lost(facts: FleetFacts) -> Iterator[Problem]:
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
            what=f"{_and_more(first, lost)} {run} no more: the machine is gone",
            do=f"cancel and retry it in GitLab; `runner-fleet explain {oldest.job_id}` says more",
            count=len(lost),
            example=str(oldest.job_id),
        )


def _withheld(facts: FleetFacts) -> Iterator[Problem]:
    """Jobs that GitLab does not give to a runner that is ready for them."""
    for pool in facts.pools:
        held = [
            (job, idle) for job in pool.backlog if (idle := ignored(job, pool.runners, facts.at))
        ]
        if held:
            job, idle = held[0]
            waits = f"and {len(held) - 1} more wait" if held[1:] else "waits"
            yield Problem(
                kind=ProblemKind.WITHHELD,
                what=f"job {job.job_id} ({job.name}) {waits} while {idle.id} is idle",
                do=f"`runner-fleet explain {job.job_id}` says what to look at",
                count=len(held),
                example=str(job.job_id),
            )


def _jobs(facts: FleetFacts) -> Iterator[Problem]:
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


_BECAUSE = {
    ProblemKind.NO_POOL: SENTENCES[Reason.NO_POOL],
    ProblemKind.UNTAGGED: SENTENCES[Reason.UNTAGGED],
    ProblemKind.UNPROTECTED: SENTENCES[Reason.UNPROTECTED],
    ProblemKind.PROTECTION_UNKNOWN: SENTENCES[Reason.PROTECTION_UNKNOWN],
    ProblemKind.POOL_GONE: "its pool is not in fleet.toml any more; see the log of reconcile",
    ProblemKind.UNATTENDED: "nothing looked at it for long; see the logs of scale and reconcile",
}


STUCK = (ProblemKind.GIVEN_UP, *_BECAUSE)  # the kinds of `count_stuck`
_OF_REF: Mapping[Reason | None, ProblemKind] = {
    Reason.UNPROTECTED: ProblemKind.UNPROTECTED,
    Reason.PROTECTION_UNKNOWN: ProblemKind.PROTECTION_UNKNOWN,
}


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
        what=f"{_and_more(first, jobs)} {gets} no runner: {because}",
        do=f"`runner-fleet explain {oldest.job_id}`",
        count=len(jobs),
        example=str(oldest.job_id),
    )


def _unreadable(facts: FleetFacts) -> Iterator[Problem]:
    if facts.unreadable:
        first = f"the row {facts.unreadable[0]}"
        yield Problem(
            kind=ProblemKind.UNREADABLE,
            what=f"{_and_more(first, facts.unreadable)} cannot be read and counts as absent",
            do="see `Rows that cannot be read` in docs/operations.md",
            count=len(facts.unreadable),
            example=facts.unreadable[0],
        )


def _and_more(first: str, all_of_them: Sequence[object]) -> str:
    more = len(all_of_them) - 1
    return f"{first} and {more} more" if more else first


_RULES: tuple[Callable[[FleetFacts], Iterator[Problem]], ...] = (
    _troubles,
    _hooks,
    _silent_hooks,
    _holds,
    _dead_letters,
    _pools,
    _images,
    _tokens,
    _room,
    _budgets,
    _swept,
    _aged,
    _machines,
    _lost,
    _withheld,
    _jobs,
    _unreadable,
)
