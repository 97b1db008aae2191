"""A job's log and state on their way, as far as it takes more time or tries than a test has.

The rest is in tests/integration/local/test_standin_runner.py, with the real runner beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from local.stand_in.gitlab import Reply, Result
from local.stand_in.sender import Sender
from local.stand_in.stops import BuildError, Over, Stops, reason_for
from local.stand_in.trace import Trace
from tests.unit.local.stand_in.jobs import job


def reply(**headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=200, text="200 OK", headers=named)


@dataclass
class FakeGitLab:
    """Answers with these results, then with OK; notes the states and where pieces began."""

    results: list[Result] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def update_job(self, _job: object, state: str, *_: Any, **__: Any) -> tuple[Result, Reply]:
        self.states.append(state)
        return (self.results.pop(0) if self.results else Result.OK), reply()

    def patch_trace(self, _job: object, _: bytes, start: int, **__: Any) -> tuple[Result, Reply]:
        self.starts.append(start)
        return (self.results.pop(0) if self.results else Result.OK), reply(Range="0-2")


@dataclass
class Scene:
    """A sender whose thread sleeps, and its clock."""

    gitlab: FakeGitLab = field(default_factory=FakeGitLab)
    trace: Trace = field(default_factory=Trace)
    stops: Stops = field(default_factory=lambda: Stops(timeout_s=60))
    now: float = 0
    waited: list[float] = field(default_factory=list)

    def sender(self) -> Sender:
        return Sender(
            gitlab=cast(Any, self.gitlab),
            job=job(),
            trace=self.trace,
            stops=self.stops,
            interval_s=3600,
            pause=self.waited.append,
            clock=lambda: self.now,
        )


def test_after_half_a_minute_of_silence_it_says_that_the_job_runs() -> None:
    scene = Scene()
    sender = scene.sender()
    scene.now = 31
    scene.gitlab.results.append(Result.FAILED)
    assert sender.step()
    assert sender.step()  # only a state that arrived breaks the silence
    assert sender.step()
    assert scene.gitlab.states == ["running", "running"]
    scene.now = 62
    scene.gitlab.results.append(Result.ABORT)
    assert not sender.step()
    assert isinstance(scene.stops.error(), Over)


def test_the_state_is_tried_ten_times_with_growing_pauses() -> None:
    scene = Scene(FakeGitLab([Result.FAILED] * 99))
    assert not scene.sender().finish("success")
    assert len(scene.gitlab.states) == 10
    assert [wait for wait in scene.waited if wait != 3600] == [2.0**power for power in range(9)]


def test_not_completed_is_told_again_without_counting_as_a_try() -> None:
    scene = Scene(FakeGitLab([Result.NOT_COMPLETED] * 15))
    assert scene.sender().finish("success")
    assert len(scene.gitlab.states) == 16


@pytest.mark.parametrize(
    ("results", "starts"),
    [
        ([Result.MISMATCH], [0, 2]),
        ([Result.FAILED, Result.NOT_FOUND], [0, 0]),
        ([Result.OK, Result.INVALID], [0, 0]),
    ],
)
def test_where_the_log_goes_on(results: list[Result], starts: list[int]) -> None:
    scene = Scene(FakeGitLab(results))
    scene.trace.write("abcd")
    assert scene.sender().finish("success")
    assert scene.gitlab.starts == starts


@pytest.mark.parametrize(
    ("interval", "seconds"), [("60", 60), ("99999", 900), ("0", 0), ("x", 0), ("", 0)]
)
def test_the_interval_gitlab_asks_for(interval: str, seconds: int) -> None:
    answer = reply(X_GitLab_Trace_Update_Interval=interval)
    assert answer.interval_s == seconds
    assert answer.fields()["update-interval"] == seconds * 1_000_000_000


@pytest.mark.parametrize(
    ("reason", "known", "word"),
    [
        ("script_failure", [], "script_failure"),
        ("runner_interrupted", ["runner_interrupted"], "runner_interrupted"),
        ("runner_interrupted", [], "runner_system_failure"),
        ("job_canceled", ["job_canceled"], "job_canceled"),
        ("job_canceled", ["script_failure"], "unknown_failure"),
    ],
)
def test_a_failure_has_a_word_gitlab_knows(reason: str, known: list[str], word: str) -> None:
    assert reason_for(BuildError("x", reason=reason), known=known) == word


def test_the_first_reason_to_end_everything_counts() -> None:
    stops = Stops(timeout_s=60)
    stops.cancel()
    assert stops.error() is None
    assert str(stops.error(of_script=True)) == "canceled"
    stops.interrupt("terminated")
    stops.abort()
    assert str(stops.error(of_script=True)) == "aborted: terminated"
    assert str(Stops(timeout_s=0).error()) == "execution took longer than 0s seconds"
