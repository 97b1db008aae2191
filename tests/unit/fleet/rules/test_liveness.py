"""What a machine tells, by our clock; whole fleets are in `tests/unit/orchestrator/test_clocks`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleet.machine.mailbox import MachineState, Report
from fleet.model import RunnerState
from fleet.rules.liveness import (
    by_our_clock,
    due_note,
    is_alive,
    says_busy,
    steps_between,
    with_note,
    with_report,
)
from fleet.steps import Step, StepName
from tests.unit.fleet.facts import AT, ago, runner

GITLAB = "gitlab.example.com"
BOOTING = runner("r", RunnerState.IN_FLIGHT, since_s=600)
YEARS = [datetime(year, 1, 2, tzinfo=UTC) for year in (1, 1970, 2025, 2027, 9999)]
TIMES = st.sampled_from(YEARS) | st.floats(-9e6, 9e6).map(ago)


def report(dated: datetime, state: MachineState = MachineState.IDLE, **facts: object) -> Report:
    return replace(Report(heartbeat_at=dated, state=state), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("age_s", "state", "is_due"),
    [
        pytest.param(0, MachineState.IDLE, False, id="just now"),
        pytest.param(45, MachineState.IDLE, False, id="a heartbeat ago"),
        pytest.param(46, MachineState.IDLE, True, id="it may be silent, or its clock slow"),
        pytest.param(-5, MachineState.BUSY, False, id="as far as good clocks differ"),
        pytest.param(-6, MachineState.BUSY, True, id="its clock is fast"),
        pytest.param(500, MachineState.DONE, False, id="a goodbye some time ago"),
        pytest.param(606, MachineState.DONE, True, id="a goodbye before its launch"),
        pytest.param(-6, MachineState.DONE, True, id="a goodbye to come"),
    ],
)
def test_a_report_is_noted_where_its_own_date_proves_nothing(
    age_s: float, state: MachineState, is_due: bool
) -> None:
    runner = with_report(BOOTING, report(ago(age_s), state), GITLAB)
    note = due_note(runner, AT)
    assert (note is not None) is is_due
    if note:
        assert due_note(with_note(runner, note), AT) is None


def test_a_goodbye_of_a_machine_that_began_before_its_launch_is_noted() -> None:
    step = Step(at=ago(700), name=StepName.CALLED_HOME)
    runner = with_report(BOOTING, report(ago(400), MachineState.DONE, steps=(step,)), GITLAB)
    assert due_note(runner, AT) is not None


def test_a_report_in_a_frozen_clock_counts_by_its_number() -> None:
    runner = with_report(BOOTING, report(ago(400), beats=7), GITLAB)
    note = due_note(runner, ago(60))
    again = with_report(BOOTING, report(ago(400), beats=7), GITLAB, note=note)
    after = with_report(BOOTING, report(ago(400), beats=8), GITLAB, note=note)
    assert by_our_clock(again, AT).heartbeat_at == ago(60)
    assert due_note(again, AT) is None
    assert due_note(after, AT) is not None


def test_what_never_reported_has_nothing_to_note() -> None:
    assert due_note(BOOTING, AT) is None
    assert by_our_clock(BOOTING, AT) is BOOTING
    note = due_note(with_report(BOOTING, report(ago(400)), GITLAB), AT)
    assert note is not None
    assert with_note(BOOTING, note) is BOOTING


@given(dated=TIMES, changed=TIMES)
def test_no_claim_dates_anything_before_the_launch_or_after_now(
    dated: datetime, changed: datetime
) -> None:
    step = Step(at=changed, name=StepName.CALLED_HOME)
    runner = with_report(BOOTING, report(dated, steps=(step,)), GITLAB)
    ours = by_our_clock(runner, AT)
    assert ours.heartbeat_at is not None
    assert ours.changed_at is not None
    assert BOOTING.launched_at <= ours.changed_at <= ours.heartbeat_at <= AT


@given(times=st.lists(TIMES, max_size=5))
def test_steps_keep_their_order_between_the_launch_and_now(times: list[datetime]) -> None:
    reported = [Step(at=at, name=StepName.CALLED_HOME, detail=str(i)) for i, at in enumerate(times)]
    ours = steps_between(reported, start=ago(60), end=AT)
    assert [step.detail for step in ours] == [step.detail for step in reported]
    dated = [ago(60), *(step.at for step in ours), AT]
    assert dated == sorted(dated)


@given(skew_s=st.floats(-9e6, 9e6))
def test_a_clock_wrong_by_one_time_keeps_the_steps_apart(skew_s: float) -> None:
    reported = [
        Step(at=ago(60 - s) + timedelta(seconds=skew_s), name=StepName.CALLED_HOME)
        for s in (0, 10, 60)
    ]
    ours = steps_between(reported, start=ago(60), end=AT)
    assert [round((step.at - ago(60)).total_seconds()) for step in ours] == [0, 10, 60]


@pytest.mark.parametrize(
    ("facts", "can_tell", "shown_alive", "expected"),
    [
        pytest.param({}, True, True, True, id="its cloud shows it"),
        pytest.param({}, True, False, False, id="its cloud shows its end"),
        pytest.param({}, False, None, None, id="its cloud cannot say"),
        pytest.param({"machine_id": None}, True, None, None, id="it has no machine yet"),
        pytest.param({"machine_lost": True}, False, None, False, id="its cloud said so before"),
        pytest.param({"heartbeat_at": ago(119)}, True, None, None, id="left out, heard lately"),
        pytest.param({"heartbeat_at": ago(120)}, True, None, False, id="left out and silent"),
        pytest.param({"launched_at": ago(119)}, True, None, None, id="left out, launched lately"),
        pytest.param({}, True, None, False, id="left out and never heard"),
    ],
)
def test_a_single_answer_without_a_machine_is_no_end(
    facts: dict[str, Any], can_tell: bool, shown_alive: bool | None, expected: bool | None
) -> None:
    known = replace(BOOTING, **({"machine_id": "m-1"} | facts))
    assert is_alive(known, can_tell=can_tell, shown_alive=shown_alive, at=AT) is expected


@pytest.mark.parametrize(
    ("age_s", "first_seen_s", "expected"),
    [
        (45, None, True),
        (-5, None, True),
        (46, None, None),
        (-6, None, None),
        (46, 119, True),
        (-6, 120, False),
    ],
)
def test_a_claim_to_be_busy_counts_while_it_is_new(
    age_s: float, first_seen_s: float | None, expected: bool | None
) -> None:
    claim = report(ago(age_s), MachineState.BUSY)
    first_seen_at = ago(first_seen_s) if first_seen_s is not None else None
    assert says_busy(claim, AT, first_seen_at=first_seen_at) is expected


@pytest.mark.parametrize("claim", [None, report(AT), report(AT, MachineState.DONE)])
def test_what_does_not_say_that_it_is_busy_is_not(claim: Report | None) -> None:
    assert says_busy(claim, AT) is False
