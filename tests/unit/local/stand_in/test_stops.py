"""What may end a job early, and which of several reasons counts."""

from __future__ import annotations

import pytest

from local.stand_in.stops import BuildError, Over, StopReason, Stops, go_duration, reason_for


def test_nobody_wants_anything_at_first() -> None:
    stops = Stops(timeout_s=60)
    stops.check()
    assert stops.reason() is None
    assert stops.reason(of_script=True) is None


def test_canceling_concerns_the_script_alone() -> None:
    stops = Stops(timeout_s=60)
    stops.cancel()
    assert stops.reason() is None
    assert stops.reason(of_script=True) is StopReason.CANCELING
    stops.check()


def test_the_first_reason_to_end_everything_counts() -> None:
    stops = Stops(timeout_s=0)
    assert stops.reason() is StopReason.TIMED_OUT
    stops.abort()
    stops.interrupt("terminated")
    assert stops.reason() is StopReason.CANCELED


@pytest.mark.parametrize(
    ("reason", "said", "why", "is_over"),
    [
        (StopReason.CANCELING, "canceled", "job_canceled", False),
        (StopReason.CANCELED, "canceled", "job_canceled", True),
        (StopReason.INTERRUPTED, "aborted: terminated", "runner_interrupted", True),
        (
            StopReason.TIMED_OUT,
            "execution took longer than 1m30s seconds",
            "job_execution_timeout",
            True,
        ),
    ],
)
def test_each_reason_is_a_failure_of_its_own(
    reason: StopReason, said: str, why: str, is_over: bool
) -> None:
    stops = Stops(timeout_s=90)
    stops.interrupt("terminated")
    error = stops.error(reason)
    assert (str(error), error.reason, isinstance(error, Over)) == (said, why, is_over)


def test_check_raises_what_ends_everything() -> None:
    stops = Stops(timeout_s=60)
    stops.abort()
    with pytest.raises(BuildError, match="canceled"):
        stops.check()


def test_listeners_are_told_of_each_wish_while_they_listen() -> None:
    stops = Stops(timeout_s=60)
    told: list[str] = []
    with stops.listening(lambda: told.append("x")):
        stops.cancel()
        stops.abort()
        stops.interrupt("interrupt")
    stops.cancel()
    assert len(told) == 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(6, "6s"), (60, "1m0s"), (3600, "1h0m0s"), (5430, "1h30m30s")]
)
def test_durations_as_the_real_runner_writes_them(seconds: int, text: str) -> None:
    assert go_duration(seconds) == text


@pytest.mark.parametrize(
    ("reason", "known", "told"),
    [
        ("script_failure", [], "script_failure"),
        ("job_execution_timeout", [], "job_execution_timeout"),
        ("runner_interrupted", ["runner_interrupted"], "runner_interrupted"),
        ("runner_interrupted", [], "runner_system_failure"),
        ("job_canceled", ["job_canceled"], "job_canceled"),
        ("job_canceled", ["script_failure"], "unknown_failure"),
    ],
)
def test_a_failure_is_told_in_a_word_gitlab_knows(reason: str, known: list[str], told: str) -> None:
    assert reason_for(BuildError("x", reason=reason), known=known) == told


def test_an_older_gitlab_hears_older_words() -> None:
    for reason in ("image_pull_failure", "runner_configuration_error", "runner_interrupted"):
        assert reason_for(BuildError("x", reason=reason), known=[]) == "runner_system_failure"
        assert reason_for(BuildError("x", reason=reason), known=[reason]) == reason


def test_a_failure_is_the_scripts_and_without_a_code_unless_told() -> None:
    plain, coded = BuildError("x"), BuildError("x", exit_code=7)
    assert (plain.reason, plain.exit_code, coded.exit_code) == ("script_failure", 0, 7)


def test_an_interruption_is_kept_when_gitlab_cancels_afterwards() -> None:
    stops = Stops(timeout_s=60)
    stops.interrupt("terminated")
    assert stops.reason() is StopReason.INTERRUPTED
    stops.abort()
    assert stops.reason() is StopReason.INTERRUPTED
    assert str(stops.error(StopReason.INTERRUPTED)) == "aborted: terminated"
