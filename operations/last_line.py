"""The last line of `explain`: what a job waits for, or how it ended, and what to do. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from adapters.ledger.jobs import JobRow
from adapters.ledger.pools import PoolRow
from fleet.config.reading import PoolConfig
from fleet.config.values import duration_text
from fleet.model import JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.holds import Hold, advice, sentence
from fleet.steps import Outcome, StepName
from fleet.trouble import Trouble
from operations.durations import duration
from operations.trail import sentence_of, words_of

APPLY = "then `runner-fleet apply`"
ROUTED_SOON = f"{APPLY}; the job is routed within a minute"
# GitLab refuses to retry a job that is pending: it would have to be cancelled first.
RETRY = f"{APPLY}, also of the same file: in two minutes it has all attempts again"
ASK_GITLAB = (
    "look in GitLab whether the project may use the runner (Settings > CI/CD > Runners)"
    " and has compute minutes left"
)
# What to do about how a job failed. Source: GitLab docs, "Job failure reasons".
FAILURES = {
    "script_failure": "",
    "job_execution_timeout": (
        "it ran into its time limit: the pool's max_job_time, or the job's or project's timeout"
    ),
    "stuck_or_timeout_failure": (
        "GitLab gave up waiting for a runner: `runner-fleet status` says whether the pool shows"
    ),
    "runner_system_failure": "its machine failed it; its steps say why it did not run again",
    "runner_interrupted": "its machine was taken away; its steps say why it did not run again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A job's row with what is known of its pool and its runner at `at`."""

    at: datetime
    row: JobRow
    pool: PoolConfig | None = None
    pool_row: PoolRow | None = None
    trouble: Trouble | None = None  # the fleet can ask GitLab nothing at all
    runner: Runner | None = None  # live, and it runs the job or was launched for it
    hold: Hold | None = None  # GitLab gives no credential to machines for it
    idle: Runner | None = None  # one that GitLab had long enough to give the job to


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Where the job stands, and what to do; nothing to do is empty."""

    says: str
    do: str = ""


def verdict(facts: JobFacts) -> Verdict:
    """Where the job stands now."""
    job = facts.row.job
    if job.status is JobStatus.FINISHED:
        return _finished(facts)
    if job.status is JobStatus.RUNNING:
        return _running(facts)
    if job.status is JobStatus.CREATED:
        return Verdict(says="it is not pending yet: GitLab runs other jobs first")
    if job.given_up:
        return Verdict(says=_because(Reason.ATTEMPTS_USED), do=f"{_mend(facts)}, {RETRY}")
    if job.pool is None:
        return Verdict(says=_because(job.reason), do=_to_get_a_pool(job.reason))
    if facts.pool is None:
        says = f"its pool {job.pool} is not in fleet.toml any more"
        return Verdict(says=says, do="reconcile routes it again within a minute")
    return _waiting(facts, facts.pool)


def _to_get_a_pool(reason: Reason | None) -> str:
    """What to do about a job that no pool gets."""
    if reason is Reason.UNPROTECTED:
        # GitLab decides it when it makes a pipeline: what waits stays as it is.
        what = "protect its branch or tag and run a new pipeline"
        return f"{what}, or drop protected_only, {ROUTED_SOON}"
    if reason is Reason.PROTECTION_UNKNOWN:
        role = "make the user of the fleet's GitLab token a Maintainer of the project"
        return f"{role}, or drop protected_only from a pool, {ROUTED_SOON}"
    return f"correct its tags, or a pool's, {ROUTED_SOON}"


def _mend(facts: JobFacts) -> str:
    """What to do before a job that was given up is tried again."""
    last = {step.name: step for step in facts.row.steps}
    given_up, exited = last.get(StepName.GIVEN_UP), last.get(StepName.RUNNER_EXITED)
    is_unserved = given_up is not None and given_up.cause is Reason.WENT_UNSERVED
    has_asked = exited is not None and exited.outcome is Outcome.NO_JOB
    return _unlock(facts.pool) if is_unserved and has_asked else "mend what failed above"


def _unlock(pool: PoolConfig | None) -> str:
    """What may keep GitLab from giving a job to a fit runner."""
    if pool is None or not pool.protected_only:
        return ASK_GITLAB
    return f"pool {pool.name} is protected_only: protect the job's branch; else {ASK_GITLAB}"


def _waiting(facts: JobFacts, pool: PoolConfig) -> Verdict:
    if facts.idle is not None:
        return _withheld(facts, facts.idle, pool)
    if (no_credential := _no_credential(facts)) is not None:
        return no_credential
    runner = facts.runner
    if runner is not None and runner.covers:
        return _booting(facts, runner, pool)
    if runner is not None and runner.job == facts.row.job.key:
        return Verdict(says=f"{runner.id} has taken it, and GitLab's word of that is on its way")
    why = _why_waiting(facts, pool)
    if runner is None:
        return why
    instead = f"took job {runner.job.job_id}" if runner.job else f"is {runner.state.value}"
    return replace(why, says=f"{why.says}; {runner.id}, launched for it, {instead}")


def _why_waiting(facts: JobFacts, pool: PoolConfig) -> Verdict:
    """What keeps a machine from being launched for it now."""
    reason, row = facts.row.job.reason, facts.pool_row
    if reason is Reason.AT_CEILING:
        says = f"it waits for room: all {pool.ceiling} places of pool {pool.name} are in use"
        return Verdict(says=says, do=f"nothing, or raise its ceiling, {APPLY}")
    if reason is Reason.CONFIGURATION:
        words = row.refused if row and row.refused else _because(reason)
        return Verdict(
            says=f"AWS refuses pool {pool.name}: {words}", do=f"correct it, {ROUTED_SOON}"
        )
    if reason is Reason.NO_CAPACITY_UNTIL:
        held = [one.until for one in (row.back_off or {}).values()] if row else []
        until = min((one for one in held if one > facts.at), default=None)
        when = f", at {until:%T} UTC" if until else ""
        return Verdict(
            says=f"{_because(reason)}{when}",
            do=f"nothing, or name more instance_types or subnets in pool {pool.name}",
        )
    if reason is Reason.ROUTED or reason is Reason.OVERFLOW:
        return Verdict(says="it waits for the autoscaler's next round, which is at most a minute")
    return Verdict(says=_because(reason) if reason else "it waits for the autoscaler")


def _no_credential(facts: JobFacts) -> Verdict | None:
    """Why the job, or the machine that was launched for it, gets none from GitLab, if so."""
    waits = facts.runner is None or not (facts.runner.covers and facts.runner.equipped)
    if facts.trouble is not None and waits:
        return Verdict(says=facts.trouble.says, do=facts.trouble.do)
    if facts.hold is not None and _is_held(facts, facts.hold):
        return Verdict(says=sentence(facts.hold), do=advice(facts.hold))
    return None


def _is_held(facts: JobFacts, hold: Hold) -> bool:
    """Whether the job, or the machine that was launched for it, waits for a credential."""
    if facts.runner is None or not facts.runner.covers:
        return facts.row.job.reason in {
            Reason.GITLAB_REFUSES,
            Reason.GITLAB_OUT,
            hold.reason,
        }
    return not facts.runner.equipped


def _withheld(facts: JobFacts, idle: Runner, pool: PoolConfig) -> Verdict:
    since = duration((facts.at - idle.since).total_seconds())
    says = f"{idle.id} has been ready for {since}, and GitLab does not give it this job"
    return Verdict(says=says, do=_unlock(pool))


def _booting(facts: JobFacts, runner: Runner, pool: PoolConfig) -> Verdict:
    since = duration((facts.at - runner.launched_at).total_seconds())
    if runner.state is RunnerState.IDLE and not runner.asks:
        says = f"{runner.id}, launched {since} ago, has called home and gets ready"
        return Verdict(says=says)
    if runner.state is RunnerState.IDLE:
        says = (
            f"{runner.id}, launched {since} ago, is ready: GitLab gives it this job, or one like it"
        )
        return Verdict(says=says)
    deadline = duration_text(pool.boot_deadline)
    says = f"{runner.id} boots for {since}; after {deadline} another is launched in its place"
    return Verdict(says=says)


LOST = (
    "cancel and retry it in GitLab, where it may run a second time; left alone, GitLab fails it an"
    " hour after its last word, and `retry:` of the CI file counts"
)


def _running(facts: JobFacts) -> Verdict:
    if facts.row.job.reason is Reason.MACHINE_LOST:
        return Verdict(says=f"{_because(Reason.MACHINE_LOST)}; {_not_retried(facts)}", do=LOST)
    runner = facts.runner
    name = facts.row.job.runner_id
    if runner is None:
        if name is None:
            return Verdict(says="it runs on a runner that is not the fleet's")
        return Verdict(says=f"its runner {name} is gone and GitLab still says that it runs")
    heard = runner.heartbeat_at
    if heard is None:
        return Verdict(says=f"it runs on {runner.id}")
    silent = facts.at - heard
    says = f"it runs on {runner.id}, last heard {duration(silent.total_seconds())} ago"
    if facts.pool is None or silent < facts.pool.stalled_after:
        return Verdict(says=says)
    return Verdict(says=says, do="if nothing moves in its log: cancel and retry it in GitLab")


def _not_retried(facts: JobFacts) -> str:
    """Why the fleet does not run it again: the last of the steps that say so."""
    steps = [step for step in facts.row.steps if step.name is StepName.RETRY]
    return (words_of(steps[-1]) or sentence_of(steps[-1].reason)) if steps else "it is not retried"


def _finished(facts: JobFacts) -> Verdict:
    row = facts.row
    says = f"it ended: {row.job.outcome or 'finished'}"
    if row.failure_reason:
        says += f" ({row.failure_reason})"
    if row.torn_down_at is not None and row.finished_at is not None:
        after = duration((row.torn_down_at - row.finished_at).total_seconds())
        says += f"; its machine was gone {after} later"
    elif facts.runner is not None:
        says += f"; {facts.runner.id} is being ended"
    return Verdict(says=says, do=FAILURES.get(row.failure_reason or "", ""))


def _because(reason: Reason | None) -> str:
    return sentence_of(reason.value if reason else None)
