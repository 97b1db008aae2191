"""Where one job stands and what its operator can do. `explain` makes sentences of the answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from fleet.config.model import PoolConfig
from fleet.holds import Hold
from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.rules.controls import Control
from fleet.rules.liveness import stalled_since
from fleet.steps import Outcome, Step, StepName
from fleet.trouble import Trouble


class Standing(StrEnum):
    """Where a job stands, from its creation to the end of its machine."""

    CREATED = "created"  # GitLab runs other jobs first
    GIVEN_UP = "given_up"
    NO_POOL = "no_pool"
    POOL_GONE = "pool_gone"
    WITHHELD = "withheld"  # GitLab does not give it to a runner that was ready for long
    GITLAB_UNUSABLE = "gitlab_unusable"  # the fleet can ask GitLab nothing
    HELD = "held"  # GitLab gives its machine no credential
    BOOTING = "booting"
    BOOTED = "booted"  # its machine called home and does not ask GitLab yet
    READY = "ready"  # its machine asks GitLab
    TAKEN = "taken"  # a runner says that it has it, and GitLab's event is not here yet
    AT_CEILING = "at_ceiling"
    POOL_REFUSED = "pool_refused"
    NO_CAPACITY = "no_capacity"
    ROUTED = "routed"  # the next round of the autoscaler launches for it
    WAITING = "waiting"  # for what its reason says
    MACHINE_LOST = "machine_lost"
    RUNS_ELSEWHERE = "runs_elsewhere"  # on a runner that is not the fleet's
    RUNNER_GONE = "runner_gone"
    RUNNING = "running"
    ENDED = "ended"


class Advice(StrEnum):
    """What the operator can do about it."""

    NOTHING = "nothing"
    FIX_FAILURE = "fix_failure"  # of its last attempt
    ALLOW_RUNNER = "allow_runner"  # in GitLab
    PROTECT_BRANCH = "protect_branch"  # else ALLOW_RUNNER
    PROTECT_REF = "protect_ref"
    RAISE_ROLE = "raise_role"  # of the fleet's user, which may not see whether the ref is protected
    CORRECT_TAGS = "correct_tags"
    AWAIT_RECONCILE = "await_reconcile"
    CURE_TROUBLE = "cure_trouble"
    CURE_HOLD = "cure_hold"
    RAISE_CEILING = "raise_ceiling"
    RESUME_POOL = "resume_pool"
    RAISE_BUDGET = "raise_budget"
    CORRECT_POOL = "correct_pool"
    ADD_CAPACITY_POOLS = "add_capacity_pools"
    RUN_AGAIN = "run_again"
    RUN_AGAIN_IF_STUCK = "run_again_if_stuck"
    RAISE_TIME_LIMIT = "raise_time_limit"
    CHECK_POOL = "check_pool"
    READ_STEPS = "read_steps"  # its machine failed it
    READ_STEPS_OF_LOSS = "read_steps_of_loss"  # AWS took its machine away


# Source: GitLab docs, "Job failure reasons".
_OF_FAILURE: Mapping[str, Advice] = {
    "job_execution_timeout": Advice.RAISE_TIME_LIMIT,
    "stuck_or_timeout_failure": Advice.CHECK_POOL,
    "runner_system_failure": Advice.READ_STEPS,
    "runner_interrupted": Advice.READ_STEPS_OF_LOSS,
}
_OF_HELD: Mapping[Reason | None, Advice] = {
    Reason.PAUSED: Advice.RESUME_POOL,
    Reason.BUDGET: Advice.RAISE_BUDGET,
}
_OF_REF: Mapping[Reason | None, Advice] = {
    # GitLab decides it when it makes a pipeline: what waits stays as it is.
    Reason.UNPROTECTED: Advice.PROTECT_REF,
    Reason.PROTECTION_UNKNOWN: Advice.RAISE_ROLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A job with what is known of its pool, its runner and GitLab at `at`."""

    at: datetime
    job: Job
    steps: Sequence[Step] = ()
    failure: str | None = None  # GitLab's `failure_reason`
    torn_down_after: timedelta | None = None  # from the job's end to its machine's
    pool: PoolConfig | None = None  # None: it has none, or fleet.toml has it no more
    back_off: Mapping[str, BackOff] = field(default_factory=dict)  # of its pool, by capacity pool
    trouble: Trouble | None = None  # the fleet can ask GitLab nothing at all
    hold: Hold | None = None  # GitLab gives no credential to machines for it
    pause: Control | None = None  # that its pool is under
    ceiling: int | None = None  # in force for its pool
    runner: Runner | None = None  # live, and it runs the job or was launched for it
    idle: Runner | None = None  # as `fleet.rules.problems.jobs.idle_beside` answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Where the job stands, and what to do."""

    standing: Standing
    advice: Advice = Advice.NOTHING
    runner: Runner | None = None  # that the standing is about
    strayed: Runner | None = None  # launched for the job, and it serves it no more
    reason: Reason | None = None  # why it waits; of a lost machine: why it is not retried
    until: datetime | None = None  # when AWS is asked again


def diagnose(facts: JobFacts) -> Diagnosis:
    """Where the job stands now."""
    job = facts.job
    if job.status is JobStatus.FINISHED:
        advice = _OF_FAILURE.get(facts.failure or "", Advice.NOTHING)
        ending = facts.runner if facts.torn_down_after is None else None
        return Diagnosis(standing=Standing.ENDED, advice=advice, runner=ending)
    if job.status is JobStatus.RUNNING:
        return _running(facts)
    if job.status is JobStatus.CREATED:
        return Diagnosis(standing=Standing.CREATED)
    if job.given_up:
        return Diagnosis(standing=Standing.GIVEN_UP, advice=_before_renewal(facts))
    if job.pool is None:
        advice = _OF_REF.get(job.reason, Advice.CORRECT_TAGS)
        return Diagnosis(standing=Standing.NO_POOL, advice=advice, reason=job.reason)
    if facts.pool is None:
        return Diagnosis(standing=Standing.POOL_GONE, advice=Advice.AWAIT_RECONCILE)
    return _waiting(facts)


def widest(holds: Iterable[Hold], job: Job) -> Hold | None:
    """The hold that keeps machines for a job from a credential: of several the widest, oldest."""
    own = [
        hold
        for hold in holds
        if hold.lifted_at is None and hold.concerns(job.pool or "", job.project_id)
    ]
    return min(own, key=lambda hold: (-hold.scope.count(None), hold.since), default=None)


def _before_renewal(facts: JobFacts) -> Advice:
    """What to do before a job that was given up gets its attempts again."""
    last = {step.name: step for step in facts.steps}
    given_up, exited = last.get(StepName.GIVEN_UP), last.get(StepName.RUNNER_EXITED)
    is_unserved = given_up is not None and given_up.cause is Reason.WENT_UNSERVED
    has_asked = exited is not None and exited.outcome is Outcome.NO_JOB
    return _against_withholding(facts.pool) if is_unserved and has_asked else Advice.FIX_FAILURE


def _against_withholding(pool: PoolConfig | None) -> Advice:
    """What makes GitLab give a job to a runner that is ready for it."""
    is_protected = pool is not None and pool.protected_only
    return Advice.PROTECT_BRANCH if is_protected else Advice.ALLOW_RUNNER


def _waiting(facts: JobFacts) -> Diagnosis:
    runner = facts.runner
    if facts.idle is not None:
        advice = _against_withholding(facts.pool)
        return Diagnosis(standing=Standing.WITHHELD, advice=advice, runner=facts.idle)
    if _lacks_credential(facts) and facts.trouble is not None:
        return Diagnosis(standing=Standing.GITLAB_UNUSABLE, advice=Advice.CURE_TROUBLE)
    if facts.hold is not None and _is_held(facts, facts.hold):
        return Diagnosis(standing=Standing.HELD, advice=Advice.CURE_HOLD)
    if runner is not None and runner.covers:
        return Diagnosis(standing=_progress(runner), runner=runner)
    if runner is not None and (runner.job or runner.claim) == facts.job.key:
        return Diagnosis(standing=Standing.TAKEN, runner=runner)
    return replace(_unlaunched(facts), strayed=runner)


def _unlaunched(facts: JobFacts) -> Diagnosis:
    """What keeps a machine from being launched for it now."""
    reason = facts.job.reason
    match reason:
        case Reason.AT_CEILING:
            return Diagnosis(standing=Standing.AT_CEILING, advice=Advice.RAISE_CEILING)
        case Reason.CONFIGURATION:
            return Diagnosis(
                standing=Standing.POOL_REFUSED, advice=Advice.CORRECT_POOL, reason=reason
            )
        case Reason.NO_CAPACITY_UNTIL:
            ends = (entry.until for entry in facts.back_off.values() if entry.until > facts.at)
            return Diagnosis(
                standing=Standing.NO_CAPACITY,
                advice=Advice.ADD_CAPACITY_POOLS,
                reason=reason,
                until=min(ends, default=None),
            )
        case Reason.ROUTED | Reason.OVERFLOW:
            return Diagnosis(standing=Standing.ROUTED)
    advice = _OF_HELD.get(reason, Advice.NOTHING)
    return Diagnosis(standing=Standing.WAITING, advice=advice, reason=reason)


def _lacks_credential(facts: JobFacts) -> bool:
    """Whether the machine for it has none, or is not there."""
    return facts.runner is None or not (facts.runner.covers and facts.runner.equipped)


def _is_held(facts: JobFacts, hold: Hold) -> bool:
    """Whether the job, or the machine that was launched for it, waits for a credential."""
    if facts.runner is None or not facts.runner.covers:
        return facts.job.reason in {Reason.GITLAB_REFUSES, Reason.GITLAB_OUT, hold.reason}
    return not facts.runner.equipped


def _progress(runner: Runner) -> Standing:
    """How far the machine is that was launched for it."""
    if runner.state is not RunnerState.IDLE:
        return Standing.BOOTING
    return Standing.READY if runner.asks else Standing.BOOTED


def _running(facts: JobFacts) -> Diagnosis:
    runner = facts.runner
    if facts.job.reason is Reason.MACHINE_LOST:
        return Diagnosis(standing=Standing.MACHINE_LOST, advice=Advice.RUN_AGAIN)
    if runner is None:
        is_ours = facts.job.runner_id is not None
        return Diagnosis(standing=Standing.RUNNER_GONE if is_ours else Standing.RUNS_ELSEWHERE)
    after = facts.pool.stalled_after if facts.pool else None
    is_stalled = after is not None and stalled_since(runner, after, facts.at) is not None
    advice = Advice.RUN_AGAIN_IF_STUCK if is_stalled else Advice.NOTHING
    return Diagnosis(standing=Standing.RUNNING, advice=advice, runner=runner)
