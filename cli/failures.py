"""Errors as people get to see them: what went wrong and what to do, on stderr, and an exit code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from cli.commands import addressed
from fleet.aws_errors import ADVICE_BY_HAND, DENIED
from fleet.errors import FleetError

UNREACHED = "GitLab did not answer: check its address and the network, then run this again"
# Tokens of GitLab's and webhook secrets, by the letters that they begin with.
_SECRET = re.compile(r"\b(gl(?:pat|rt|rtr|dt|cbt|soat)-|whsec_)[\w.+/=-]{6,}", re.ASCII)


@contextmanager
def error_lines() -> Iterator[None]:
    """Say an error that was foreseen in a line and end with an exit code: 2 for a wrong call.

    Others pass: their traceback is for those who mend them.
    """
    try:
        yield
    except (FleetError, typer.TyperException, ValueError, OSError) as error:
        lines = _lines(error)
        if not lines:
            raise
        for line in lines:
            typer.echo(_plain(addressed(line)), err=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from error


def _lines(error: Exception) -> list[str]:
    """What to say of it; nothing of what nobody foresaw."""
    if isinstance(error, FleetError):
        return [f"Error: {sentence(error)}"]
    if isinstance(error, typer.TyperException):
        return [f"Error: {_usage(error)}"] if not _is_help(error) else []
    if isinstance(error, OSError):
        # A reader that went away, and the like: typer knows what to do.
        if error.strerror is None or isinstance(error, ConnectionError):
            return []
        return [f"Error: {error.strerror}" + (f": {error.filename}" if error.filename else "")]
    # A ConfigError has them, which is slow to import.
    return [str(problem) for problem in getattr(error, "problems", ())]


def sentence(error: FleetError) -> str:
    """What happened; where AWS or the network is at fault, what to do about it."""
    call, code = error.facts.get("call", "AWS"), error.facts.get("code")
    if code is None:
        kind = error.facts.get("error")  # of an answer that did not come
        return f"{UNREACHED} ({call}: {kind})" if kind else str(error)
    advice, words = ADVICE_BY_HAND.get(str(code)), _words(error.__cause__)
    if advice is None and not words:
        return str(error)
    if advice is DENIED and words:
        advice = f"{advice}; {words}"
    return f"{advice or words} ({call}: {code})"


def _words(cause: BaseException | None) -> str:
    """AWS's own words, or botocore's where the call did not get there; without the full stop."""
    said = getattr(cause, "response", {}).get("Error", {}).get("Message")
    words = f"AWS says: {said}" if said else str(cause or "")
    return words.strip().removesuffix(".")


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "runner-fleet"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _is_help(error: typer.TyperException) -> bool:
    """Whether it only is the help of a command that was called without anything."""
    return type(error).__name__ == "NoArgsIsHelpError"


def _plain(text: str) -> str:
    """One line, without codes from outside that a terminal would obey, and without secrets."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return _SECRET.sub(r"\1...", line)
