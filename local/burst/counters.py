"""Reads and clears the engine's counts; see `local.aws.calls`."""

import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

from local.aws.units import PATH

TIMEOUT_S = 60.0


def counted(engine_url: str) -> dict[str, dict[str, float]]:
    """All numbers since the last `clear`, by kind and name."""
    numbers: dict[str, dict[str, float]] = json.loads(_ask("GET", engine_url))
    return numbers


def clear(engine_url: str) -> None:
    """Reset the counts."""
    _ask("DELETE", engine_url)


def _ask(method: str, engine_url: str) -> bytes:
    connection = HTTPConnection(urlsplit(engine_url).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, PATH)
        return connection.getresponse().read()
    finally:
        connection.close()
