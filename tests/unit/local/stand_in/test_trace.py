"""A job's log: secrets never get through, however the output is cut; limit, checksum, sending.

tests/integration/local/test_standin_runner.py shows the rest, with the real runner beside it.
"""

import zlib
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from local.stand_in.gitlab import Reply
from local.stand_in.shell import BuildError, Over, Stops
from local.stand_in.trace import Sender, Trace

pieces = st.lists(st.text(alphabet="abc", max_size=6), max_size=12)
secrets = st.lists(st.text(alphabet="abc", min_size=2, max_size=5), min_size=1, max_size=3)


def shown(trace: Trace, *parts: str | bytes) -> str:
    for part in parts:
        trace.write(part)
    trace.write("", is_end=True)
    return trace.read(0, 10_000_000).decode()


@pytest.mark.parametrize(
    ("hidden", "parts", "text"),
    [
        (["hunter2"], ["it is hun", "ter2!"], "it is [MASKED]!"),
        (["abc", "abcdef"], ["xabc", "defx abcx"], "x[MASKED]x [MASKED]x"),
        (["ab", "abcdef"], ["abcd", "x"], "[MASKED]cdx"),
        (["", ""], ["as ", "it is"], "as it is"),
    ],
)
def test_a_secret_becomes_a_word(hidden: list[str], parts: list[str], text: str) -> None:
    assert shown(Trace(secrets=hidden), *parts) == text


def test_output_counts_once_its_line_has_ended() -> None:
    trace = Trace(secrets=["hunter2"])
    trace.write("a hun")
    assert trace.size == 0
    trace.write("ter2\rb")
    assert trace.read(0, 99) == b"a [MASKED]\r"
    trace.write("", is_end=True)
    assert trace.read(10, 99) == b"\rb"


@given(hidden=secrets, parts=pieces)
def test_no_secret_is_left_in_what_comes_out(hidden: list[str], parts: list[str]) -> None:
    text = shown(Trace(secrets=hidden), *parts)
    assert not any(secret in rest for rest in text.split("[MASKED]") for secret in hidden)
    assert text == shown(Trace(secrets=hidden), "".join(parts))


TOKENS = st.text("glpat-crbxo.=_ ?&private_token1", max_size=40)


@given(texts=st.lists(TOKENS, max_size=4), tokens=st.lists(st.text("ab1", min_size=1)))
def test_tokens_are_hidden_however_they_are_cut(texts: list[str], tokens: list[str]) -> None:
    heads = ("glpat-", "glcbt-64_", "own-", "?private_token=")
    parts = [*texts, *(f" {heads[at % 4]}{token}" for at, token in enumerate(tokens)), *texts]
    text = shown(Trace(token_prefixes=["own-"]), *parts)
    assert text == shown(Trace(token_prefixes=["own-"]), "".join(parts))
    assert text == shown(Trace(token_prefixes=["own-"]), *"".join(parts))
    for at, token in enumerate(tokens):
        assert f" {heads[at % 4]}{token}" not in text


def test_a_character_in_two_pieces_stays_whole_and_what_is_no_text_is_replaced() -> None:
    whole = "ü".encode()
    assert shown(Trace(), whole[:1], whole[1:], b"a\xffb\xc3") == "üa\ufffdb\ufffd"


@pytest.mark.parametrize(
    ("limit", "text", "before_limit"),
    [(10, "0123456789abc", "0123456789"), (2, "€uro", ""), (2, "ab", "ab")],
)
def test_at_the_limit_it_says_so_once_and_takes_no_more(
    limit: int, text: str, before_limit: str
) -> None:
    trace = Trace(limit_bytes=limit)
    read = shown(trace, text, "more")
    notice = f"\n\033[33;1mJob's log exceeded limit of {limit} bytes.\n"
    assert read.startswith(before_limit + notice)
    assert read.count("more") == 1  # in the sentence itself
    checksum = f"crc32:{zlib.crc32(read.encode()):08x}"
    assert trace.output == {"checksum": checksum, "bytesize": len(read.encode())}


@dataclass
class FakeGitLab:
    """Answers with these statuses, then takes all; keeps the states and the starts of pieces."""

    answers: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def update_job(self, _job: object, state: str, *_: Any, **__: Any) -> Reply:
        self.states.append(state)
        return self._reply(200)

    def patch_trace(self, _job: object, _: bytes, start: int) -> Reply:
        self.starts.append(start)
        return self._reply(202)

    def _reply(self, usual: int) -> Reply:
        status = self.answers.pop(0) if self.answers else usual
        return Reply(status=status, text="", headers={"Range": "0-2"})


@dataclass
class Scene:
    """A sender whose thread sleeps, and its clock."""

    gitlab: FakeGitLab = field(default_factory=FakeGitLab)
    trace: Trace = field(default_factory=Trace)
    stops: Stops = field(default_factory=lambda: Stops(timeout_s=60))
    now: float = 0
    waited: list[float] = field(default_factory=list)

    def sender(self) -> Sender:
        gitlab, pause = cast(Any, self.gitlab), self.waited.append
        return Sender(gitlab, {}, self.trace, self.stops, 3600, pause, lambda: self.now)


def test_after_half_a_minute_of_silence_a_state_says_that_the_job_runs() -> None:
    scene = Scene()
    sender = scene.sender()
    scene.now = 31
    scene.gitlab.answers.append(500)
    assert sender.step()
    assert sender.step()  # only a state that arrived breaks the silence
    assert sender.step()
    assert scene.gitlab.states == ["running", "running"]
    scene.now = 62
    scene.gitlab.answers.append(403)
    assert not sender.step()
    with pytest.raises(Over):
        scene.stops.check()


def test_a_final_state_has_ten_tries_with_growing_pauses() -> None:
    scene = Scene(FakeGitLab([500] * 99))
    assert not scene.sender().finish("success")
    assert len(scene.gitlab.states) == 10
    assert scene.waited == [2.0**power for power in range(9)]


@pytest.mark.parametrize(("answers", "starts"), [([416], [0, 2]), ([500], [0, 0]), ([-1], [0, 0])])
def test_the_log_goes_on_from_what_gitlab_has(answers: list[int], starts: list[int]) -> None:
    scene = Scene(FakeGitLab(answers))
    scene.trace.write("abcd")
    assert scene.sender().finish("success")
    assert scene.gitlab.starts == starts


def failure(stops: Stops, *, of_script: bool = True) -> str:
    """How a job fails if it stops now; "" when nothing stops it."""
    try:
        stops.check(of_script=of_script)
    except BuildError as error:
        return str(error)
    return ""


def test_the_first_reason_to_end_a_job_counts() -> None:
    stops = Stops(timeout_s=60)
    stops.cancel()
    assert failure(stops, of_script=False) == ""
    assert failure(stops) == "canceled"
    stops.end("aborted: terminated", reason="runner_system_failure")
    stops.end("canceled", reason="job_canceled")
    assert failure(stops) == "aborted: terminated"
    assert failure(Stops(timeout_s=0)) == "execution took longer than 0s seconds"
