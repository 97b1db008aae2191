"""Errors as people get to see them: what went wrong and what to do, on stderr, and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fleet.errors import FleetError

# What to do about what AWS says, by its code.
ADVICE = {
    "AccessDenied": "these AWS credentials may not do this: see docs/operations.md",
    "AccessDeniedException": "these AWS credentials may not do this: see docs/operations.md",
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
    """Say an error of ours in a line and end with exit code 1; others pass."""
    try:
        yield
    except FleetError as error:
        typer.echo(f"Error: {sentence(error)}", err=True)
        raise typer.Exit(1) from error
    except ValueError as error:
        problems = getattr(error, "problems", None)  # of a ConfigError, which is slow to import
        if problems is None:
            raise
        for problem in problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(1) from error


def sentence(error: FleetError) -> str:
    """What happened; where AWS said so, what to do about it."""
    advice = ADVICE.get(str(error.facts.get("code", "")))
    if advice is None:
        return str(error)
    return f"{advice} ({error.facts.get('call', 'AWS')}: {error.facts['code']})"
