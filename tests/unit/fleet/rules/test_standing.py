"""Where a job stands, what can be done, and when GitLab withholds it."""

from dataclasses import replace

import pytest

from fleet.model import Job, JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.problems.jobs import idle_beside
from fleet.rules.standing import Diagnosis, JobFacts, Standing, diagnose, widest
from tests.fakes import AT
from tests.unit.fleet.rules.standings import CASES, HOLD, POOL, Case, ago, idle, job

OWN_STANDING = {
    Reason.AT_CEILING,
    Reason.CONFIGURATION,
    Reason.NO_CAPACITY_UNTIL,
    Reason.ROUTED,
    Reason.OVERFLOW,
    Reason.PAUSED,
    Reason.BUDGET,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_job_stands_as_its_facts_say(case: Case) -> None:
    assert diagnose(case.facts) == case.diagnosis


@pytest.mark.parametrize("reason", sorted(set(Reason) - OWN_STANDING))
def test_any_other_reason_is_what_the_job_waits_for(reason: Reason) -> None:
    facts = JobFacts(at=AT, job=job(reason=reason), pool=POOL)
    assert diagnose(facts) == Diagnosis(standing=Standing.WAITING, reason=reason)


def test_of_several_holds_the_widest_then_the_oldest_counts() -> None:
    of_pool = replace(HOLD, pool="docker", since=ago(90))
    older = replace(HOLD, since=ago(60))
    assert widest([of_pool, HOLD, older], job()) == older
    assert widest([of_pool], job()) == of_pool
    others = (replace(HOLD, pool="node"), replace(HOLD, project_id=8), replace(HOLD, lifted_at=AT))
    assert widest(others, job()) is None


WAITS = job(pending_at=ago(120))


def test_a_job_that_a_ready_runner_does_not_get_is_withheld() -> None:
    older = idle(300, id="rf-docker-b")
    assert idle_beside(WAITS, [idle(), older, idle(300, id="rf-docker-c")], AT) == older
    assert idle_beside(WAITS, [idle(project_id=7)], AT) is not None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(idle(119), id="asks for the first time"),
        pytest.param(idle(heard_s=120), id="may be gone"),
        pytest.param(idle(project_id=8), id="of another project"),
        pytest.param(idle(changed_at=None), id="idle since an unknown time"),
        pytest.param(idle(asks=False), id="waits for its credential or its Docker engine"),
        pytest.param(replace(idle(), state=RunnerState.BUSY), id="busy"),
        pytest.param(replace(idle(), state=RunnerState.DRAINING), id="draining"),
    ],
)
def test_a_runner_that_cannot_take_a_job_is_no_proof_that_it_is_withheld(other: Runner) -> None:
    assert idle_beside(WAITS, [other], AT) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(WAITS, pending_at=ago(119)),
        replace(WAITS, given_up=True),
        replace(WAITS, status=JobStatus.RUNNING),
    ],
    ids=["new", "given up", "running"],
)
def test_a_job_that_waits_for_no_runner_is_not_withheld(other: Job) -> None:
    assert idle_beside(other, [idle()], AT) is None
