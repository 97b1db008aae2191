"""The part of git's packet format that a server around `git http-backend` reads. Pure.

Source: git, Documentation/gitprotocol-pack.txt and gitprotocol-common.txt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

_FLUSH = b"0000"
_REMARK = b"\x02"  # side band for text shown as `remote: …`


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The options and capabilities of a push."""

    options: tuple[str, ...]
    has_side_band: bool


def read_push(body: IO[bytes]) -> Push:
    """The head of a receive-pack request; moves the position in it.

    A body in another format has no options.
    """
    body.seek(0)
    try:
        commands = list(_packets(body))
        capabilities = commands[0].partition(b"\0")[2].split() if commands else []
        options = list(_packets(body)) if b"push-options" in capabilities else []
    except ValueError:
        return Push(options=(), has_side_band=False)
    return Push(
        options=tuple(option.decode("utf-8", "replace").rstrip("\n") for option in options),
        has_side_band=b"side-band-64k" in capabilities,
    )


def _packets(body: IO[bytes]) -> Iterator[bytes]:
    """Packets up to the next flush or the end."""
    while (head := body.read(4)) and head != _FLUSH:
        yield body.read(int(head, 16) - 4)


def add_remarks(reply: bytes, lines: Sequence[str]) -> bytes:
    """The receive-pack reply with lines for the pusher put before its final flush."""
    if not lines or not reply.endswith(_FLUSH):
        return reply
    packets = b"".join(_packet(_REMARK + line.encode() + b"\n") for line in lines)
    return reply[: -len(_FLUSH)] + packets + _FLUSH


def _packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content
