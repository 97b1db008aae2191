"""What `retry: when` catches."""

from __future__ import annotations

import pytest

from local.gitlab.failures import FROM_RUNNER, is_caught


@pytest.mark.parametrize(
    ("reason", "wanted", "caught"),
    [
        ("script_failure", ["always"], True),
        ("script_failure", ["script_failure"], True),
        ("script_failure", ["runner_system_failure"], False),
        ("runner_system_failure", ["script_failure", "runner_system_failure"], True),
        ("stuck_pending_no_matching_runners", ["stuck_or_timeout_failure"], True),
        ("stuck_pending_with_matching_runners", ["stuck_or_timeout_failure"], True),
        ("no_updates_running", ["stuck_or_timeout_failure"], True),
        ("job_execution_server_timeout", ["stuck_or_timeout_failure"], True),
        ("job_execution_timeout", ["stuck_or_timeout_failure"], False),
        ("job_execution_timeout", ["job_execution_timeout"], True),
        ("unknown_failure", [], False),
    ],
)
def test_is_caught(reason: str, wanted: list[str], caught: bool) -> None:
    assert is_caught(reason, wanted) is caught


def test_runners_are_offered_the_reason_for_an_interruption() -> None:
    assert "runner_interrupted" in FROM_RUNNER
    assert len(set(FROM_RUNNER)) == len(FROM_RUNNER)


@pytest.mark.parametrize(
    "reason",
    [
        "stuck_pending_no_matching_runners",
        "stuck_pending_with_matching_runners",
        "no_updates_running",
        "no_updates_canceling",
        "job_execution_server_timeout",
        "server_timeout_running",
        "server_timeout_canceling",
        "stuck_or_timeout_failure",
        "no_matching_runner",
    ],
)
def test_the_old_word_for_a_timeout_stands_for_all_that_time_does(reason: str) -> None:
    assert is_caught(reason, ["stuck_or_timeout_failure"])
    assert not is_caught(reason, ["runner_system_failure"])


def test_the_old_word_covers_nothing_else() -> None:
    for reason in ("script_failure", "runner_system_failure", "job_execution_timeout"):
        assert not is_caught(reason, ["stuck_or_timeout_failure"])
