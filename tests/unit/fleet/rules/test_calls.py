"""How the calls to GitLab are shared out, and when a pass stops."""

from datetime import timedelta

import pytest

from fleet.errors import FleetError, Refused, Transient
from fleet.reasons import Reason
from fleet.rules.calls import (
    decide_pass,
    hooks_in_turn,
    is_due,
    is_project_gone,
    polls_at_most,
    records_at_most,
)
from tests.unit.fleet.facts import AT

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("calls", "share"), [(300, 100), (10, 3), (2, 1)])
def test_polls_and_records_get_a_third_of_the_calls_each(calls: int, share: int) -> None:
    assert (polls_at_most(calls), records_at_most(calls)) == (share, share)


@pytest.mark.parametrize(
    ("hooks", "calls", "each_minute"),
    [(0, 300, 0), (3, 300, 3), (25, 300, 10), (25, 60, 2), (25, 10, 1)],
)
def test_webhooks_take_turns_and_none_is_left_out(hooks: int, calls: int, each_minute: int) -> None:
    turns = [
        hooks_in_turn(hooks, calls_per_minute=calls, at=AT + minute * MINUTE)
        for minute in range(25)
    ]
    assert {len(turn) for turn in turns} == {each_minute}
    assert {place for turn in turns for place in turn} == set(range(hooks))
    assert all(len(set(turn)) == len(turn) for turn in turns)


@pytest.mark.parametrize(
    ("failure", "before", "failures", "stop"),
    [
        pytest.param(Transient(), 0, 1, None, id="the first failure"),
        pytest.param(Transient(), 2, 3, Reason.GITLAB_OUT, id="the third"),
        pytest.param(Refused(), 2, 2, None, id="a refusal is no failure of GitLab"),
        pytest.param(Transient(retry_after_s=5), 0, 1, Reason.PACED, id="a pause at once"),
    ],
)
def test_a_pass_stops_when_gitlab_is_out_or_asks_for_a_pause(
    failure: FleetError, before: int, failures: int, stop: Reason | None
) -> None:
    plan = decide_pass(failure, failures=before)
    assert (plan.failures, plan.stop) == (failures, stop)


@pytest.mark.parametrize(("status", "is_gone"), [(404, True), (403, False)])
def test_a_project_is_gone_when_gitlab_does_not_have_it(status: int, is_gone: bool) -> None:
    assert is_project_gone(Refused(status=status)) is is_gone


@pytest.mark.parametrize(("ago_s", "due"), [(None, True), (59, False), (60, True)])
def test_a_repeated_task_is_due_after_its_interval(ago_s: int | None, due: bool) -> None:
    last = AT - timedelta(seconds=ago_s) if ago_s is not None else None
    assert is_due(last, every=MINUTE, at=AT) is due
