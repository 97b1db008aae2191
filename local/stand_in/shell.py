"""The shell scripts of a job: their text, and one run in a process group of its own.

Source: gitlab-runner 17.9, `shells/bash.go` and `helpers/process`.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from shlex import quote

_GRACE_S = 600.0  # SIGTERM to SIGKILL
_KILL_S = 10.0  # from then on until the output counts as ended
_LOOK_EVERY_S = 0.1
_PIECE = 64 * 1024


class BuildError(Exception):
    """The job failed; the message is for its log, the reason is GitLab's word."""

    def __init__(self, message: str, *, reason: str = "script_failure", exit_code: int = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


class Over(BuildError):
    """The job failed, and none of it may run on."""


class Stops:
    """The requests to stop one job, from any thread or signal handler."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._is_canceling = False
        self._over: Over | None = None

    def cancel(self) -> None:
        """GitLab says `canceling`: the script ends, and after_script runs."""
        self._is_canceling = True

    def end(self, message: str, *, reason: str) -> None:
        """The job is over: for GitLab, or since the runner's own process ends. The first counts."""
        self._over = self._over or Over(message, reason=reason)

    def check(self, *, of_script: bool = False) -> None:
        """Raise how the job fails if it stops now; `canceling` stops the script only."""
        if time.monotonic() >= self._deadline:
            message = f"execution took longer than {self._timeout_s:.0f}s seconds"
            self.end(message, reason="job_execution_timeout")
        if self._over:
            raise self._over
        if of_script and self._is_canceling:
            raise BuildError("canceled", reason="job_canceled")


def shell_script(lines: Iterable[str]) -> str:
    """A script that stops at the first line that fails, its input empty.

    As with the real runner, bash gives the exit code of a failed command (not of an `exit`) as 1.
    """
    body = "\n".join(lines) + "\n"
    pipefail = "if set -o | grep pipefail > /dev/null; then set -o pipefail; fi; set -o errexit\n"
    # Of the trap's three words two are signals, 1 and TERM: `exit` keeps the script's own code.
    return f"trap exit 1 TERM\n{pipefail}set +o noclobber\n: | eval {quote(body)}\nexit 0\n"


def notice(text: str) -> str:
    """A line that shows `text` in green."""
    return "printf '%s\\n' " + quote(f"\033[32;1m{text}\033[0;m")


def commands(script: Iterable[str]) -> list[str]:
    """Each command after a green line that shows it; a long command shows its beginning."""
    lines: list[str] = []
    for command in (item.strip() for item in script):
        first, newline, _ = command.partition("\n")
        shown = f"$ {first} # collapsed multi-line command" if newline else f"$ {first}"
        lines += [notice(shown) if command else "echo", command]
    return lines


def run_shell(
    shell: Sequence[str],
    script: str,
    *,
    write: Callable[[bytes], None],
    stops: Stops,
    is_script: bool,
) -> int:
    """The exit code of a shell that reads `script`; a signal's is negative.

    Returns when the shell has ended and nothing holds its output, also in the background.
    The shell gets this process's whole environment, as the real shell executor's does. Raises
    the error of what ended it early, after the process group has ended.
    """
    with tempfile.TemporaryFile() as source:
        source.write(script.encode())
        source.seek(0)
        child = subprocess.Popen(
            shell,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    reader = threading.Thread(target=_read_to_end, args=(child, write), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            stops.check(of_script=is_script)
            reader.join(_LOOK_EVERY_S)
    except BuildError:
        for number, seconds in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILL_S)):
            if reader.is_alive():
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                reader.join(seconds)
        raise
    return child.wait()


def _read_to_end(child: subprocess.Popen[bytes], write: Callable[[bytes], None]) -> None:
    assert child.stdout is not None
    with child.stdout as output:
        while piece := os.read(output.fileno(), _PIECE):
            write(piece)
    child.wait()
