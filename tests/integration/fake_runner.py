#!/usr/bin/env python3
"""Stands for the gitlab-runner binary and follows a script.

It reads its configuration as the real one does; the `url` in it is the path of the script, a JSON
list of [verb, argument]:
  note P      write what it was started with to file P, as JSON
  say F       write the log line with these fields on stderr
  on S        from now on run the list in `S[signal name]` when that signal comes
  start C     start a shell command and go on
  wait S      wait S seconds, signals included
  exit N      end with code N
"""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Script = Sequence[tuple[str, Any]]


def run(script: Script) -> None:
    """Follow the script in its order."""
    for verb, argument in script:
        VERBS[verb](argument)


def note(path: str) -> None:
    """Write down this process's arguments, environment and configuration."""
    noted = {
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "config": CONFIG,
        "config_left": Path(CONFIG_PATH).exists(),
        "folder": str(Path.cwd()),
    }
    Path(path).write_text(json.dumps(noted))


def say(fields: Mapping[str, object]) -> None:
    """One line of the log; unlike `print` it may be interrupted by a signal that says more."""
    os.write(2, json.dumps({"level": "info", **fields}).encode() + b"\n")


def on(reactions: Mapping[str, Script]) -> None:
    """React to signals from now on."""
    for name, script in reactions.items():
        number = signal.Signals[name]
        signal.signal(number, lambda number, frame, script=script: run(script))  # type: ignore[misc]


def start(command: str) -> None:
    """A process in a session of its own, as daemons do."""
    subprocess.Popen(["bash", "-c", command], start_new_session=True)


def wait(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.01)


VERBS: Mapping[str, Callable[[Any], object]] = {
    "note": note,
    "say": say,
    "on": on,
    "start": start,
    "wait": wait,
    "exit": sys.exit,
}

if __name__ == "__main__":
    CONFIG_PATH = sys.argv[sys.argv.index("-c") + 1]
    with open(CONFIG_PATH, "rb") as source:
        CONFIG = tomllib.load(source)
    run(json.loads(Path(CONFIG["runners"][0]["url"]).read_text()))
