"""Errors for people: what is wrong and what to do, on standard error, and an exit code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cli.commands import LAPTOP, is_local
from cli.lines import cut, say_errors
from fleet.aws_errors import ADVICE_BY_HAND, DENIED
from fleet.errors import FleetError
from operations.printable import escaped

# pydantic, with which typer reads values, puts the first before what is wrong; and plainer words.
_PLAINER = (("Value error, ", ""), ("Input should be", "it must be"))
ADD_LOCAL = "for the laptop that runs here add --local"
_WITHOUT_AWS = frozenset({"NoRegionError", "NoCredentialsError"})
UNREACHED = "GitLab did not answer: check its address and the network, then run this again"
# Tokens of GitLab's and webhook secrets, by the letters that they begin with.
_SECRET = re.compile(r"\b(gl(?:pat|rt|rtr|dt|cbt|soat)-|whsec_)[\w.+/=-]{6,}", re.ASCII)


@contextmanager
def error_lines() -> Iterator[None]:
    """Print a foreseen error in a line and exit: with 2 for a wrong call, else with 1.

    Any other error passes with its traceback.
    """
    try:
        yield
    except (FleetError, typer.TyperException, ValueError, OSError) as error:
        lines = _lines(error)
        if not lines:
            raise
        say_errors([_plain(line) for line in lines])
        raise typer.Exit(getattr(error, "exit_code", 1)) from error


def _lines(error: Exception) -> list[str]:
    """The lines of an error; none of an unforeseen one."""
    if isinstance(error, FleetError):
        return [f"Error: {sentence(error)}"]
    if isinstance(error, typer.TyperException):
        return [f"Error: {_usage(error)}"] if not _is_help(error) else []
    if isinstance(error, OSError):
        # typer handles a closed pipe and the like.
        if error.strerror is None or isinstance(error, ConnectionError):
            return []
        return [f"Error: {error.strerror}" + (f": {error.filename}" if error.filename else "")]
    # Of a ConfigError, whose module is slow to import.
    return [str(problem) for problem in getattr(error, "problems", ())]


def sentence(error: FleetError) -> str:
    """What is wrong and, where AWS or the network is at fault, what to do."""
    call, code = error.facts.get("call", "AWS"), error.facts.get("code")
    if code is None:
        kind = error.facts.get("error")  # of a call without an answer
        return f"{UNREACHED} ({call}: {kind})" if kind else str(error)
    advice, words = ADVICE_BY_HAND.get(str(code)), _words(error.__cause__)
    if advice is None and not words:
        return str(error)
    if advice is DENIED and words:
        advice = f"{advice}; {words}"
    if code in _WITHOUT_AWS and (LAPTOP / "env").exists():
        of_laptop = "the laptop that runs here has its stack from `runner-fleet local up`"
        advice = f"{advice}; {of_laptop if is_local() is None else ADD_LOCAL}"
    return f"{advice or words} ({call}: {code})"


def _words(cause: BaseException | None) -> str:
    """AWS's own words, or botocore's where the call did not get there; without the full stop."""
    aws_message = getattr(cause, "response", {}).get("Error", {}).get("Message")
    words = f"AWS says: {aws_message}" if aws_message else str(cause or "")
    return words.strip().removesuffix(".")


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "runner-fleet"
    message = error.format_message().rstrip(".")
    for theirs, plain in _PLAINER:
        message = message.replace(theirs, plain)
    return f"{message}; see `{command} --help`"


def _is_help(error: typer.TyperException) -> bool:
    """Whether it is the help of a command that was called without arguments."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _plain(text: str) -> str:
    """One line, without secrets."""
    return cut(_SECRET.sub(r"\1...", escaped(" ".join(text.split()))))
