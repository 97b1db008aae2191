"""The log's way to GitLab, against a GitLab that answers as told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from local.stand_in.job import Job
from local.stand_in.protocol import JobState, PatchState, Said, UpdateState
from local.stand_in.sender import Pace, Sender
from local.stand_in.trace import Trace
from tests.unit.local.stand_in.jobs import job

NOTHING = Said(interval_s=None, is_canceling=False, is_over=False)
MEBIBYTE = 1024 * 1024
Patched = tuple[PatchState, int | None, Said]


@dataclass
class GitLab:
    """Remembers what it was told; says yes unless told otherwise."""

    patches: list[Patched] = field(default_factory=list)
    updates: list[tuple[UpdateState, Said]] = field(default_factory=list)
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    told: list[JobState] = field(default_factory=list)
    is_debug: bool = False
    on_update: Callable[[], None] = lambda: None

    def patch_trace(
        self, _job: Job, content: bytes, start: int, *, is_debug: bool = False
    ) -> tuple[PatchState, int, Said]:
        self.sent.append((start, content))
        self.is_debug = is_debug
        if not self.patches:
            return PatchState.SUCCEEDED, start + len(content), NOTHING
        state, offset, said = self.patches.pop(0)
        return state, start if offset is None else offset, said

    def update_job(self, _job: Job, state: JobState) -> tuple[UpdateState, Said]:
        self.told.append(state)
        self.on_update()
        return self.updates.pop(0) if self.updates else (UpdateState.SUCCEEDED, NOTHING)


@dataclass
class Wanted:
    wishes: list[str] = field(default_factory=list)

    def cancel(self) -> None:
        self.wishes.append("cancel")

    def abort(self) -> None:
        self.wishes.append("abort")


@dataclass
class Scene:
    gitlab: GitLab = field(default_factory=GitLab)
    trace: Trace = field(default_factory=Trace)
    wanted: Wanted = field(default_factory=Wanted)
    waited: list[float] = field(default_factory=list)
    touch_after_s: float = 30

    def sender(self) -> Sender:
        pace = Pace(tries=4, touch_after_s=self.touch_after_s, pause=self.waited.append)
        return Sender(self.gitlab, job(), self.trace, wants=self.wanted, pace=pace)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_step_sends_what_is_new_and_nothing_twice(scene: Scene) -> None:
    sender = scene.sender()
    scene.trace.write("one")
    assert sender.step()
    assert sender.step()
    scene.trace.write("two")
    assert sender.step()
    assert scene.gitlab.sent == [(0, b"one"), (3, b"two")]
    assert scene.gitlab.told == []


def test_no_piece_is_longer_than_a_mebibyte(scene: Scene) -> None:
    scene.trace.write(b"x" * (2 * MEBIBYTE + 5))
    assert scene.sender().finish("success")
    assert [len(content) for _, content in scene.gitlab.sent] == [MEBIBYTE, MEBIBYTE, 5]


def test_silence_is_broken_by_a_sign_of_life(scene: Scene) -> None:
    scene.touch_after_s = -1
    sender = scene.sender()
    assert sender.step()
    (told,) = scene.gitlab.told
    assert (told.state, told.bytesize) == ("running", 0)


def test_debug_output_is_marked(scene: Scene) -> None:
    scene.trace.is_debug = True
    scene.trace.write("x")
    scene.sender().step()
    assert scene.gitlab.is_debug


def test_canceling_is_passed_on_and_sending_goes_on(scene: Scene) -> None:
    said = Said(interval_s=None, is_canceling=True, is_over=False)
    scene.gitlab.patches.append((PatchState.SUCCEEDED, 1, said))
    scene.trace.write("x")
    assert scene.sender().step()
    assert scene.wanted.wishes == ["cancel"]


def test_a_job_that_is_over_is_aborted_and_sending_ends(scene: Scene) -> None:
    scene.gitlab.patches.append((PatchState.ABORT, None, NOTHING))
    scene.trace.write("x")
    assert not scene.sender().step()
    assert scene.wanted.wishes == ["abort"]


def test_a_sign_of_life_may_learn_the_same(scene: Scene) -> None:
    scene.touch_after_s = -1
    scene.gitlab.updates.append((UpdateState.ABORT, NOTHING))
    assert not scene.sender().step()
    assert scene.wanted.wishes == ["abort"]


@pytest.mark.parametrize("state", [PatchState.FAILED, PatchState.NOT_FOUND])
def test_a_piece_that_got_lost_is_sent_again(scene: Scene, state: PatchState) -> None:
    scene.gitlab.patches.append((state, None, NOTHING))
    sender = scene.sender()
    scene.trace.write("x")
    assert sender.step()
    assert sender.step()
    assert scene.gitlab.sent == [(0, b"x"), (0, b"x")]


def test_a_mismatch_goes_on_from_what_gitlab_has(scene: Scene) -> None:
    scene.gitlab.patches.append((PatchState.RANGE_MISMATCH, 2, NOTHING))
    scene.trace.write("abcd")
    assert scene.sender().finish("success")
    assert scene.gitlab.sent == [(0, b"abcd"), (2, b"cd")]


def test_a_mismatch_beyond_the_end_does_not_loop(scene: Scene) -> None:
    scene.gitlab.patches.append((PatchState.RANGE_MISMATCH, 99, NOTHING))
    scene.trace.write("abcd")
    assert scene.sender().finish("success")
    assert len(scene.gitlab.sent) == 1


def test_the_end_carries_state_reason_code_and_checksum(scene: Scene) -> None:
    scene.trace.write("hello\n")
    assert scene.sender().finish("failed", failure_reason="script_failure", exit_code=3)
    assert scene.gitlab.told == [
        JobState(
            state="failed",
            checksum="crc32:363a3020",
            bytesize=6,
            failure_reason="script_failure",
            exit_code=3,
        )
    ]


def test_not_completed_is_told_again_without_counting(scene: Scene) -> None:
    later = Said(interval_s=2, is_canceling=False, is_over=False)
    scene.gitlab.updates += [(UpdateState.NOT_COMPLETED, later)] * 7
    assert scene.sender().finish("success")
    assert len(scene.gitlab.told) == 8
    assert scene.waited == [2] * 7


def test_an_invalid_log_is_sent_from_the_start(scene: Scene) -> None:
    scene.gitlab.updates.append((UpdateState.TRACE_INVALID, NOTHING))
    scene.trace.write("abc")
    assert scene.sender().finish("success")
    assert scene.gitlab.sent == [(0, b"abc"), (0, b"abc")]


@pytest.mark.parametrize("tries", [1, 3])
def test_failures_are_tried_again_with_growing_pauses(scene: Scene, tries: int) -> None:
    scene.gitlab.updates += [(UpdateState.FAILED, NOTHING)] * tries
    assert scene.sender().finish("success")
    assert len(scene.gitlab.told) == tries + 1
    assert scene.waited == [3, 1, 3, 2, 3, 4][: 2 * tries]


def test_after_the_last_try_gitlab_was_not_told(scene: Scene) -> None:
    scene.gitlab.updates += [(UpdateState.FAILED, NOTHING)] * 9
    assert not scene.sender().finish("success")
    assert len(scene.gitlab.told) == 4


def test_a_log_that_cannot_be_sent_counts_as_a_try(scene: Scene) -> None:
    scene.gitlab.patches += [(PatchState.FAILED, None, NOTHING)] * 9
    scene.trace.write("x")
    assert not scene.sender().finish("success")
    assert (len(scene.gitlab.sent), scene.gitlab.told) == (4, [])


def test_nobody_wants_the_end_of_an_aborted_job(scene: Scene) -> None:
    scene.gitlab.updates.append((UpdateState.ABORT, NOTHING))
    assert scene.sender().finish("success")
    assert len(scene.gitlab.told) == 1


@pytest.mark.parametrize("state", [PatchState.ABORT, PatchState.NOT_FOUND])
def test_a_refused_log_still_ends_with_the_state(scene: Scene, state: PatchState) -> None:
    scene.gitlab.patches.append((state, None, NOTHING))
    scene.trace.write("x")
    assert scene.sender().finish("success")
    assert [told.state for told in scene.gitlab.told] == ["success"]


def test_the_thread_ends_with_the_job(scene: Scene) -> None:
    sender = scene.sender()
    sender.start()
    scene.trace.write("x")
    assert sender.finish("success")
    assert scene.gitlab.sent == [(0, b"x")]


def test_only_a_word_that_arrived_breaks_the_silence(scene: Scene) -> None:
    scene.touch_after_s = -1  # always silent for too long
    scene.gitlab.updates = [(UpdateState.FAILED, NOTHING), (UpdateState.SUCCEEDED, NOTHING)]
    sender = scene.sender()
    assert sender.step()
    assert sender.step()
    assert [state.state for state in scene.gitlab.told] == ["running", "running"]


def test_no_pause_follows_the_last_try(scene: Scene) -> None:
    scene.gitlab.updates = [(UpdateState.FAILED, NOTHING)] * 4
    assert not scene.sender().finish("success")
    assert scene.waited == [3.0, 1.0, 3.0, 2.0, 3.0, 4.0, 3.0]


def test_a_log_not_found_is_not_sent_again_before_the_state(scene: Scene) -> None:
    scene.trace.write("one")
    scene.gitlab.patches = [(PatchState.NOT_FOUND, None, NOTHING)]
    assert scene.sender().finish("success")
    assert len(scene.gitlab.sent) == 1
    assert scene.waited == []


def test_a_mismatch_waits_an_interval_before_it_goes_on(scene: Scene) -> None:
    scene.trace.write("hello")
    scene.gitlab.patches = [(PatchState.RANGE_MISMATCH, 2, NOTHING)]
    assert scene.sender().finish("success")
    assert scene.gitlab.sent == [(0, b"hello"), (2, b"llo")]
    assert scene.waited == [3.0]
