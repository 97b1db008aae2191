"""The head of a push, and remarks in the answer to it."""

from __future__ import annotations

import io

import pytest

from local.gitlab.git_protocol import Push, add_remarks, read_push

OLD, NEW = b"0" * 40, b"4" * 40
COMMAND = OLD + b" " + NEW + b" refs/heads/main"


def packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def push(capabilities: bytes, *options: bytes, more: bytes = b"") -> Push:
    body = packet(COMMAND + b"\0" + capabilities) + more + b"0000"
    if options:
        body += b"".join(map(packet, options)) + b"0000"
    return read_push(io.BytesIO(body + b"PACK....binary"))


@pytest.mark.parametrize(
    ("capabilities", "options", "expected"),
    [
        pytest.param(b" report-status", (), (), id="none asked for"),
        pytest.param(b" push-options", (b"ci.skip",), ("ci.skip",), id="one"),
        pytest.param(
            b" push-options side-band-64k",
            (b"ci.skip\n", b"ci.variable=A=1"),
            ("ci.skip", "ci.variable=A=1"),
            id="several, line ends cut",
        ),
        pytest.param(b" report-status", (b"ci.skip",), (), id="not announced, so not options"),
    ],
)
def test_options(
    capabilities: bytes, options: tuple[bytes, ...], expected: tuple[str, ...]
) -> None:
    assert push(capabilities, *options).options == expected


def test_options_come_after_all_commands() -> None:
    more = packet(OLD + b" " + NEW + b" refs/heads/other")
    assert push(b" push-options", b"ci.skip", more=more).options == ("ci.skip",)


@pytest.mark.parametrize(
    ("capabilities", "expected"), [(b" side-band-64k agent=git/2", True), (b" agent=git/2", False)]
)
def test_side_band(capabilities: bytes, expected: bool) -> None:
    assert push(capabilities).has_side_band is expected


@pytest.mark.parametrize("body", [b"", b"0000", b"\x1f\x8b\x08gzip", b"zzzz"])
def test_other_bodies_say_nothing(body: bytes) -> None:
    assert read_push(io.BytesIO(body)) == Push(options=(), has_side_band=False)


def test_remarks_stand_before_the_final_flush() -> None:
    reply = packet(b"\x01" + b"unpack ok") + b"0000"
    answer = add_remarks(reply, ["Pipeline 1"])
    assert answer == packet(b"\x01" + b"unpack ok") + packet(b"\x02Pipeline 1\n") + b"0000"


@pytest.mark.parametrize(("reply", "lines"), [(b"0000", []), (b"not packets", ["Pipeline 1"])])
def test_otherwise_the_reply_stays(reply: bytes, lines: list[str]) -> None:
    assert add_remarks(reply, lines) == reply
