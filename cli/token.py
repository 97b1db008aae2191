"""`runner-fleet token`: the token with which the fleet calls GitLab, never on a command line."""

import sys
from typing import Any

import typer

from cli.commands import DEFAULT_STACK
from cli.lines import say, say_json
from cli.options import AsJson, Local, Stack, reach, wrong_calls
from cli.validate import MARKS
from fleet.errors import Refused
from operations.gitlab_access import read_token
from operations.init import token_page
from operations.token_set import TokenSet, inspect_token, set_token

LONGEST = 4096  # characters of standard input: a token is far shorter
NONE_STORED = "the stack has no GitLab token: run `runner-fleet token set`"
app = typer.Typer(help="The token with which the fleet calls GitLab.", no_args_is_help=True)


@app.command("set")
def set_(
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Ask GitLab about a new token and store it: from standard input, or typed in unseen.

    Example: runner-fleet token set < token.txt
    """
    deployed = reach(ctx, stack)
    page = token_page(deployed.config().gitlab.url)
    done = set_token(deployed, _read_token(page))
    _show(done, as_json=as_json)
    if not done.is_good:
        raise Refused(f"this token is not stored: make one that may do all of it: {page}")
    if not as_json:
        state = "is stored" if done.is_change else "was stored already"
        say(f"it {state} in the secret {deployed.gitlab_secret}; in use within a minute")


@app.command("check")
def check(
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    as_json: AsJson = False,
) -> None:
    """Ask GitLab about the token that the fleet has: whose, which scopes, until when.

    Example: runner-fleet token check
    """
    deployed = reach(ctx, stack)
    inspected = inspect_token(deployed, deployed.own_token(NONE_STORED))
    _show(inspected, as_json=as_json)
    if not inspected.is_good:
        raise Refused("the token may not do all that the fleet needs: `runner-fleet token set`")


def _read_token(page: str) -> str:
    """The token, from a person or a pipe. A wrong call for what cannot be one."""
    if sys.stdin.isatty():
        say(f"make a token here, its scopes are filled in: {page}", err=True)
        text = str(typer.prompt("The token", hide_input=True, err=True))
    else:
        text = sys.stdin.read(LONGEST)
    with wrong_calls():
        return read_token(text, "standard input")


def _show(inspected: TokenSet, *, as_json: bool) -> None:
    if as_json:
        say_json(_json_of(inspected), indent=2)
        return
    say(f"GitLab says of the token{f' of {inspected.user}' if inspected.user else ''}:")
    for need in inspected.needs:
        say(f"  {MARKS[need.is_met]:4} {need.need}")


def _json_of(inspected: TokenSet) -> dict[str, Any]:
    return {
        "user": inspected.user or None,
        "claims": [{"claim": need.need, "holds": need.is_met} for need in inspected.needs],
        "is_good": inspected.is_good,
        "is_stored": inspected.is_stored,
        "is_change": inspected.is_change,
    }
