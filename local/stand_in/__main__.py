"""A stand-in for the gitlab-runner binary: `run-single` with the shell executor.

For machines where the real one is not at hand; it speaks the same protocol and the same log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sys
from collections.abc import Sequence

from local.stand_in.flags import read_options
from local.stand_in.log import Log, level_of
from local.stand_in.options import NAME, REVISION, VERSION, UsageError
from local.stand_in.protocol import ARCHITECTURE
from local.stand_in.single import RunSingle


def main(arguments: Sequence[str]) -> int:
    """The process's exit code; fatal mistakes end it with 1 on the way."""
    if arguments and arguments[0].lstrip("-") in {"version", "v"}:
        sys.stdout.write(f"Version:      {VERSION}\nGit revision: {REVISION}\n")
        sys.stdout.write(f"OS/Arch:      linux/{ARCHITECTURE}\n")
        return 0
    shape = os.environ.get("LOG_FORMAT", "runner")
    try:
        options = read_options(arguments, os.environ)
    except UsageError as exc:
        shape = "json" if {"json", "--log-format=json"} & {*arguments} else shape
        Log(shape=shape).fatal(str(exc))
    process_log = Log(shape=options.log_format, level=level_of(options.log_level))
    about: dict[str, object] = {"os": "linux", "arch": ARCHITECTURE, "pid": os.getpid()}
    about |= {"version": VERSION, "revision": REVISION}
    process_log.info("Runtime platform", about)
    RunSingle(options, system_id=_system_id(), log=process_log).run()
    return 0


def _system_id() -> str:
    """The same for every runner of a machine, as the real one derives it from the machine's id."""
    try:
        with open("/etc/machine-id", "rb") as file:
            machine_id = file.read().strip()
    except OSError:
        machine_id = b""
    if not machine_id:
        return f"r_{secrets.token_hex(6)}"
    return f"s_{hmac.new(machine_id, NAME.encode(), hashlib.sha256).hexdigest()[:12]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
