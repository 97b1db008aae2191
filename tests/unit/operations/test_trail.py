"""The hops of a job: in which order, in which words, and what a machine's report adds to them."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.ledger.jobs import JobRow
from cli.consoles import console
from cli.explain import draw
from fleet.machine.mailbox import MachineState, Report
from fleet.model import Job, JobStatus
from fleet.reasons import SENTENCES, Reason
from fleet.steps import Outcome, Step, StepName
from operations.durations import duration
from operations.trail import LABELS, Hop, Trail, hops_of, sentence_of, word_of
from tests.unit.cli.fleet_at_work import AT, ago, key

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "operations.md"


def row(*steps: Step, status: JobStatus = JobStatus.PENDING, outcome: str | None = None) -> JobRow:
    job = Job(
        key=key(1),
        project_id=7,
        project_path="acme/demo",
        name="unit",
        tags=("docker",),
        status=status,
        outcome=outcome,
        pending_at=ago(60),
    )
    return JobRow(job=job, steps=steps, changed_at=AT)


def report(*steps: Step) -> Report:
    return Report(state=MachineState.BUSY, steps=steps, heartbeat_at=AT, runner_id="rf-docker-1")


def only(step: Step) -> Hop:
    (hop,) = hops_of(row(step), None)
    return hop


# Order


def test_steps_of_one_moment_are_told_in_the_order_of_a_jobs_life() -> None:
    assert set(LABELS) == set(StepName)
    backwards = [Step(at=AT, name=name) for name in reversed(StepName)]
    assert [hop.step for hop in hops_of(row(*backwards), None)] == list(StepName)


def test_a_step_that_we_do_not_know_comes_last_of_its_moment_and_reads_as_it_is() -> None:
    newer = {"at": AT.isoformat(), "step": "of_a_newer_fleet", "reason": "new", "more": 1}
    steps = [Step.of_item(newer), Step(at=AT, name=StepName.GIVEN_UP)]
    last = hops_of(row(*steps), None)[-1]
    assert (last.step, last.label) == ("of_a_newer_fleet", "of a newer fleet")
    assert (last.reason, last.sentence) == ("new", "new")


def test_time_goes_before_the_order_of_life() -> None:
    early, late = (
        Step(at=ago(2), name=StepName.GIVEN_UP),
        Step(at=ago(1), name=StepName.WEBHOOK_RECEIVED),
    )
    assert [hop.step for hop in hops_of(row(late, early), None)] == ["given_up", "webhook_received"]


def test_each_hop_tells_how_long_after_the_one_before() -> None:
    steps = [Step(at=ago(second), name=StepName.WAITS) for second in (1.5, 60, 4)]
    assert [hop.after_s for hop in hops_of(row(*steps), None)] == [None, 56.0, 2.5]


def test_the_same_step_told_twice_is_one_hop() -> None:
    """By the row and by the report: the machine's steps are written into the row at its end."""
    told = Step(at=AT, name=StepName.JOB_TAKEN, detail="d")
    again = Step(at=AT, name=StepName.JOB_TAKEN, job_id=1, detail="d")
    assert len(hops_of(row(told), report(again))) == 1
    others = (
        Step(at=AT, name=StepName.JOB_TAKEN, job_id=1, detail="other"),
        Step(at=ago(1), name=StepName.JOB_TAKEN, job_id=1, detail="d"),
        Step(at=AT, name=StepName.ENDED, job_id=1, detail="d"),
    )
    assert len(hops_of(row(told), report(again, *others))) == 4


def test_a_report_adds_what_is_the_jobs_or_the_machines_own() -> None:
    steps = (
        Step(at=ago(3), name=StepName.CALLED_HOME),
        Step(at=ago(2), name=StepName.JOB_TAKEN, job_id=1),
        Step(at=ago(1), name=StepName.JOB_FINISHED, job_id=2),
    )
    hops = hops_of(row(), report(*steps))
    assert [(hop.step, hop.at) for hop in hops] == [
        ("called_home", ago(3)),
        ("job_taken", ago(2)),
    ]


def test_a_job_without_steps_has_no_hops() -> None:
    assert hops_of(row(), None) == ()


# Words

FAILED: Mapping[str, Any] = {"attempt": 2, "attempts": 3, "cause": Reason.WENT_UNSERVED}


@pytest.mark.parametrize(
    ("step", "label", "sentence"),
    [
        (Step(at=AT, name=StepName.WEBHOOK_RECEIVED, delivery_id="d1"), "webhook received", "d1"),
        (Step(at=AT, name=StepName.EVENT, detail="job.pending"), "event on the bus", "job.pending"),
        (
            Step(at=AT, name=StepName.IGNORED, reason=Reason.STALE_EVENT),
            "event ignored",
            "a later event was seen before",
        ),
        (
            Step(at=AT, name=StepName.ROUTED, reason=Reason.ROUTED, pool="docker"),
            "routed",
            f"to pool docker: {SENTENCES[Reason.ROUTED]}",
        ),
        (
            Step(at=AT, name=StepName.ROUTED, reason=Reason.NO_POOL),
            "routed",
            SENTENCES[Reason.NO_POOL],
        ),
        (
            Step(at=AT, name=StepName.WAITS, reason=Reason.AT_CEILING),
            "waits",
            SENTENCES[Reason.AT_CEILING],
        ),
        (
            # Why it was launched is what it waited for, which has been told by then.
            Step(
                at=AT,
                name=StepName.LAUNCHED,
                reason=Reason.BACKLOG,
                runner="rf-docker-1",
                machine="i-1",
                pool="docker",
            ),
            "launched",
            "rf-docker-1 on i-1 in pool docker",
        ),
        (
            Step(at=AT, name=StepName.MACHINE_GONE, reason=Reason.SPOT_NOTICE, machine="i-1"),
            "machine gone",
            "i-1: AWS takes the spot machine back",
        ),
        (
            Step(at=AT, name=StepName.STOPPED, failure="of a newer fleet"),
            "runner told to stop",
            "of a newer fleet",
        ),
        (Step(at=AT, name=StepName.DEMAND_SENT), "demand sent", ""),
        (
            Step(at=AT, name=StepName.DEMAND_SENT, attempt=1, pool="docker"),
            "demand sent",
            "attempt 1, pool docker",
        ),
        (
            Step(at=AT, name=StepName.DEMAND_SENT, reason=Reason.RENEWED, pool="docker"),
            "demand sent",
            f"pool docker: {SENTENCES[Reason.RENEWED]}",
        ),
        (
            Step(at=AT, name=StepName.DEMAND_SENT, reason=Reason.WENT_UNSERVED, **FAILED),
            "demand sent",
            f"attempt 2 of 3 failed: went_unserved: {SENTENCES[Reason.WENT_UNSERVED]}",
        ),
        (
            Step(at=AT, name=StepName.GIVEN_UP, reason=Reason.ATTEMPTS_USED, **FAILED),
            "given up",
            f"attempt 2 of 3 failed: went_unserved: {SENTENCES[Reason.ATTEMPTS_USED]}",
        ),
        (Step(at=AT, name=StepName.FOUND, job_id=7), "found in its pipeline", "with job 7"),
        (
            Step(at=AT, name=StepName.LEFT_POOL, reason=Reason.POOL_GONE, pool="docker"),
            "left its pool",
            f"docker: {SENTENCES[Reason.POOL_GONE]}",
        ),
        (
            Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retry_of=7),
            "retry",
            f"of job 7: {SENTENCES[Reason.INFRA_RETRY]}",
        ),
        (
            Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retried_as=8),
            "retry",
            f"as job 8: {SENTENCES[Reason.INFRA_RETRY]}",
        ),
        (
            Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, detail="403"),
            "retry",
            f"not possible: 403: {SENTENCES[Reason.INFRA_RETRY]}",
        ),
        (
            Step(at=AT, name=StepName.RUNNER_EXITED, outcome=Outcome.NO_JOB, detail="x"),
            "runner exited",
            "no_job: x",
        ),
        (
            Step(at=AT, name=StepName.JOB_FINISHED, outcome=Outcome.SUCCEEDED),
            "job finished",
            "succeeded",
        ),
        (
            Step(at=AT, name=StepName.FAILED, failure="script_failure", runner="rf-docker-1"),
            "GitLab says failed",
            "rf-docker-1: script_failure",
        ),
        (Step(at=AT, name=StepName.TAKEN, detail="theirs"), "GitLab says running", "theirs"),
    ],
)
def test_a_hop_says_what_happened_and_why(step: Step, label: str, sentence: str) -> None:
    hop = only(step)
    assert (hop.label, hop.sentence, hop.reason) == (label, sentence, step.reason or step.failure)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_sentence(reason: Reason) -> None:
    assert sentence_of(reason.value) == SENTENCES[reason]


@pytest.mark.parametrize(("reason", "words"), [(None, ""), ("", ""), ("new_one", "new_one")])
def test_other_reasons_are_their_own_words(reason: str | None, words: str) -> None:
    assert sentence_of(reason) == words


def test_every_label_is_explained_to_the_operator() -> None:
    table = DOCS.read_text().partition("## What the lines of `explain` mean")[2]
    lines = table.partition("\n## ")[0].splitlines()
    cells = {line.split("|")[1].strip() for line in lines if line.startswith("| ")}
    named = {name.strip() for cell in cells for name in cell.split(",")}
    of_gitlab = {label for label in LABELS.values() if label.startswith("GitLab says")}
    assert set(LABELS.values()) - of_gitlab - named == set()


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


# As it is shown


def trail(**changes: object) -> Trail:
    """A job on its way."""
    steps = (
        Step(at=ago(60), name=StepName.WEBHOOK_RECEIVED, delivery_id="d1"),
        Step(at=ago(59.75), name=StepName.ROUTED, reason=Reason.ROUTED, pool="docker"),
    )
    told: dict[str, object] = {
        "job_id": 1,
        "name": "unit",
        "project": "acme/demo",
        "tags": ("docker", "big"),
        "status": "pending",
        "pool": "docker",
        "attempt": 2,
        "runner_id": "rf-docker-1",
        "machine": "i-1",
        "waited_s": 60.0,
        "ran_s": None,
        "hops": hops_of(row(*steps), None),
        "verdict": "it waits",
        "do": "nothing",
    }
    return Trail(**(told | changes))  # type: ignore[arg-type]


def drawn(told: Trail, capsys: pytest.CaptureFixture[str]) -> list[str]:
    console().print(draw(told))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_everything_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert drawn(trail(), capsys) == [
        "job 1 unit of acme/demo [docker big]: pending",
        "2026-11-21 UTC, pool docker, attempt 2, rf-docker-1, i-1, waited 1m 00s, ran -",
        "08:59:00.000         webhook received  d1",
        f"08:59:00.250  +0.2s  routed            to pool docker: {SENTENCES[Reason.ROUTED]}",
        "→ it waits",
        "  nothing",
    ]


def test_what_there_is_not_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    bare = trail(tags=(), pool=None, runner_id=None, machine=None, hops=(), do="", waited_s=None)
    assert drawn(bare, capsys)[0] == "job 1 unit of acme/demo (no tags): pending"
    assert drawn(bare, capsys)[1] == "no pool, attempt 2, waited -, ran -"
    assert drawn(bare, capsys)[-1] == "→ it waits"


def test_words_from_outside_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "x\x1b[31m[red]y[/red]"
    hop = Hop(at=AT, step="waits", label="waits", after_s=None, reason=None, sentence=bad)
    told = trail(name=bad, project=bad, status=bad, verdict=bad, hops=(hop,))
    text = "\n".join(drawn(told, capsys))
    assert "\x1b" not in text
    assert text.count("x[31m[red]y[/red]") == 5


def test_json_has_all_of_it_with_units() -> None:
    told = json.loads(json.dumps(trail().to_json()))
    assert list(told) == [
        "job_id",
        "name",
        "project",
        "tags",
        "status",
        "pool",
        "attempt",
        "runner_id",
        "machine",
        "waited_s",
        "ran_s",
        "hops",
        "verdict",
        "do",
    ]
    assert told["hops"][1] == {
        "at": "2026-11-21T08:59:00.250000+00:00",
        "step": "routed",
        "label": "routed",
        "after_s": 0.25,
        "reason": "routed",
        "sentence": f"to pool docker: {SENTENCES[Reason.ROUTED]}",
    }
    assert (told["tags"], told["waited_s"], told["ran_s"]) == (["docker", "big"], 60.0, None)


@pytest.mark.parametrize(
    ("after", "text"),
    [
        (timedelta(seconds=9.96), "10s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(seconds=59.4), "59s"),
        (timedelta(seconds=3599.6), "1h 00m"),
        (timedelta(days=2, minutes=5), "48h 05m"),
    ],
)
def test_a_duration_reads_well_at_its_limits(after: timedelta, text: str) -> None:
    assert duration(after.total_seconds()) == text


def test_the_steps_of_two_machines_say_of_which_they_are() -> None:
    """One was launched for it and served another job, another one took it."""
    mine, other = "rf-docker-00000000000a", "rf-docker-00000000000b"
    launched = Step(at=ago(50), name=StepName.LAUNCHED, runner=other, machine="i-2", pool="docker")
    told = row(
        launched,
        Step(at=ago(45), name=StepName.CALLED_HOME, runner=mine),
        Step(at=ago(40), name=StepName.RUNNER_EXITED, outcome=Outcome.SUCCEEDED, runner=mine),
        Step(at=ago(35), name=StepName.TAKEN, runner=mine),
    )
    hops = hops_of(told, None, {other: 7})
    assert [(hop.step, hop.sentence) for hop in hops] == [
        ("launched", f"{other} on i-2 in pool docker"),
        ("served_another", f"{other} took job 7; any runner of the pool may take this one"),
        ("called_home", mine),
        ("runner_exited", f"{mine}: succeeded"),
        ("taken", mine),
    ]
    alone = hops_of(row(Step(at=ago(45), name=StepName.CALLED_HOME, runner=mine)), None)
    assert [hop.sentence for hop in alone] == [""]
