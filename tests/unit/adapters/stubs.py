"""Real boto3 clients that answer from a script: botocore checks what they are asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.stub import Stubber

_AWS = boto3.Session(
    aws_access_key_id="none", aws_secret_access_key="none", region_name="eu-central-1"
)


@contextmanager
def scripted(service: str) -> Iterator[tuple[Any, Stubber]]:
    """A client and its script; every scripted answer must have been asked for at the end."""
    client = _client(service)
    with Stubber(client) as script:
        yield client, script
        script.assert_no_pending_responses()


@cache
def _client(service: str) -> Any:
    """One for all tests: reading a service's model takes longer than most of them."""
    return _AWS.client(service)  # type: ignore[call-overload]
