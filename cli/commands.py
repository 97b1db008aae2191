"""Commands in messages, with the stack of this invocation."""

import os
import re
from contextvars import ContextVar

DEFAULT_STACK = "runner-fleet"
STACK_VARIABLE = "RUNNER_FLEET_STACK"
# The commands that work on a stack; `validate` and `local` work on none.
_OF_A_STACK = (
    "apply",
    "cost",
    "dashboard",
    "deploy",
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
    r"(?:image|job|pool|runner|token|webhook) \w+",
)
_ON_A_STACK = re.compile(rf"\brunner-fleet (?:{'|'.join(_OF_A_STACK)})\b")
_stack: ContextVar[str] = ContextVar("stack", default="")  # of this invocation


def use_stack(stack: str) -> None:
    """Make this the stack of the commands in messages, until the end of this invocation."""
    _stack.set(stack)


def with_stack(text: str) -> str:
    """The text with `--stack` in each command that would otherwise reach another fleet.

    A stack that the environment names needs no option.
    """
    stack = _stack.get()
    if stack in {"", os.environ.get(STACK_VARIABLE) or DEFAULT_STACK}:
        return text
    return _ON_A_STACK.sub(lambda command: f"{command[0]} --stack {stack}", text)
