"""With which keys, and where, gitlab-runner reaches the job cache."""

import boto3
import pytest

from adapters.guest.cache_keys import CacheKeys, keys_of, no_keys, with_keys
from fleet.machine.mailbox import CacheBucket

CACHE = CacheBucket(bucket="fleet-cache", region="eu-west-1")
KEYS = CacheKeys(access_key="ASIA1", secret_key="s3cret", session_token="token")


def test_a_cache_gets_the_keys_of_the_role() -> None:
    filled = with_keys(CACHE, KEYS)
    assert filled is not None
    assert (filled.access_key, filled.secret_key) == ("ASIA1", "s3cret")
    assert filled.session_token == "token"
    assert (filled.bucket, filled.region) == ("fleet-cache", "eu-west-1")
    assert (filled.server, filled.insecure) == (None, False)


@pytest.mark.parametrize(
    ("endpoint", "server", "insecure"),
    [
        pytest.param("http://127.0.0.1:4566", "127.0.0.1:4566", True, id="plain, with a port"),
        pytest.param("https://s3.example.com", "s3.example.com", False, id="over TLS"),
        pytest.param(None, None, False, id="AWS itself"),
    ],
)
def test_the_server_is_the_endpoints(
    endpoint: str | None, server: str | None, insecure: bool
) -> None:
    keys = CacheKeys(access_key="A", secret_key="S", endpoint=endpoint)
    filled = with_keys(CACHE, keys)
    assert filled is not None
    assert (filled.server, filled.insecure) == (server, insecure)


def test_a_cache_keeps_keys_of_its_own() -> None:
    own = CacheBucket(bucket="b", region="r", access_key="MINE", secret_key="own")
    assert with_keys(own, KEYS) is own


@pytest.mark.parametrize(("cache", "keys"), [(None, KEYS), (CACHE, no_keys()), (None, None)])
def test_without_cache_or_keys_nothing_changes(
    cache: CacheBucket | None, keys: CacheKeys | None
) -> None:
    assert with_keys(cache, keys) is cache


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": "http://all"}, "http://all"),
        ({"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}, "http://s3"),
    ],
)
def test_the_keys_are_those_of_the_session(
    environment: dict[str, str], endpoint: str | None
) -> None:
    session = boto3.Session("ASIA2", "secret", "token", region_name="us-east-1")
    keys = keys_of(session, environment)
    assert keys == CacheKeys(
        access_key="ASIA2", secret_key="secret", session_token="token", endpoint=endpoint
    )


def test_no_secret_is_printed() -> None:
    assert "s3cret" not in repr(KEYS)
    assert "token" not in repr(KEYS).replace("session_token", "")
