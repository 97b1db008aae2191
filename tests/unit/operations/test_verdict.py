"""The last line of `explain`, whole: where a job stands and what to do, for every way to stand."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.ledger.jobs import JobRow
from adapters.ledger.pools import PoolRow
from fleet.config.reading import PoolConfig, read_config
from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import SENTENCES, Reason
from fleet.rules.capacity import BackOff
from fleet.rules.holds import Hold, HoldKind, advice
from fleet.rules.problems import ignored
from fleet.steps import Outcome, Step, StepName
from operations.verdict import ASK_GITLAB, FAILURES, JobFacts, Verdict, verdict
from tests.unit.cli.fleet_at_work import AT, FLEET, ago, key

NAME = "rf-docker-000000000001"
MEND = "mend what failed above"
APPLY = "then `runner-fleet apply`; the job is routed within a minute"


def pool() -> PoolConfig:
    """The pool of `FLEET`, with its defaults: 5 minutes to boot, 5 minutes of silence."""
    (found,) = read_config(FLEET).pools
    return found


def row(**facts: Any) -> JobRow:
    """A job that was routed and waits for a minute; facts of the row beside those of the job."""
    told: dict[str, Any] = {
        "key": key(1),
        "project_id": 7,
        "project_path": "acme/demo",
        "name": "unit",
        "tags": ("docker",),
        "status": JobStatus.PENDING,
        "outcome": None,
        "pending_at": ago(60),
        "pool": "docker",
        "reason": Reason.ROUTED,
    }
    job = Job(**(told | {name: fact for name, fact in facts.items() if name in JOB}))
    others = {name: fact for name, fact in facts.items() if name not in JOB}
    return JobRow(job=job, steps=(), changed_at=AT, **others)


JOB = frozenset(Job.__dataclass_fields__)


def runner(state: RunnerState, **facts: Any) -> Runner:
    """A runner that was launched for the job half a minute ago."""
    told: dict[str, Any] = {
        "id": NAME,
        "pool": "docker",
        "backend": "ec2",
        "state": state,
        "launched_at": ago(30),
        "expires_at": AT + timedelta(hours=1),
        "launch_id": "l1",
    }
    return Runner(**(told | facts))


def held(**after_s: float) -> dict[str, BackOff]:
    """Places that are left alone for so many seconds from now on."""
    return {
        place: BackOff(until=AT + timedelta(seconds=seconds), failures=1, code="NoCapacity")
        for place, seconds in after_s.items()
    }


def waits(reason: Reason | None, pool_row: PoolRow | None = None, **facts: Any) -> Verdict:
    """What a job without a runner is told that waits because of this."""
    return verdict(JobFacts(at=AT, row=row(reason=reason), pool=pool(), pool_row=pool_row, **facts))


# Jobs that wait


def test_a_job_waits_for_room() -> None:
    assert waits(Reason.AT_CEILING) == Verdict(
        says="it waits for room: all 5 places of pool docker are in use",
        do="nothing, or raise its ceiling, then `runner-fleet apply`",
    )


@pytest.mark.parametrize(
    ("pool_row", "words"),
    [
        (PoolRow(name="docker", refused="no such image"), "no such image"),
        (PoolRow(name="docker"), SENTENCES[Reason.CONFIGURATION]),
        (None, SENTENCES[Reason.CONFIGURATION]),
    ],
)
def test_a_refused_configuration_is_told_in_awss_words(pool_row: PoolRow, words: str) -> None:
    assert waits(Reason.CONFIGURATION, pool_row) == Verdict(
        says=f"AWS refuses pool docker: {words}", do=f"correct it, {APPLY}"
    )


@pytest.mark.parametrize(
    ("back_off", "when"),
    [
        (held(a=90, b=60, c=-1, d=0), ", at 09:01:00 UTC"),  # the next that is still to come
        (held(c=-1, d=0), ""),
        ({}, ""),
    ],
)
def test_without_capacity_the_next_time_is_told(back_off: dict[str, BackOff], when: str) -> None:
    for pool_row in (PoolRow(name="docker", back_off=back_off), None):
        until = when if pool_row else ""
        assert waits(Reason.NO_CAPACITY_UNTIL, pool_row) == Verdict(
            says=f"{SENTENCES[Reason.NO_CAPACITY_UNTIL]}{until}",
            do="nothing, or name more instance_types or subnets in pool docker",
        )


@pytest.mark.parametrize("reason", [Reason.ROUTED, Reason.OVERFLOW])
def test_what_was_just_routed_waits_for_the_next_round(reason: Reason) -> None:
    says = "it waits for the autoscaler's next round, which is at most a minute"
    assert waits(reason) == Verdict(says=says)


def test_a_job_of_which_nothing_is_known_yet_waits_for_the_autoscaler() -> None:
    assert waits(None) == Verdict(says="it waits for the autoscaler")


HOLD = Hold(kind=HoldKind.REFUSAL, since=ago(900), ask_at=AT, words="401 Unauthorized", status=401)


@pytest.mark.parametrize(
    ("reason", "facts", "is_told"),
    [
        (Reason.GITLAB_REFUSES, {}, True),
        (Reason.GITLAB_OUT, {}, True),
        (Reason.COVERED, {}, False),  # by a machine that was launched for another job
        (Reason.COVERED, {"state": RunnerState.IDLE, "equipped": False}, True),
        (Reason.COVERED, {"state": RunnerState.IDLE, "equipped": True}, False),
        (Reason.COVERED, {"state": RunnerState.DRAINING, "equipped": False}, False),
    ],
)
def test_a_job_whose_machine_gets_no_credential_says_why(
    reason: Reason, facts: dict[str, Any], is_told: bool
) -> None:
    found = waits(reason, hold=HOLD, runner=runner(**facts) if facts else None)
    assert found.says.startswith("GitLab refuses runner records since 2026") is is_told
    assert (found.do == advice(HOLD)) is is_told


OWN_WORDS = {
    Reason.AT_CEILING,
    Reason.CONFIGURATION,
    Reason.NO_CAPACITY_UNTIL,
    Reason.ROUTED,
    Reason.OVERFLOW,
}


@pytest.mark.parametrize("reason", sorted(set(Reason) - OWN_WORDS))
def test_every_other_reason_is_its_own_sentence(reason: Reason) -> None:
    assert waits(reason) == Verdict(says=SENTENCES[reason])


@pytest.mark.parametrize("reason", [Reason.NO_POOL, Reason.UNTAGGED])
def test_without_a_pool_tags_are_to_be_corrected(reason: Reason) -> None:
    assert verdict(JobFacts(at=AT, row=row(pool=None, reason=reason))) == Verdict(
        says=SENTENCES[reason], do=f"correct its tags, or a pool's, {APPLY}"
    )


@pytest.mark.parametrize(
    ("reason", "do"),
    [
        (Reason.UNPROTECTED, "protect its branch or tag and run a new pipeline, or drop protec"),
        (Reason.PROTECTION_UNKNOWN, "make the user of the fleet's GitLab token a Maintainer of"),
    ],
)
def test_where_all_its_pools_are_for_protected_refs_the_ref_is_what_to_mend(
    reason: Reason, do: str
) -> None:
    told = verdict(JobFacts(at=AT, row=row(pool=None, reason=reason)))
    assert told.says == SENTENCES[reason]
    assert told.do.startswith(do)
    assert APPLY in told.do


def test_a_pool_that_is_gone_is_not_waited_for() -> None:
    assert verdict(JobFacts(at=AT, row=row())) == Verdict(
        says="its pool docker is not in fleet.toml any more",
        do="reconcile routes it again within a minute",
    )


@pytest.mark.parametrize("name", ["docker", None])
def test_a_job_that_was_given_up_has_attempts_again_after_an_apply(name: str | None) -> None:
    given_up = row(given_up=True, pool=name, reason=Reason.AT_CEILING)
    assert verdict(JobFacts(at=AT, row=given_up, pool=pool())) == Verdict(
        says="every launch for it failed; its demand is in the dead-letter queue",
        do="mend what failed above, then `runner-fleet apply`, also of the same file: "
        "in two minutes it has all attempts again",
    )


@pytest.mark.parametrize(
    ("exited", "cause", "mend"),
    [
        (Outcome.NO_JOB, Reason.WENT_UNSERVED, ASK_GITLAB),
        (Outcome.SYSTEM_FAILURE, Reason.WENT_UNSERVED, MEND),
        (None, Reason.WENT_UNSERVED, MEND),
        (Outcome.NO_JOB, Reason.BOOT_DEADLINE, MEND),
        (Outcome.NO_JOB, None, MEND),
    ],
)
def test_what_gitlab_withheld_to_the_end_is_to_be_mended_there(
    exited: Outcome | None, cause: Reason | None, mend: str
) -> None:
    """A machine that never asked GitLab has other troubles, whatever its words look like."""
    words = "no_job: attempt 3 of 3 failed: went_unserved"
    steps = (
        Step(at=AT, name=StepName.RUNNER_EXITED, outcome=Outcome.NO_JOB),  # of the attempt before
        Step(at=AT, name=StepName.RUNNER_EXITED, outcome=exited, detail=words),
        Step(at=AT, name=StepName.GIVEN_UP, cause=cause, detail=words),
    )
    told = replace(row(given_up=True), steps=steps)
    assert verdict(JobFacts(at=AT, row=told, pool=pool())).do.startswith(
        f"{mend}, then `runner-fleet apply`"
    )


def test_a_job_that_is_only_created_waits_for_others() -> None:
    created = row(status=JobStatus.CREATED, given_up=True)
    assert verdict(JobFacts(at=AT, row=created)) == Verdict(
        says="it is not pending yet: GitLab runs other jobs first"
    )


# Jobs whose runner comes


@pytest.mark.parametrize("state", [RunnerState.REQUESTED, RunnerState.IN_FLIGHT])
@pytest.mark.parametrize("reason", [Reason.COVERED, Reason.AT_CEILING])
def test_a_machine_that_boots_has_its_time(state: RunnerState, reason: Reason) -> None:
    """Whatever the job waited for before."""
    assert waits(reason, runner=runner(state)) == Verdict(
        says=f"{NAME} boots for 30s; after 5m another is launched in its place"
    )


def test_a_runner_that_is_ready_waits_for_gitlab() -> None:
    """Since when it is ready nobody knows: a machine reports its state, not its changes."""
    assert waits(Reason.COVERED, runner=runner(RunnerState.IDLE, asks=True)) == Verdict(
        says=f"{NAME}, launched 30s ago, is ready: GitLab gives it this job, or one like it"
    )


def test_a_runner_that_called_home_and_does_not_ask_yet_gets_ready() -> None:
    assert waits(Reason.COVERED, runner=runner(RunnerState.IDLE)) == Verdict(
        says=f"{NAME}, launched 30s ago, has called home and gets ready"
    )


@pytest.mark.parametrize(
    ("state", "job", "instead"),
    [
        (RunnerState.BUSY, 9, "took job 9"),
        (RunnerState.DONE, 9, "took job 9"),
        (RunnerState.DRAINING, None, "is draining"),
    ],
)
def test_a_job_whose_machine_does_something_else_waits_as_any(
    state: RunnerState, job: int | None, instead: str
) -> None:
    """Why nothing is launched for it is said first: the ceiling, above all."""
    other = runner(state, job=key(job) if job else None)
    found = waits(Reason.AT_CEILING, runner=other)
    alone = waits(Reason.AT_CEILING)
    assert found.says == f"{alone.says}; {NAME}, launched for it, {instead}"
    assert found.do == alone.do


def test_a_job_that_its_machine_has_taken_waits_for_gitlabs_word() -> None:
    says = f"{NAME} has taken it, and GitLab's word of that is on its way"
    assert waits(Reason.COVERED, runner=runner(RunnerState.BUSY, job=key(1))) == Verdict(says=says)


# Jobs that GitLab withholds


def idle(changed_s: float = 120, heard_s: float = 10, **facts: Any) -> Runner:
    """A runner that is idle for so long."""
    times = {"changed_at": ago(changed_s), "heartbeat_at": ago(heard_s), "asks": True}
    return runner(RunnerState.IDLE, **(times | facts))


WAITS = row(pending_at=ago(120)).job


def test_a_job_that_a_ready_runner_does_not_get_is_withheld() -> None:
    older = idle(300, id="rf-docker-b")
    assert ignored(WAITS, [idle(), older, idle(300, id="rf-docker-c")], AT) == older
    assert ignored(WAITS, [idle(project_id=7)], AT) is not None
    assert waits(Reason.COVERED, runner=runner(RunnerState.IN_FLIGHT), idle=older) == Verdict(
        says="rf-docker-b has been ready for 5m 00s, and GitLab does not give it this job",
        do=ASK_GITLAB,
    )


def test_a_protected_pool_is_the_first_suspect() -> None:
    protected = pool().model_copy(update={"protected_only": True})
    found = verdict(JobFacts(at=AT, row=row(), pool=protected, idle=idle()))
    assert found.do == (
        "pool docker is protected_only: protect the job's branch; else look in GitLab whether the"
        " project may use the runner (Settings > CI/CD > Runners) and has compute minutes left"
    )


@pytest.mark.parametrize(
    "other",
    [
        idle(119),  # it may be asking for the first time
        idle(heard_s=120),  # it may be gone
        idle(project_id=8),
        idle(changed_at=None),
        idle(asks=False),  # it waits for its credential, or for its Docker engine
        replace(idle(), state=RunnerState.BUSY),
        replace(idle(), state=RunnerState.DRAINING),
    ],
)
def test_who_cannot_take_a_job_does_not_say_that_it_is_withheld(other: Runner) -> None:
    assert ignored(WAITS, [other], AT) is None


@pytest.mark.parametrize(
    "job",
    [
        replace(WAITS, pending_at=ago(119)),
        replace(WAITS, given_up=True),
        replace(WAITS, status=JobStatus.RUNNING),
    ],
)
def test_a_job_that_waits_for_nobody_is_not_withheld(job: Job) -> None:
    assert ignored(job, [idle()], AT) is None


# Jobs that run


def running(of: PoolConfig | None, **facts: Any) -> Verdict:
    """What a job that runs is told."""
    name = facts.pop("runner_id", NAME)
    told = row(status=JobStatus.RUNNING, runner_id=name)
    return verdict(JobFacts(at=AT, row=told, pool=of, **facts))


def test_a_job_runs_on_a_runner_that_was_heard_lately() -> None:
    busy = runner(RunnerState.BUSY, heartbeat_at=ago(299))
    says = f"it runs on {NAME}, last heard 4m 59s ago"
    assert running(pool(), runner=busy) == Verdict(says=says)


def test_a_silence_as_long_as_the_pool_bears_is_one_to_do_something_about() -> None:
    busy = runner(RunnerState.BUSY, heartbeat_at=ago(300))
    assert running(pool(), runner=busy) == Verdict(
        says=f"it runs on {NAME}, last heard 5m 00s ago",
        do="if nothing moves in its log: cancel and retry it in GitLab",
    )


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], "it is not retried"),
        ([Reason.RETRY_OFF, Reason.DEPLOYS], SENTENCES[Reason.DEPLOYS]),
    ],
)
def test_a_job_whose_machine_is_gone_says_why_it_is_not_retried(
    steps: list[Reason], why: str
) -> None:
    told = replace(
        row(status=JobStatus.RUNNING, runner_id=NAME, reason=Reason.MACHINE_LOST),
        steps=tuple(Step(at=AT, name=StepName.RETRY, reason=one) for one in steps),
    )
    found = verdict(JobFacts(at=AT, row=told, pool=pool()))
    assert found.says == f"its machine is gone, and GitLab goes on to say that it runs; {why}"
    assert found.do.startswith("cancel and retry it in GitLab")


def test_a_pool_that_is_gone_bears_any_silence() -> None:
    busy = runner(RunnerState.BUSY, heartbeat_at=ago(4000))
    says = f"it runs on {NAME}, last heard 1h 06m ago"
    assert running(None, runner=busy) == Verdict(says=says)


def test_a_runner_that_was_never_heard_is_only_named() -> None:
    assert running(pool(), runner=runner(RunnerState.BUSY)) == Verdict(says=f"it runs on {NAME}")


def test_a_job_runs_elsewhere_or_its_runner_is_gone() -> None:
    assert running(pool(), runner_id=None) == Verdict(
        says="it runs on a runner that is not the fleet's"
    )
    assert running(pool()) == Verdict(
        says=f"its runner {NAME} is gone and GitLab still says that it runs"
    )


# Jobs that ended


def ended(outcome: str | None, **facts: Any) -> Verdict:
    """What a job that is over is told."""
    of_facts = {name: facts.pop(name) for name in ("runner",) if name in facts}
    told = row(status=JobStatus.FINISHED, outcome=outcome, given_up=True, **facts)
    return verdict(JobFacts(at=AT, row=told, pool=pool(), **of_facts))


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("success", "it ended: success"),
        ("canceled", "it ended: canceled"),
        (None, "it ended: finished"),
    ],
)
def test_how_it_ended_is_gitlabs_word(outcome: str | None, says: str) -> None:
    assert ended(outcome) == Verdict(says=says)


@pytest.mark.parametrize(
    ("reason", "do"),
    [
        ("script_failure", ""),
        (
            "job_execution_timeout",
            "it ran into its time limit: the pool's max_job_time, or the job's or project's "
            "timeout",
        ),
        (
            "stuck_or_timeout_failure",
            "GitLab gave up waiting for a runner: `runner-fleet status` says whether the pool "
            "shows",
        ),
        (
            "runner_system_failure",
            "its machine failed it; its steps say why it did not run again",
        ),
        (
            "runner_interrupted",
            "its machine was taken away; its steps say why it did not run again",
        ),
        ("a_word_of_a_newer_gitlab", ""),
    ],
)
def test_a_failure_is_told_with_what_to_do_about_it(reason: str, do: str) -> None:
    says = f"it ended: failed ({reason})"
    assert ended("failed", failure_reason=reason) == Verdict(says=says, do=do)
    assert FAILURES.get(reason, "") == do


def test_the_end_of_the_machine_is_told_with_its_delay() -> None:
    over = ended("success", finished_at=ago(75), torn_down_at=ago(10))
    assert over == Verdict(says="it ended: success; its machine was gone 1m 05s later")


@pytest.mark.parametrize("facts", [{"finished_at": ago(75)}, {"torn_down_at": ago(10)}, {}])
def test_a_machine_that_still_ends_is_named(facts: dict[str, Any]) -> None:
    ending = runner(RunnerState.DONE)
    says = f"it ended: success; {NAME} is being ended"
    assert ended("success", runner=ending, **facts) == Verdict(says=says)
    assert ended("success", **facts) == Verdict(says="it ended: success")


def test_a_machine_that_is_gone_is_not_being_ended() -> None:
    """Its row may be read before it goes."""
    over = ended("success", finished_at=AT, torn_down_at=AT, runner=runner(RunnerState.DONE))
    assert over.says == "it ended: success; its machine was gone 0.0s later"
