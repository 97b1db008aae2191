"""The hops of a job: their order, and what a machine's report adds to them."""

import pytest

from adapters.ledger.jobs import JobRow
from fleet.machine.mailbox import MachineState, Report
from fleet.model import JobStatus
from fleet.steps import Outcome, Step, StepName
from operations.durations import duration
from operations.trail import LABELS, hops_of, sentence_of, word_of
from tests.fakes import AT
from tests.unit.fleet.rules.standings import ago, job


def row(*steps: Step, status: JobStatus = JobStatus.PENDING, outcome: str | None = None) -> JobRow:
    return JobRow(job=job(status, outcome=outcome), steps=steps, changed_at=AT)


def report(*steps: Step) -> Report:
    return Report(state=MachineState.BUSY, steps=steps, heartbeat_at=AT, runner_id="rf-docker-1")


def test_steps_of_one_moment_follow_the_order_of_a_jobs_life() -> None:
    assert set(LABELS) == set(StepName)
    backwards = [Step(at=AT, name=name) for name in reversed(StepName)]
    assert [hop.step for hop in hops_of(row(*backwards), None)] == list(StepName)


def test_a_step_of_a_newer_fleet_comes_last_of_its_moment_with_its_own_words() -> None:
    newer = {"at": AT.isoformat(), "step": "of_a_newer_fleet", "reason": "new", "more": 1}
    steps = [Step.of_item(newer), Step(at=AT, name=StepName.GIVEN_UP)]
    last = hops_of(row(*steps), None)[-1]
    assert (last.step, last.label) == ("of_a_newer_fleet", "of a newer fleet")
    assert (last.reason, last.sentence) == ("new", "new")


def test_each_hop_has_the_time_since_the_hop_before() -> None:
    steps = [Step(at=ago(second), name=StepName.WAITS) for second in (1.5, 60, 4)]
    assert [hop.after_s for hop in hops_of(row(*steps), None)] == [None, 56.0, 2.5]
    assert hops_of(row(), None) == ()


def test_a_step_of_the_row_and_of_the_report_is_one_hop() -> None:
    step = Step(at=AT, name=StepName.JOB_TAKEN, detail="d")
    again = Step(at=AT, name=StepName.JOB_TAKEN, job_id=1, detail="d")
    assert len(hops_of(row(step), report(again))) == 1
    others = (
        Step(at=AT, name=StepName.JOB_TAKEN, job_id=1, detail="other"),
        Step(at=ago(1), name=StepName.JOB_TAKEN, job_id=1, detail="d"),
        Step(at=AT, name=StepName.ENDED, job_id=1, detail="d"),
    )
    assert len(hops_of(row(step), report(again, *others))) == 4


def test_a_report_adds_the_steps_of_the_job_and_of_the_machine() -> None:
    steps = (
        Step(at=ago(3), name=StepName.CALLED_HOME),
        Step(at=ago(2), name=StepName.JOB_TAKEN, job_id=1),
        Step(at=ago(1), name=StepName.JOB_FINISHED, job_id=2),
    )
    hops = hops_of(row(), report(*steps))
    assert [(hop.step, hop.at) for hop in hops] == [("called_home", ago(3)), ("job_taken", ago(2))]


def test_steps_of_two_machines_name_their_machine() -> None:
    """The second was launched for the job and served another one; the first took the job."""
    own, other = "rf-docker-a", "rf-docker-b"
    steps = (
        Step(at=ago(50), name=StepName.LAUNCHED, runner=other, machine="i-2", pool="docker"),
        Step(at=ago(45), name=StepName.CALLED_HOME, runner=own),
        Step(at=ago(40), name=StepName.RUNNER_EXITED, outcome=Outcome.SUCCEEDED, runner=own),
        Step(at=ago(35), name=StepName.TAKEN, runner=own),
    )
    hops = hops_of(row(*steps), None, {other: 7})
    assert [(hop.step, hop.sentence.split()[0].strip(":")) for hop in hops] == [
        ("launched", other),
        ("served_another", other),
        ("called_home", own),
        ("runner_exited", own),
        ("taken", own),
    ]
    assert {hop.sentence.count("rf-docker-") for hop in hops} == {1}  # once, not twice
    (alone,) = hops_of(row(Step(at=ago(45), name=StepName.CALLED_HOME, runner=own)), None)
    assert alone.sentence == ""


@pytest.mark.parametrize(("reason", "words"), [(None, ""), ("", ""), ("new_one", "new_one")])
def test_other_reasons_are_their_own_words(reason: str | None, words: str) -> None:
    assert sentence_of(reason) == words


@pytest.mark.parametrize(
    ("status", "outcome", "word"),
    [
        (JobStatus.CREATED, None, "created"),
        (JobStatus.PENDING, None, "pending"),
        (JobStatus.RUNNING, None, "running"),
        (JobStatus.FINISHED, "failed", "failed"),
        (JobStatus.FINISHED, None, "finished"),
    ],
)
def test_the_status_is_gitlabs_word(status: JobStatus, outcome: str | None, word: str) -> None:
    assert word_of(row(status=status, outcome=outcome)) == word


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (12.4, "12s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (3599.6, "1h 00m"),
        (7800, "2h 10m"),
        (173100, "48h 05m"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
