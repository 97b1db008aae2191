"""Errors as people get to see them: what went wrong and what to do, on stderr, and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fleet.errors import FleetError

DENIED = "these AWS credentials may not do this: see docs/operations.md"
UNREACHED = "GitLab did not answer: check its address and the network, then run this again"
# What to do about what AWS says, by its code.
ADVICE = {
    "AccessDenied": DENIED,
    "AccessDeniedException": DENIED,
    "EndpointConnectionError": "nothing answers there: check the network and AWS_ENDPOINT_URL",
    "ExpiredToken": "the AWS credentials are too old: log in again",
    "ExpiredTokenException": "the AWS credentials are too old: log in again",
    "InvalidClientTokenId": "AWS does not know these credentials: check AWS_PROFILE",
    "NoCredentialsError": "there are no AWS credentials: set AWS_PROFILE, or log in",
    "NoRegionError": "no AWS region is set: set AWS_DEFAULT_REGION",
    "PartialCredentialsError": "half of the AWS credentials is missing: check the environment",
    "ProfileNotFound": "there is no such AWS profile: check AWS_PROFILE",
    "SSOTokenLoadError": "log in first: aws sso login",
    "TokenRetrievalError": "log in again: aws sso login",
    "UnauthorizedSSOTokenError": "log in again: aws sso login",
    "UnrecognizedClientException": "AWS does not know these credentials: check AWS_PROFILE",
}


@contextmanager
def told() -> Iterator[None]:
    """Say an error of ours in a line and end with exit code 1, one in the call with 2.

    Others pass: their traceback is for those who mend them.
    """
    try:
        yield
    except FleetError as error:
        _say(f"Error: {sentence(error)}")
        raise typer.Exit(1) from error
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise  # its message is the whole help
        _say(f"Error: {_usage(error)}")
        raise typer.Exit(error.exit_code) from error
    except ValueError as error:
        problems = getattr(error, "problems", None)  # of a ConfigError, which is slow to import
        if problems is None:
            raise
        for problem in problems:
            _say(str(problem))
        raise typer.Exit(1) from error
    except OSError as error:
        if error.strerror is None or isinstance(error, ConnectionError):
            raise  # a reader that went away, among others: typer knows what to do
        where = f": {error.filename}" if error.filename else ""
        _say(f"Error: {error.strerror}{where}")
        raise typer.Exit(1) from error


def sentence(error: FleetError) -> str:
    """What happened; where AWS or the network is at fault, what to do about it."""
    call, code = error.facts.get("call", "AWS"), error.facts.get("code")
    if code is None:
        kind = error.facts.get("error")  # of an answer that did not come
        return f"{UNREACHED} ({call}: {kind})" if kind else str(error)
    advice, words = ADVICE.get(str(code)), _words(error.__cause__)
    if advice is None and not words:
        return str(error)
    if advice is None:
        advice = f"AWS says: {words}"
    elif advice is DENIED and words:
        advice = f"{advice}; AWS says: {words}"
    return f"{advice} ({call}: {code})"


def _words(cause: BaseException | None) -> str:
    """AWS's own words, without the full stop."""
    said = getattr(cause, "response", {}).get("Error", {}).get("Message") or str(cause or "")
    return str(said).strip().removesuffix(".")


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "runner-fleet"
    return f"{error.format_message().rstrip('.')}; see `{command} --help`"


def _say(text: str) -> None:
    """One line, without codes from outside that a terminal would obey."""
    plain = "".join(one if one.isprintable() else " " for one in text)
    typer.echo(" ".join(plain.split()), err=True)
