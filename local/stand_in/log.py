"""The process log on stderr: JSON lines in the words of gitlab-runner's own."""

import json
import os
import time
from contextlib import suppress
from typing import NoReturn


def say(level: str, message: str, **fields: object) -> None:
    """Write a line in one call, so that lines of threads and signal handlers do not mix."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"level": level, "msg": message, "time": at, **fields}
    with suppress(OSError):  # without a reader: the job matters more than its log line
        os.write(2, json.dumps(line).encode() + b"\n")


def fatal(message: str) -> NoReturn:
    """Say why, and end the process with code 1 at once."""
    say("fatal", message)
    os._exit(1)
