"""The gitlab-runner binary of this laptop's machines, checked before they start."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused

STANDIN = Path(__file__).parents[1] / "bin" / "gitlab-runner"
ANSWERS_WITHIN_S = 30.0
_VERSION = re.compile(r"^Version:\s+\S+\nGit revision:", re.MULTILINE)
_DO = f"name a gitlab-runner in {BINARY_VARIABLE}, or unset it to use the stand-in"


def checked_binary(environment: Mapping[str, str]) -> str:
    """The absolute path of the gitlab-runner in the environment's variable, else of the stand-in.

    Raises `Refused` for a program that is no gitlab-runner or does not run here: each job would
    wait for machines that fail one after another.
    """
    named = environment.get(BINARY_VARIABLE)
    if not named:
        return str(STANDIN)
    path = shutil.which(named, path=environment.get("PATH"))
    if path is None:
        raise Refused(f"{named} is not a program that can be run: {_DO}")
    path = os.path.abspath(path)
    try:
        answer = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWERS_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise Refused(f"{named} --version did not answer: {_DO}") from exc
    except OSError as exc:
        raise Refused(f"{named} cannot be run ({exc.strerror}): {_DO}") from exc
    if answer.returncode or not _VERSION.search(answer.stdout):
        raise Refused(f"{named} is not gitlab-runner: {_DO}")
    return path
