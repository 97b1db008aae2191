"""A stand-in for the gitlab-runner binary: `run-single` with the shell executor.

It speaks the protocol and the log of gitlab-runner as far as the fleet meets them, for machines
without the real binary; `tests/integration/local/test_standin_runner.py` runs both.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from local.stand_in.config import ARCHITECTURE, NAME, REVISION, VERSION, read_runner
from local.stand_in.log import fatal

_ABOUT = f"Version:      {VERSION}\nGit revision: {REVISION}\nOS/Arch:      linux/{ARCHITECTURE}"


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(arguments: Sequence[str]) -> int:
    """The process's exit code; fatal mistakes end it with 1 on the way.

    The environment may set a shorter pause between two questions, and two pieces of a job's log,
    than the real runner's three seconds.
    """
    try:
        options = _parser().parse_args(arguments)
        runner = read_runner(options.config, options.runner)
        pause_s = float(os.environ.get("RUNNER_FLEET_STANDIN_PAUSE_S", "3"))
    except (OSError, ValueError) as exc:
        fatal(str(exc))
    # An image's build asks for the version before the image has packages.
    from local.stand_in.single import RunSingle  # noqa: PLC0415

    single = RunSingle(runner, pause_s)
    single.run(max_builds=options.max_builds, wait_timeout_s=options.wait_timeout)
    return 0


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = _Arguments(prog=NAME, allow_abbrev=False, formatter_class=plain)
    parser.add_argument("--version", action="version", version=_ABOUT)
    parser.add_argument("--log-format", choices=("json",), required=True)
    single = parser.add_subparsers(required=True).add_parser("run-single", allow_abbrev=False)
    single.add_argument("-c", "--config", required=True)
    single.add_argument("-r", "--runner", required=True, help="a runner's name in the config")
    single.add_argument("--max-builds", type=int, default=0, help="0: no limit")
    single.add_argument("--wait-timeout", type=int, default=0, help="seconds; 0: no limit")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
