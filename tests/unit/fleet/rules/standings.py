"""Every way in which a job can stand: the facts, and the diagnosis."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from fleet.config.model import PoolConfig
from fleet.config.reading import read_config
from fleet.holds import Hold, HoldKind
from fleet.model import Job, JobKey, JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.rules.controls import ALL, Control, ControlKind
from fleet.rules.standing import Advice, Diagnosis, JobFacts, Standing
from fleet.steps import Outcome, Step, StepName
from fleet.trouble import TOKEN, Trouble
from tests.fakes import AT

FLEET = """\
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"

[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large", "m7a.large"]
ceiling = 5
"""
POOL: PoolConfig = read_config(FLEET).pools[0]  # 5 minutes to boot, 5 minutes of silence
PROTECTED = POOL.model_copy(update={"protected_only": True})
HOLD = Hold(kind=HoldKind.REFUSAL, since=AT, ask_at=AT, words="401 Unauthorized", status=401)
TROUBLE = Trouble(kind=TOKEN, since=AT, call="GET /version", words="401 Unauthorized")


def ago(seconds: float) -> datetime:
    """So many seconds before the time of the facts."""
    return AT - timedelta(seconds=seconds)


def key(job_id: int) -> JobKey:
    return JobKey(instance="gitlab.example.com", job_id=job_id)


def job(status: JobStatus = JobStatus.PENDING, **facts: Any) -> Job:
    """Job 1, which was routed and waits for a minute."""
    plain: dict[str, Any] = {
        "key": key(1),
        "project_id": 7,
        "project_path": "acme/demo",
        "name": "unit",
        "tags": ("docker",),
        "outcome": None,
        "pending_at": ago(60),
        "pool": "docker",
        "reason": Reason.ROUTED,
    }
    return Job(status=status, **(plain | facts))


def runner(state: RunnerState, **facts: Any) -> Runner:
    """A runner that was launched for the job half a minute ago."""
    plain: dict[str, Any] = {
        "id": "rf-docker-1",
        "pool": "docker",
        "backend": "ec2",
        "launched_at": ago(30),
        "expires_at": AT + timedelta(hours=1),
        "launch_id": "l1",
    }
    return Runner(state=state, **(plain | facts))


def idle(changed_s: float = 120, heard_s: float = 10, **facts: Any) -> Runner:
    """A runner that is idle for so long and asks GitLab."""
    times = {"changed_at": ago(changed_s), "heartbeat_at": ago(heard_s), "asks": True}
    return runner(RunnerState.IDLE, **(times | facts))


def held(**after_s: float) -> dict[str, BackOff]:
    """Places that are left alone for so many seconds from now on."""
    return {
        place: BackOff(until=AT + timedelta(seconds=seconds), failures=1, code="NoCapacity")
        for place, seconds in after_s.items()
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """The facts of a job, AWS's words about its pool, and where the job stands."""

    facts: JobFacts
    diagnosis: Diagnosis
    refused: str | None = None


def case(
    standing: Standing,
    advice: Advice = Advice.NOTHING,
    *,
    of: Job | None = None,
    says: dict[str, Any] | None = None,
    refused: str | None = None,
    **facts: Any,
) -> Case:
    """The case of job `of` with these facts; `says`: more fields of the diagnosis."""
    plain = {"pool": POOL, **facts}
    diagnosis = Diagnosis(standing=standing, advice=advice, **(says or {}))
    return Case(
        facts=JobFacts(at=AT, job=of or job(), **plain), diagnosis=diagnosis, refused=refused
    )


def unrouted(reason: Reason, advice: Advice) -> Case:
    of = job(pool=None, reason=reason)
    return case(Standing.NO_POOL, advice, of=of, says={"reason": reason})


def waits(reason: Reason | None, standing: Standing, *advice: Advice, **facts: Any) -> Case:
    return case(standing, *advice, of=job(reason=reason), **facts)


def comes(standing: Standing, its: Runner, **facts: Any) -> Case:
    """The case of a job for which this runner was launched."""
    return waits(Reason.COVERED, standing, runner=its, says={"runner": its}, **facts)


def strays(its: Runner) -> Case:
    """The case of a job whose runner does something else: why none is launched counts."""
    advice = Advice.RAISE_CEILING
    return waits(Reason.AT_CEILING, Standing.AT_CEILING, advice, runner=its, says={"strayed": its})


def given_up(advice: Advice, *steps: Step, **facts: Any) -> Case:
    return case(Standing.GIVEN_UP, advice, of=job(given_up=True), steps=steps, **facts)


def exited(outcome: Outcome | None) -> Step:
    """How the runner of the last attempt exited. Its words decide nothing."""
    words = "no_job: attempt 3 of 3 failed: went_unserved"
    return Step(at=AT, name=StepName.RUNNER_EXITED, outcome=outcome, detail=words)


def gave_up(cause: Reason | None) -> Step:
    """Why the last attempt failed."""
    return Step(at=AT, name=StepName.GIVEN_UP, cause=cause, detail="no_job")


def runs(standing: Standing, *advice: Advice, its: Runner | None = None, **facts: Any) -> Case:
    says = {"runner": its} if its else {}
    of = job(JobStatus.RUNNING, **{"runner_id": "rf-docker-1"} | facts.pop("of", {}))
    return case(standing, *advice, of=of, runner=its, says=says, **facts)


def ended(outcome: str | None, *advice: Advice, its: Runner | None = None, **facts: Any) -> Case:
    of = job(JobStatus.FINISHED, outcome=outcome, given_up=True)
    return case(Standing.ENDED, *advice, of=of, runner=its, **facts)


def lost(*reasons: Reason) -> Case:
    """The case of a job whose machine is gone, with what was said of its retry."""
    steps = tuple(Step(at=AT, name=StepName.RETRY, reason=reason) for reason in reasons)
    of = {"reason": Reason.MACHINE_LOST}
    return runs(Standing.MACHINE_LOST, Advice.RUN_AGAIN, of=of, steps=steps)


NO_CAPACITY = (Reason.NO_CAPACITY_UNTIL, Standing.NO_CAPACITY, Advice.ADD_CAPACITY_POOLS)
OUT = {"reason": Reason.NO_CAPACITY_UNTIL}
REFUSED = (Reason.CONFIGURATION, Standing.POOL_REFUSED, Advice.CORRECT_POOL)
PAUSED: Any = (Reason.PAUSED, Standing.WAITING, Advice.RESUME_POOL)
PAUSE = Control(
    kind=ControlKind.PAUSE, about="docker", at=ago(60), who="user/dana", note="bad image"
)
WRONG = {"reason": Reason.CONFIGURATION}
IDLE, DRAINING = RunnerState.IDLE, runner(RunnerState.DRAINING)
TOOK_ANOTHER = runner(RunnerState.BUSY, job=key(9))
TAKEN = runner(RunnerState.BUSY, job=key(1))
HELD = (Standing.HELD, Advice.CURE_HOLD)
BARE, EQUIPPED = runner(IDLE), runner(IDLE, equipped=True)
DONE = runner(RunnerState.DONE)
SILENT, HEARD = (
    runner(RunnerState.BUSY, heartbeat_at=ago(300)),
    runner(RunnerState.BUSY, heartbeat_at=ago(299)),
)

CASES: dict[str, Case] = {
    "created": case(Standing.CREATED, of=job(JobStatus.CREATED, given_up=True)),
    # Without a pool
    "no pool": unrouted(Reason.NO_POOL, Advice.CORRECT_TAGS),
    "untagged": unrouted(Reason.UNTAGGED, Advice.CORRECT_TAGS),
    "unprotected": unrouted(Reason.UNPROTECTED, Advice.PROTECT_REF),
    "protection unknown": unrouted(Reason.PROTECTION_UNKNOWN, Advice.RAISE_ROLE),
    "pool gone": case(Standing.POOL_GONE, Advice.AWAIT_RECONCILE, pool=None),
    # Without a machine
    "just routed": waits(Reason.ROUTED, Standing.ROUTED),
    "to the overflow": waits(Reason.OVERFLOW, Standing.ROUTED),
    "nothing known yet": waits(None, Standing.WAITING),
    "at the ceiling": waits(Reason.AT_CEILING, Standing.AT_CEILING, Advice.RAISE_CEILING),
    "budget used up": waits(
        Reason.BUDGET, Standing.WAITING, Advice.RAISE_BUDGET, says={"reason": Reason.BUDGET}
    ),
    "paused": waits(*PAUSED, pause=PAUSE, says={"reason": Reason.PAUSED}),
    "all paused": waits(
        *PAUSED, pause=replace(PAUSE, about=ALL, note="", until=AT), says={"reason": Reason.PAUSED}
    ),
    "refused": waits(*REFUSED, refused="no such image", says=WRONG),
    "refused without words": waits(*REFUSED, says=WRONG),
    "no capacity": waits(*NO_CAPACITY, back_off=held(c=-1, d=0), says=OUT),
    "no capacity until the next": waits(
        *NO_CAPACITY,
        back_off=held(a=90, b=60, c=-1, d=0),
        says=OUT | {"until": AT + timedelta(seconds=60)},
    ),
    # Without a credential
    "refused by GitLab": waits(Reason.GITLAB_REFUSES, *HELD, hold=HOLD),
    "GitLab out": waits(Reason.GITLAB_OUT, *HELD, hold=HOLD),
    "paced by GitLab": waits(
        Reason.PACED, *HELD, hold=replace(HOLD, kind=HoldKind.PACE, words="429")
    ),
    "machine without a credential": waits(Reason.COVERED, *HELD, hold=HOLD, runner=BARE),
    "machine of another job": waits(
        Reason.COVERED, Standing.WAITING, hold=HOLD, says={"reason": Reason.COVERED}
    ),
    "machine with its credential": comes(Standing.BOOTED, EQUIPPED, hold=HOLD),
    "machine that drains in a hold": waits(
        Reason.COVERED,
        Standing.WAITING,
        hold=HOLD,
        runner=DRAINING,
        says={"reason": Reason.COVERED, "strayed": DRAINING},
    ),
    "GitLab unusable": waits(
        Reason.ROUTED, Standing.GITLAB_UNUSABLE, Advice.CURE_TROUBLE, trouble=TROUBLE, hold=HOLD
    ),
    "GitLab unusable, machine bare": waits(
        Reason.COVERED, Standing.GITLAB_UNUSABLE, Advice.CURE_TROUBLE, trouble=TROUBLE, runner=BARE
    ),
    "GitLab unusable, machine ready": comes(Standing.BOOTED, EQUIPPED, trouble=TROUBLE),
    # With a machine
    "requested": comes(Standing.BOOTING, runner(RunnerState.REQUESTED)),
    "in flight": comes(Standing.BOOTING, runner(RunnerState.IN_FLIGHT)),
    "booted": comes(Standing.BOOTED, runner(IDLE)),
    "ready": comes(Standing.READY, runner(IDLE, asks=True)),
    "taken": comes(Standing.TAKEN, TAKEN),
    "its machine took another": strays(TOOK_ANOTHER),
    "its machine drains": strays(DRAINING),
    "withheld": case(
        Standing.WITHHELD,
        Advice.ALLOW_RUNNER,
        runner=runner(RunnerState.IN_FLIGHT),
        idle=idle(300),
        says={"runner": idle(300)},
    ),
    "withheld by a protected pool": case(
        Standing.WITHHELD,
        Advice.PROTECT_BRANCH,
        pool=PROTECTED,
        idle=idle(),
        says={"runner": idle()},
    ),
    # Given up
    "given up": given_up(Advice.FIX_FAILURE),
    "given up without a pool": case(
        Standing.GIVEN_UP, Advice.FIX_FAILURE, of=job(given_up=True, pool=None)
    ),
    "given up unserved": given_up(
        Advice.ALLOW_RUNNER, exited(Outcome.NO_JOB), gave_up(Reason.WENT_UNSERVED)
    ),
    "given up unserved, protected": given_up(
        Advice.PROTECT_BRANCH, exited(Outcome.NO_JOB), gave_up(Reason.WENT_UNSERVED), pool=PROTECTED
    ),
    "given up, the last machine failed": given_up(
        Advice.FIX_FAILURE,
        exited(Outcome.NO_JOB),  # of the attempt before
        exited(Outcome.SYSTEM_FAILURE),
        gave_up(Reason.WENT_UNSERVED),
    ),
    "given up, the machine never asked": given_up(
        Advice.FIX_FAILURE, exited(None), gave_up(Reason.WENT_UNSERVED)
    ),
    "given up in its boot": given_up(
        Advice.FIX_FAILURE, exited(Outcome.NO_JOB), gave_up(Reason.BOOT_DEADLINE)
    ),
    "given up without a cause": given_up(Advice.FIX_FAILURE, exited(Outcome.NO_JOB), gave_up(None)),
    # Running
    "runs": runs(Standing.RUNNING, its=HEARD),
    "runs unheard": runs(Standing.RUNNING, its=runner(RunnerState.BUSY)),
    "runs on a silent machine": runs(Standing.RUNNING, Advice.RUN_AGAIN_IF_STUCK, its=SILENT),
    "runs in a pool that is gone": runs(Standing.RUNNING, its=SILENT, pool=None),
    "runs elsewhere": runs(Standing.RUNS_ELSEWHERE, of={"runner_id": None}),
    "runner gone": runs(Standing.RUNNER_GONE),
    "machine lost": lost(),
    "machine lost, not retried": lost(Reason.RETRY_OFF, Reason.DEPLOYS),
    # Over
    "success": ended("success"),
    "ended without a word": ended(None),
    "failed": ended("failed", failure="script_failure"),
    "failed by time": ended("failed", Advice.RAISE_TIME_LIMIT, failure="job_execution_timeout"),
    "failed as stuck": ended("failed", Advice.CHECK_POOL, failure="stuck_or_timeout_failure"),
    "failed by its machine": ended("failed", Advice.READ_STEPS, failure="runner_system_failure"),
    "failed by its end": ended("failed", Advice.READ_STEPS_OF_LOSS, failure="runner_interrupted"),
    "failed by a newer word": ended("failed", failure="of_a_newer_gitlab"),
    "ended, machine ends": ended("success", its=DONE, says={"runner": DONE}),
    # Its row may be read before it goes.
    "ended, machine gone": ended("success", its=DONE, torn_down_after=timedelta(seconds=65)),
    "ended, machine gone before": ended(
        "canceled", its=DONE, torn_down_after=timedelta(seconds=-0.03)
    ),
}
