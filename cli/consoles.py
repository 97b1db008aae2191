"""Where commands draw: wide enough in a pipe, and out of the way of JSON."""

import sys

from rich.console import Console

PIPE_WIDTH = 180  # columns where no terminal says how wide it is


def console(*, as_json: bool = False) -> Console:
    """Standard output; under `as_json` only progress is drawn, for a person at a terminal.

    Standard output then has the JSON object alone.
    """
    stream = sys.stderr if as_json else sys.stdout
    return Console(
        stderr=as_json,
        quiet=as_json and not stream.isatty(),
        width=None if stream.isatty() else PIPE_WIDTH,
        highlight=False,
    )
