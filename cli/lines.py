"""The one place where commands print lines. Text from outside stays in the line where it is put.

Names, reasons and errors come from GitLab, jobs, machines and AWS. What a terminal would obey, and
what would end a line or turn its order, is printed as an escape; `--json` has the true value.
"""

import json
from contextvars import ContextVar
from typing import Any

import typer

from cli.commands import as_called
from operations.printable import escaped

LONGEST = 1000  # characters of one text in a table or an error
_IN_JSON = ContextVar("_IN_JSON", default=False)  # whether the command prints JSON lines

_AWAITS_JSON = ContextVar("_AWAITS_JSON", default=False)  # `--json` is set, and nothing printed yet


def await_json(is_set: bool) -> None:
    """Say whether this invocation has `--json`: an error before its first object is one, too."""
    _AWAITS_JSON.set(is_set)


def say_errors(lines: list[str]) -> None:
    """Print the lines of an error; with `--json` also as an object, where none was printed yet."""
    for line in lines:
        say(line, err=True)
    if _AWAITS_JSON.get():
        say_json({"errors": [as_called(line) for line in lines]})


def cut(text: str) -> str:
    """The text, or so much of it that it hides nothing else."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def say_in_json(ctx: typer.Context, is_set: bool) -> bool:
    """Print each line of this command as a JSON object: the callback of its option `--json`."""
    before = _IN_JSON.set(is_set)
    ctx.call_on_close(lambda: _IN_JSON.reset(before))
    return is_set


def say(*cells: object, err: bool = False, **facts: Any) -> None:
    """Print one line; tabs stand between several cells. `facts`: what its JSON has besides.

    Its commands are printed as the user can call them.
    """
    texts = [as_called(str(cell)) for cell in cells]
    if not err and _IN_JSON.get():
        say_json({**facts, "says": "\t".join(texts)})
        return
    typer.echo("\t".join(map(escaped, texts)), err=err)


def say_json(value: object, *, indent: int | None = None) -> None:
    """Print one JSON value. It has true values, and ASCII alone."""
    _AWAITS_JSON.set(False)
    typer.echo(json.dumps(value, indent=indent))


def say_log(text: str, *, raw: bool) -> None:
    """Print a part of a job's log; `raw` as it is, in a pipe as well."""
    if _IN_JSON.get():
        say_json({"says": text})
        return
    typer.echo(text if raw else escaped(text, keep="\n\t"), nl=False, color=True)
