"""A wire to a GitLab that answers as it was told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local.stand_in.wire import Reply, Wire


class Recorded(Wire):
    """Gives prepared answers and keeps what was sent."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__("http://unused")
        self.replies = list(replies)
        self.sent: list[tuple[str, str, Any, Mapping[str, str]]] = []

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Callable[[], Iterable[bytes]] = b"",
        headers: Mapping[str, str],
    ) -> Reply:
        self.sent.append((method, path, body, headers))
        return self.replies.pop(0)


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=named, body=body)
