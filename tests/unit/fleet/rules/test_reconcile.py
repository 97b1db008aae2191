"""What the ledger missed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleet.model import GONE, Job, JobKey, JobStatus
from fleet.reasons import Reason
from fleet.rules.reconcile import Corrections, decide_reconcile, is_applied_lately
from tests.unit.fleet.facts import AT, ago, job, key

NEW, OLD = job(1, waits_s=4.9), job(1, waits_s=5)


ROWS: dict[str, Any] = {
    "no row: its webhook was lost": (True, None, True, False, "webhook_lost"),
    "created is the last that we heard": (
        True, replace(OLD, status=JobStatus.CREATED), True, False, "webhook_lost"
    ),
    "both say pending": (True, OLD, False, False, "balanced"),
    "it was taken while GitLab answered": (
        True, replace(OLD, status=JobStatus.RUNNING), False, False, "balanced"
    ),
    "or ended": (True, replace(OLD, status=JobStatus.FINISHED), False, False, "balanced"),
    "it was hidden from us, and is there again": (
        True, replace(OLD, status=JobStatus.FINISHED, outcome=GONE), True, False, "webhook_lost"
    ),
    "pending for us alone: look it up": (False, OLD, False, True, "finished_unseen"),
    "the list may be older than the row": (False, NEW, False, False, "balanced"),
    "it runs": (False, replace(OLD, status=JobStatus.RUNNING), False, False, "balanced"),
    "not yet": (False, replace(OLD, status=JobStatus.CREATED), False, False, "balanced"),
    "nothing anywhere": (False, None, False, False, "balanced"),
}  # fmt: skip


@pytest.mark.parametrize(("pending", "row", "route", "look_up", "reason"), ROWS.values(), ids=ROWS)
def test_decide_reconcile(
    pending: bool, row: Job | None, route: bool, look_up: bool, reason: str
) -> None:
    rows = {key(1): row} if row else {}
    corrections = decide_reconcile([key(1)] if pending else [], rows, at=AT)
    assert corrections == Corrections(
        route=(key(1),) if route else (),
        look_up=(key(1),) if look_up else (),
        reason=Reason(reason),
    )


def test_sets_everything_right_at_once_in_a_stable_order() -> None:
    rows: Mapping[JobKey, Job] = {key(i): job(i) for i in (9, 3, 5)}
    corrections = decide_reconcile([key(8), key(5), key(2)], rows, at=AT)
    assert corrections.route == (key(8), key(2))
    assert corrections.look_up == (key(3), key(9))
    assert corrections.reason is Reason.WEBHOOK_LOST


@pytest.mark.parametrize(
    ("row", "applied", "renewed"),
    [
        (replace(OLD, given_up=True, given_up_in="monday"), "tuesday", True),
        (replace(OLD, given_up=True), "tuesday", True),
        (replace(OLD, given_up=True, given_up_in="tuesday"), "tuesday", False),
        (replace(OLD, given_up=True, given_up_in="monday"), None, False),
        (replace(OLD, given_up_in="monday"), "tuesday", False),
        (replace(OLD, given_up=True, status=JobStatus.RUNNING), "tuesday", False),
    ],
)
def test_what_was_given_up_under_another_apply_is_renewed(
    row: Job, applied: str | None, renewed: bool
) -> None:
    plan = decide_reconcile([key(1)], {key(1): row}, at=AT, applied=applied)
    assert plan.renew == ((key(1),) if renewed else ())
    assert decide_reconcile([], {key(1): row}, at=AT, applied=applied).renew == ()


@pytest.mark.parametrize(("ago_s", "lately"), [(0, True), (299, True), (300, False), (None, False)])
def test_an_apply_is_of_interest_for_five_minutes(ago_s: float | None, lately: bool) -> None:
    applied_at = None if ago_s is None else ago(ago_s)
    assert is_applied_lately(applied_at, AT) is lately
