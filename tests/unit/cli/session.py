"""A shell session as text: each command, what it prints, and how it ends."""

import shlex
from collections.abc import Mapping, Sequence

from typer.testing import Result


class Session:
    """`2> ` marks the lines of standard error, `[1]` an exit code that is not 0.

    `hide` has texts of the test's machine, and what stands for each on the screen.
    """

    def __init__(self, hide: Mapping[str, str] | None = None) -> None:
        self._hide = dict(hide or {})
        self._lines: list[str] = []

    def show(self, arguments: Sequence[str], result: Result) -> Result:
        """Append one command with its result."""
        self._lines += [
            "",
            f"$ {shlex.join(['runner-fleet', *arguments])}",
            *result.stdout.splitlines(),
        ]
        self._lines += [f"2> {line}" for line in result.stderr.splitlines()]
        self._lines += [f"[{result.exit_code}]"] if result.exit_code else []
        return result

    def __str__(self) -> str:
        text = "\n".join(self._lines)
        for secret, shown in self._hide.items():
            text = text.replace(secret, shown)
        return text
