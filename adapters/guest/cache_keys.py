"""The keys with which gitlab-runner reaches the job cache: temporary keys of the machine's role.

gitlab-runner finds them itself on an EC2 machine only: not in Lambda, where its environment is
clean, and not where S3 answers at another address than AWS's. It makes signed links of them;
neither a job nor a file on the machine ever has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import boto3

from fleet.machine.mailbox import CacheBucket


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKeys:
    """Temporary keys, and where S3 answers if it is not AWS."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    endpoint: str | None = None  # URL


def no_keys() -> CacheKeys | None:
    """On a machine whose role may not reach the cache."""
    return None


def keys_of(session: boto3.Session, environment: Mapping[str, str]) -> CacheKeys | None:
    """The role's keys as they are now; None on a machine without a role."""
    credentials = session.get_credentials()
    if credentials is None:
        return None
    frozen = credentials.get_frozen_credentials()
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    return CacheKeys(
        access_key=str(frozen.access_key),
        secret_key=str(frozen.secret_key),
        session_token=frozen.token,
        endpoint=endpoint or None,
    )


def with_keys(cache: CacheBucket | None, keys: CacheKeys | None) -> CacheBucket | None:
    """The cache with the keys in it; a cache with keys of its own stays as it is."""
    if cache is None or keys is None or cache.access_key:
        return cache
    address = urlsplit(keys.endpoint or "")
    return replace(
        cache,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.session_token,
        server=cache.server or address.netloc or None,
        insecure=cache.insecure or address.scheme == "http",
    )
