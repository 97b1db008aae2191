"""The growing log: secrets, limit, checksum."""

from __future__ import annotations

import zlib

import pytest

from local.stand_in.trace import Trace


def content(trace: Trace) -> bytes:
    trace.finish()
    return trace.read(0, 10_000_000)


def test_pieces_add_up_with_their_checksum() -> None:
    trace = Trace()
    trace.write("hel")
    trace.write(b"lo\n")
    assert (trace.size, trace.checksum) == (6, "crc32:363a3020")
    assert trace.read(1, 3) == b"ell"
    assert trace.read(6, 3) == b""


def test_a_character_in_two_pieces_stays_whole() -> None:
    trace = Trace()
    first, second = "ü".encode()[:1], "ü".encode()[1:]
    trace.write(first)
    assert trace.size == 0
    trace.write(second)
    assert content(trace) == "ü".encode()


def test_what_is_no_text_is_replaced() -> None:
    trace = Trace()
    trace.write(b"a\xffb\xc3")
    assert content(trace) == "a\ufffdb\ufffd".encode()


def test_secrets_are_hidden_across_pieces() -> None:
    trace = Trace(secrets=["secret"])
    trace.write("a sec")
    trace.write("ret b sec")
    assert content(trace) == b"a [MASKED] b sec"


def test_at_the_limit_it_says_so_once_and_takes_no_more() -> None:
    trace = Trace(limit_bytes=10)
    trace.write("0123456789abc")
    trace.write("more")
    read = content(trace)
    assert read.startswith(b"0123456789\n\033[33;1mJob's log exceeded limit of 10 bytes.\n")
    assert read.count(b"exceeded") == 1
    assert b"more" not in read.split(b"\033[0;m")[1]
    assert trace.checksum == f"crc32:{zlib.crc32(read):08x}"


@pytest.mark.parametrize("room", [1, 2])
def test_the_limit_never_leaves_half_a_character(room: int) -> None:
    trace = Trace(limit_bytes=room)
    trace.write("€uro")
    assert content(trace).startswith(b"\n")


def test_exactly_the_limit_counts_as_reached() -> None:
    trace = Trace(limit_bytes=4)
    trace.write("1234")
    assert b"exceeded" in content(trace)


def test_a_log_is_not_for_the_few_unless_it_was_debugged() -> None:
    assert Trace().is_debug is False


def test_a_full_log_says_so_in_lines_of_its_own() -> None:
    trace = Trace(limit_bytes=4)
    trace.write("12345")
    assert trace.read(0, 1000).decode() == (
        "1234\n\033[33;1mJob's log exceeded limit of 4 bytes.\n"
        "Job execution will continue but no more output will be collected.\033[0;m\n"
    )
    size = trace.size
    trace.write("more")
    assert trace.size == size


def test_nothing_written_fills_no_log() -> None:
    trace = Trace(limit_bytes=0)
    trace.write("")
    assert (trace.size, trace.checksum) == (0, "crc32:00000000")
