"""Commands as they are told to people: with the stack that this one was called for."""

import os
import re
from contextvars import ContextVar

DEFAULT_STACK = "runner-fleet"
STACK_VARIABLE = "RUNNER_FLEET_STACK"
# Those that find a stack; `validate` and `local` find none.
_ON_A_STACK = re.compile(r"\brunner-fleet (apply|deploy|status|explain|logs|webhook \w+)\b")
_asked: ContextVar[str] = ContextVar("asked", default="")  # of this invocation


def ask_of(stack: str) -> None:
    """From now on commands are told for this stack, until the end of this invocation."""
    _asked.set(stack)


def addressed(text: str) -> str:
    """The text with `--stack` in each command that would otherwise reach another fleet.

    Whoever names the stack in the environment need not name it again.
    """
    stack = _asked.get()
    if stack in {"", os.environ.get(STACK_VARIABLE) or DEFAULT_STACK}:
        return text
    return _ON_A_STACK.sub(lambda found: f"{found[0]} --stack {stack}", text)
