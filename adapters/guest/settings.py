"""Settings of the programs inside machines, read from the environment without pydantic.

They start once per job, on every machine, and pydantic would be two fifths of their start.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleet.errors import Refused


class EnvironmentReader:
    """What the environment says; a field's variable is FLEET_ and its name in capitals."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Nothing is read before it is asked for."""
        self._environment = environment

    def text(self, field: str) -> str:
        """A variable that must be there. Raises `Refused` when it is missing or empty."""
        value = self._find(field)
        if not value:
            raise Refused("this variable must be set", name=_variable(field))
        return value

    def seconds(self, *fields: str) -> dict[str, Any]:
        """Those that are set, as positive numbers. Raises `Refused` when one is something else."""
        return {field: _seconds(field, value) for field in fields if (value := self._find(field))}

    def paths(self, *fields: str) -> dict[str, Any]:
        """Those that are set, as paths."""
        return {field: Path(value) for field in fields if (value := self._find(field))}

    def _find(self, field: str) -> str | None:
        return self._environment.get(_variable(field))


def _variable(field: str) -> str:
    return f"FLEET_{field.upper()}"


def _seconds(field: str, value: str) -> float:
    wrong = Refused("this variable must be a positive number of seconds", name=_variable(field))
    try:
        seconds = float(value)
    except ValueError as exc:
        raise wrong from exc
    if not 0 < seconds < float("inf"):
        raise wrong
    return seconds
