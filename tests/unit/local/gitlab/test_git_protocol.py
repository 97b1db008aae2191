"""The head of a push, the refs that it changes, and remarks in the answer to it."""

import io

import pytest

from local.gitlab.git_protocol import Push, add_remarks, read_push
from local.gitlab.model import NO_SHA
from local.gitlab.trigger import changed_refs

OLD, NEW = b"0" * 40, b"4" * 40
COMMAND = OLD + b" " + NEW + b" refs/heads/main"


def packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def push(capabilities: bytes, *options: bytes) -> Push:
    """A push of two refs."""
    other = OLD + b" " + NEW + b" refs/heads/other"
    body = packet(COMMAND + b"\0" + capabilities) + packet(other) + b"0000"
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
def test_options_follow_all_commands_where_they_are_announced(
    capabilities: bytes, options: tuple[bytes, ...], expected: tuple[str, ...]
) -> None:
    read = push(capabilities, *options)
    assert read.options == expected
    assert read.has_side_band is (b"side-band-64k" in capabilities)


@pytest.mark.parametrize("body", [b"", b"0000", b"\x1f\x8b\x08gzip", b"zzzz"])
def test_other_bodies_have_no_options(body: bytes) -> None:
    assert read_push(io.BytesIO(body)) == Push(options=(), has_side_band=False)


OK = packet(b"\x01" + b"unpack ok")


@pytest.mark.parametrize(
    ("reply", "lines", "expected"),
    [
        (OK + b"0000", ["Pipeline 1"], OK + packet(b"\x02Pipeline 1\n") + b"0000"),
        (OK + b"0000", [], OK + b"0000"),
        (b"not packets", ["Pipeline 1"], b"not packets"),
    ],
)
def test_remarks_stand_before_the_final_flush(
    reply: bytes, lines: list[str], expected: bytes
) -> None:
    assert add_remarks(reply, lines) == expected


A, B = "a" * 40, "b" * 40


def test_a_push_changes_branches_and_tags_that_are_new_or_moved() -> None:
    before = {"refs/heads/a": A, "refs/heads/same": A, "refs/heads/deleted": A}
    after = {"refs/heads/a": B, "refs/heads/b/c": B, "refs/heads/same": A}
    after |= {"refs/pipelines/1": A, "refs/tags/v1": A}
    refs = [(c.short_name, c.old, c.new, c.is_tag) for c in changed_refs(before, after)]
    assert refs == [("a", A, B, False), ("b/c", NO_SHA, B, False), ("v1", NO_SHA, A, True)]
