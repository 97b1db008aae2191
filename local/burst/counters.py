"""Reads and clears the engine's counts; see `local.aws.calls`."""

import urllib3

from local.aws.units import PATH

TIMEOUT_S = 60.0


def counted(engine_url: str) -> dict[str, dict[str, float]]:
    """All numbers since the last `clear`, by kind and name."""
    numbers: dict[str, dict[str, float]] = _call("GET", engine_url).json()
    return numbers


def clear(engine_url: str) -> None:
    """Reset the counts."""
    _call("DELETE", engine_url)


def _call(method: str, engine_url: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, f"{engine_url}{PATH}", timeout=TIMEOUT_S)
