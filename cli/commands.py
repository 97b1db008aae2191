"""Commands in messages: as the user calls the program, with this invocation's stack and file."""

import os
import re
import shlex
import sys
from contextvars import ContextVar
from pathlib import Path
from shutil import which

PROGRAM = DEFAULT_STACK = "runner-fleet"
STACK_VARIABLE = "RUNNER_FLEET_STACK"
FILE = Path("fleet.toml")  # of the folder in which the command runs
LAPTOP = Path(".runner-fleet/local")  # where `local up` keeps its files without `--data`
CALLED_VARIABLE = "RUNNER_FLEET_CALLED"  # set by the script of a clone
# The commands that work on a stack and take `--local`, those that do not take it, and the others.
_OF_A_STACK = (
    "apply",
    "cost",
    "dashboard",
    "destroy",
    "doctor",
    "explain",
    "interrupt",
    "jobs",
    "logs",
    "plan",
    "runners",
    "status",
    "up",
    "waits",
    r"(?:job|pool|runner|token|webhook) \w+",
)
_OF_A_FILE = frozenset({"apply", "plan", "up", "validate"})
_DEPLOY = f"`{PROGRAM} deploy`"
_DEPLOY_LAPTOP = f"`{PROGRAM} local down`, then `{PROGRAM} local up`"
_OF_AWS = ("deploy", r"image \w+")
_OF_NO_STACK = ("demo", "import-config", "validate", r"local \w+")
_COMMAND = re.compile(
    rf"(?<![\w./-]){PROGRAM} "
    rf"(?:(?P<of_a_stack>(?P<anywhere>{'|'.join(_OF_A_STACK)})|{'|'.join(_OF_AWS)})"
    rf"|(?P<init>init)|{'|'.join(_OF_NO_STACK)})\b(?! --(?:stack|local)\b)"
)
_stack: ContextVar[str] = ContextVar("stack", default="")  # of this invocation
_file: ContextVar[Path] = ContextVar("file", default=FILE)  # of this invocation
# Whether it has `--local`; None of a command without that option.
_is_local: ContextVar[bool | None] = ContextVar("is_local", default=None)


def use_stack(stack: str) -> None:
    """Make this the stack of the commands in messages, until the end of this invocation."""
    _stack.set(stack)


def use_file(file: Path) -> None:
    """Make this the fleet.toml of the commands in messages, until the end of this invocation."""
    _file.set(file)


def use_laptop(is_set: bool | None) -> None:
    """Say whether this invocation has `--local`, which the commands in messages then have, too.

    None is for a command that cannot reach a laptop's fleet.
    """
    _is_local.set(is_set)


def is_local() -> bool | None:
    """Whether this invocation has `--local`; None of a command that cannot reach a laptop."""
    return _is_local.get()


def called(program: str = "") -> str:
    """How the user called this program, for a shell: by its name, or by a path that is not on PATH.

    `program`: the path of this process, by default its own. The script of a clone says how it was
    called itself, as it runs another program.
    """
    invoked_as = os.environ.get(CALLED_VARIABLE) or program or sys.argv[0]
    if Path(invoked_as).name != PROGRAM or invoked_as == which(PROGRAM):
        return PROGRAM
    return shlex.quote(invoked_as)


def as_called(text: str) -> str:
    """The text with each command as the user can call it; doing it again changes nothing.

    A command gets `--stack`, `--local` and the file where it would otherwise reach another fleet or
    file; a stack that the environment names needs no option. Nothing but a start deploys a laptop.
    """
    if is_local():
        text = text.replace(_DEPLOY, _DEPLOY_LAPTOP)
    stack = _stack.get()
    if stack in {"", os.environ.get(STACK_VARIABLE) or DEFAULT_STACK}:
        stack = ""

    def written(command: re.Match[str]) -> str:
        option = f" --stack {stack}" if stack and command["of_a_stack"] else ""
        local = " --local" if is_local() and (command["anywhere"] or command["init"]) else ""
        words = command[0].removeprefix(PROGRAM)
        is_whole = text.startswith("`", command.end())
        has_file = is_whole and words.strip() in _OF_A_FILE and _file.get() != FILE
        file = f" {shlex.quote(str(_file.get()))}" if has_file else ""
        return f"{called()}{words}{local}{option}{file}"

    return _COMMAND.sub(written, text)
