"""The last line of `explain`: the sentences for where a job stands and what to do about it."""

from dataclasses import dataclass

from fleet.config.model import PoolConfig
from fleet.config.values import duration_text
from fleet.model import Runner
from fleet.reasons import SENTENCES, Reason
from fleet.rules.controls import ALL, Control
from fleet.rules.holds import advice as advice_on_hold, sentence as sentence_of_hold
from fleet.rules.standing import Advice, Diagnosis, JobFacts, Standing
from fleet.steps import StepName
from operations.durations import duration
from operations.trail import sentence_of, words_of

_APPLY = "then `runner-fleet apply`"
_ROUTED_SOON = f"{_APPLY}; the job is routed within a minute"
# GitLab does not retry a job that is pending: a person would have to cancel it first.
_RENEWED = f"{_APPLY}, also of the same file: the job has all attempts again within two minutes"
_ALLOW_RUNNER = (
    "check in GitLab that the project may use the runner (Settings > CI/CD > Runners)"
    " and has compute minutes left"
)
_SENTENCES = {
    Standing.CREATED: "it is not pending yet: GitLab runs other jobs first",
    Standing.GIVEN_UP: SENTENCES[Reason.ATTEMPTS_USED],
    Standing.POOL_GONE: "its pool {pool} is no longer in fleet.toml",
    Standing.AT_CEILING: "it waits for room: all {ceiling} places of pool {pool} are in use",
    Standing.ROUTED: "it waits for the autoscaler's next round, which is at most a minute",
    Standing.RUNS_ELSEWHERE: "it runs on a runner that is not the fleet's",
    Standing.RUNNER_GONE: "its runner {runner} is gone and GitLab still says that it runs",
}
_DO = {
    Advice.NOTHING: "",
    Advice.FIX_FAILURE: "correct what failed above",
    Advice.ALLOW_RUNNER: _ALLOW_RUNNER,
    Advice.PROTECT_BRANCH: "pool {pool} is protected_only: protect the job's branch; "
    f"if it is protected, {_ALLOW_RUNNER}",
    Advice.PROTECT_REF: "protect its branch or tag and run a new pipeline, or drop protected_only, "
    f"{_ROUTED_SOON}",
    Advice.RAISE_ROLE: "make the user of the fleet's GitLab token a Maintainer of the project, or "
    f"drop protected_only from a pool, {_ROUTED_SOON}",
    Advice.CORRECT_TAGS: f"correct its tags, or a pool's, {_ROUTED_SOON}",
    Advice.AWAIT_RECONCILE: "nothing: reconcile routes it again within a minute",
    Advice.RAISE_CEILING: f"nothing, or raise its ceiling, {_APPLY}",
    Advice.RESUME_POOL: "`runner-fleet pool resume` when the cause is gone",
    Advice.RAISE_BUDGET: "nothing, or raise the budget in fleet.toml (budget_usd_per_day of pool"
    " {pool}, or [budgets] of the project), then `runner-fleet apply`",
    Advice.CORRECT_POOL: f"correct it, {_ROUTED_SOON}",
    Advice.ADD_CAPACITY_POOLS: "nothing, or name more instance_types or subnets in pool {pool}",
    Advice.RUN_AGAIN: "cancel and retry it in GitLab if it may run a second time; otherwise GitLab"
    " fails it an hour after its last update, and `retry:` of the CI file counts",
    Advice.RUN_AGAIN_IF_STUCK: "if its log shows no progress, cancel and retry it in GitLab",
    Advice.RAISE_TIME_LIMIT: "it ran into its time limit: the pool's max_job_time, or the timeout"
    " of the job or project",
    Advice.CHECK_POOL: "GitLab gave up waiting for a runner: `runner-fleet status` says whether"
    " GitLab sees the pool",
    Advice.READ_STEPS: "its machine failed it; its steps say why it did not run again",
    Advice.READ_STEPS_OF_LOSS: "AWS took its machine; its steps say why it did not run again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLine:
    """Where the job stands, and what to do; empty: nothing to do."""

    sentence: str
    do: str = ""


def last_line(facts: JobFacts, diagnosis: Diagnosis, *, refused: str | None = None) -> LastLine:
    """The diagnosis in sentences. `refused`: AWS's words about the pool's configuration."""
    sentence = _sentence(facts, diagnosis, refused)
    if diagnosis.strayed is not None:
        sentence += f"; {_strayed(diagnosis.strayed)}"
    return LastLine(sentence=sentence, do=_do(facts, diagnosis))


def _do(facts: JobFacts, diagnosis: Diagnosis) -> str:
    advice = diagnosis.advice
    if advice is Advice.CURE_TROUBLE and facts.trouble is not None:
        return facts.trouble.do
    if advice is Advice.CURE_HOLD and facts.hold is not None:
        return advice_on_hold(facts.hold)
    do = _DO[advice].format(pool=facts.job.pool)
    return f"{do}, {_RENEWED}" if diagnosis.standing is Standing.GIVEN_UP else do


def _sentence(facts: JobFacts, diagnosis: Diagnosis, refused: str | None) -> str:
    job, standing = facts.job, diagnosis.standing
    if standing in _SENTENCES:
        configured = facts.pool.ceiling if facts.pool else 0
        ceiling = configured if facts.ceiling is None else facts.ceiling
        return _SENTENCES[standing].format(pool=job.pool, runner=job.runner_id, ceiling=ceiling)
    match standing:
        case Standing.GITLAB_UNUSABLE if facts.trouble is not None:
            return facts.trouble.says
        case Standing.HELD if facts.hold is not None:
            return sentence_of_hold(facts.hold)
        case Standing.POOL_REFUSED:
            return f"AWS refuses pool {job.pool}: {refused or sentence_of(diagnosis.reason)}"
        case Standing.MACHINE_LOST:
            return f"{SENTENCES[Reason.MACHINE_LOST]}; {_not_retried(facts)}"
        case Standing.ENDED:
            return _ended(facts, diagnosis)
    if diagnosis.runner is not None:
        return _of_runner(facts, standing, diagnosis.runner)
    return _waits(facts, diagnosis)


def _waits(facts: JobFacts, diagnosis: Diagnosis) -> str:
    if diagnosis.reason is Reason.PAUSED and facts.pause is not None:
        return _paused(facts.pause)
    when = f", at {diagnosis.until:%T} UTC" if diagnosis.until else ""
    return (sentence_of(diagnosis.reason) or "it waits for the autoscaler") + when


def _paused(pause: Control) -> str:
    what = "every pool" if pause.about == ALL else f"pool {pause.about}"
    until = f" until {pause.until:%F %R} UTC" if pause.until else ""
    note = f": {pause.note}" if pause.note else ""
    return f"{pause.who} paused {what} at {pause.at:%F %R} UTC{until}{note}"


def _of_runner(facts: JobFacts, standing: Standing, runner: Runner) -> str:
    ready = duration((facts.at - runner.since).total_seconds())
    age = duration((facts.at - runner.launched_at).total_seconds())
    match standing:
        case Standing.WITHHELD:
            return f"{runner.id} has been ready for {ready}, and GitLab does not give it this job"
        case Standing.TAKEN:
            return f"{runner.id} has taken it, and GitLab's event is on its way"
        case Standing.BOOTED:
            return f"{runner.id}, launched {age} ago, has called home and gets ready"
        case Standing.READY:
            return (
                f"{runner.id}, launched {age} ago, is ready: GitLab gives it this job or a similar"
                " one"
            )
        case Standing.BOOTING:
            return f"{runner.id} boots for {age}{_deadline(facts.pool)}"
    if runner.heartbeat_at is None:
        return f"it runs on {runner.id}"
    silence = duration((facts.at - runner.heartbeat_at).total_seconds())
    return f"it runs on {runner.id}, last heard {silence} ago"


def _deadline(pool: PoolConfig | None) -> str:
    if pool is None:
        return ""
    return f"; after {duration_text(pool.boot_deadline)} the fleet launches another in its place"


def _strayed(runner: Runner) -> str:
    instead = f"took job {runner.job.job_id}" if runner.job else f"is {runner.state.value}"
    return f"{runner.id}, launched for it, {instead}"


def _not_retried(facts: JobFacts) -> str:
    """Why the fleet does not run it again: the last of the steps that say so."""
    steps = [step for step in facts.steps if step.name is StepName.RETRY]
    return (words_of(steps[-1]) or sentence_of(steps[-1].reason)) if steps else "it is not retried"


def _ended(facts: JobFacts, diagnosis: Diagnosis) -> str:
    sentence = f"it ended: {facts.job.outcome or 'finished'}"
    if facts.failure:
        sentence += f" ({sentence_of(facts.failure)})"
    if facts.torn_down_after is not None:
        after_s = facts.torn_down_after.total_seconds()
        if after_s < 0:
            return f"{sentence}; its machine was gone before"
        after = duration(after_s)
        return f"{sentence}; its machine was gone {after} later"
    return f"{sentence}; {diagnosis.runner.id} is being ended" if diagnosis.runner else sentence
