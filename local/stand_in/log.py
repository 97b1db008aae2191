"""The process log on stderr, in the shapes and words of gitlab-runner's own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

Fields = Mapping[str, object]
_LEVELS = ("debug", "info", "warning", "error", "fatal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Writes one line per call; `fields` go with every line."""

    shape: str = "runner"  # json | text | runner
    level: str = "info"
    fields: Fields = field(default_factory=dict)
    to_fd: int = 2

    def having(self, fields: Fields) -> Log:
        """The same log with more fields on every line."""
        more = {**self.fields, **fields}
        return Log(shape=self.shape, level=self.level, fields=more, to_fd=self.to_fd)

    def debug(self, message: str, fields: Fields | None = None) -> None:
        """For those who look into the runner."""
        self.line("debug", message, fields)

    def info(self, message: str, fields: Fields | None = None) -> None:
        """Something happened."""
        self.line("info", message, fields)

    def warning(self, message: str, fields: Fields | None = None) -> None:
        """Something went wrong that may right itself."""
        self.line("warning", message, fields)

    def error(self, message: str, fields: Fields | None = None) -> None:
        """Something went wrong for good."""
        self.line("error", message, fields)

    def fatal(self, message: str) -> NoReturn:
        """Say why, and end the process with code 1 at once, whatever else is going on."""
        self.line("fatal", message, None)
        os._exit(1)

    def line(self, level: str, message: str, fields: Fields | None) -> None:
        """One write call per line, so that lines of threads and signal handlers do not mix."""
        if _LEVELS.index(level) < _LEVELS.index(self.level):
            return
        shaped = self._shaped(level, message, {**self.fields, **(fields or {})})
        with suppress(OSError):  # nobody reads any more: the job matters more than its log line
            os.write(self.to_fd, shaped)

    def _shaped(self, level: str, message: str, fields: Fields) -> bytes:
        if self.shape == "runner":
            words = " ".join(f"{key}={value}" for key, value in sorted(fields.items()))
            head = "" if level in {"debug", "info"} else f"{level.upper()}: "
            return f"{head}{message:<50} {words}".rstrip().encode() + b"\n"
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entries = {"level": level, "msg": message, "time": at, **fields}
        if self.shape == "json":
            return json.dumps(entries, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        words = " ".join(f"{key}={json.dumps(value)}" for key, value in entries.items())
        return words.encode() + b"\n"


def level_of(word: str) -> str:
    """The level a `--log-level` asks for; info when it is none of ours."""
    short = {"warn": "warning", "panic": "fatal", "trace": "debug"}.get(word, word)
    return short if short in _LEVELS else "info"
