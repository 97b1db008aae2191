"""The process log on stderr: JSON lines in the words of gitlab-runner's own."""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Writes one line per call; `fields` go with every line."""

    fields: Mapping[str, object] = field(default_factory=dict)
    to_fd: int | None = 2  # None: nowhere

    def having(self, **fields: object) -> "Log":
        """The same log with more fields on every line."""
        return replace(self, fields={**self.fields, **fields})

    def say(self, level: str, message: str, **fields: object) -> None:
        """One write call per line, so that lines of threads and signal handlers do not mix."""
        if self.to_fd is not None:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = {"level": level, "msg": message, "time": at, **self.fields, **fields}
            with suppress(OSError):  # without a reader: the job matters more than its log line
                os.write(self.to_fd, json.dumps(line).encode() + b"\n")

    def fatal(self, message: str) -> NoReturn:
        """Say why, and end the process with code 1 at once."""
        self.say("fatal", message)
        os._exit(1)
