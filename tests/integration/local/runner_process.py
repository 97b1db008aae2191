"""Starts a runner binary, the stand-in or the real one, and reads its log as it grows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
STAND_IN = CHECKOUT / "local" / "bin" / "gitlab-runner"
REAL = os.environ.get("RUNNER_FLEET_GITLAB_RUNNER", "")
BINARIES = [
    pytest.param(str(STAND_IN), id="stand-in"),
    *([pytest.param(REAL, id="real", marks=pytest.mark.real_runner)] if REAL else []),
]
TOKEN = "glrt-abcdefghijklmnopqrst"


def config_toml(url: str, *lines: str, token: str = TOKEN) -> str:
    """The configuration of a runner named `wanted`; `lines` are more of its entry, tables last."""
    entry = {"name": "wanted", "url": url, "token": token, "executor": "shell", "shell": "bash"}
    return "\n".join(["[[runners]]", *(f'{key} = "{text}"' for key, text in entry.items()), *lines])


class RunnerProcess:
    """One `gitlab-runner` process; use it as a context manager.

    It has its configuration from a FIFO, as the agent hands it over.
    """

    def __init__(self, binary: str, home: Path, config: str, *flags: str, **environ: str) -> None:
        self.home = home
        fifo = home / "config.toml"
        os.mkfifo(fifo)
        threading.Thread(target=fifo.write_text, args=(config,), daemon=True).start()
        single = ["run-single", "-c", str(fifo), "-r", "wanted", *flags]
        self.lines: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [binary, "--log-format", "json", *single],
            cwd=home,
            env=clean_environ(home) | environ,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> RunnerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stderr:
            self._process.stderr.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def messages(self) -> list[str]:
        """The log's messages, without the spaces around them."""
        return [str(line["msg"]).strip() for line in self.lines]

    def line(self, start: str) -> dict[str, Any]:
        """The first log line whose message begins so."""
        return next(line for line in self.lines if str(line["msg"]).startswith(start))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the runner itself."""
        self._process.send_signal(number)

    def send_until_end(self, number: signal.Signals) -> int:
        """Send a signal again and again until the process has ended; its exit code.

        The real runner misses signals that come while it is not listening.
        """
        for _ in range(50):
            self.send(number)
            with suppress(subprocess.TimeoutExpired):
                return self.wait(within_s=0.2)
        raise AssertionError("the process outlived fifty signals")

    def wait(self, *, within_s: float = 90) -> int:
        """The exit code, once it has ended and all its log is read."""
        code = self._process.wait(timeout=within_s)
        self._reader.join(timeout=5)
        return code

    def wait_until(self, claim: Callable[[], bool], *, within_s: float = 60) -> None:
        """Return once the claim about the log holds."""
        with self._changed:
            if not self._changed.wait_for(claim, timeout=within_s):
                raise AssertionError(f"not logged within {within_s} s: {self.messages()}")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"msg": raw.decode(errors="replace"), "level": "raw"}
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()


def clean_environ(home: Path) -> dict[str, str]:
    """An environment with nothing of the tests' own in it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "RUNNER_FLEET_PYTHON": sys.executable,
        "RUNNER_FLEET_STANDIN_PAUSE_S": "0.2",
    }
