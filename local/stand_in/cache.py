"""Restores and saves a job's caches: in a local folder, and in S3 where one is set up."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from typing import Any, Protocol

from local.stand_in import files
from local.stand_in.job import Cache
from local.stand_in.options import CacheOptions, RunnerOptions, UsageError
from local.stand_in.variables import Places, Variables

_GREEN, _YELLOW = "\033[32;1m", "\033[0;33m"


class Store(Protocol):
    """Where caches are kept for other machines."""

    def fetch(self, key: str, path: str) -> bool:
        """Write the cache to a file; False when there is none."""

    def keep(self, key: str, path: str) -> None:
        """Take the cache from a file."""


class StoreError(Exception):
    """The store could not be reached, or said no; a cache is never worth a job's failure."""


class Caches:
    """The caches of one job; `say` writes a line to its log."""

    def __init__(
        self,
        store: Store | None,
        places: Places,
        variables: Variables,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._places = places
        self._variables = variables
        self._say = say

    def restore(self, cache: Cache) -> None:
        """Unpack the first of the keys that has a cache."""
        key = self._key(cache.key)
        if not self._is_allowed(cache, "pull"):
            self._say(f"{_GREEN}Not downloading cache {key} due to policy")
            return
        more = [self._key(name) for name in (*cache.fallback_keys, "$CACHE_FALLBACK_KEY")]
        for one in (key, *(name for name in more if name)):
            self._say(f"{_GREEN}Checking cache for {one}...")
            try:
                self._extract(one)
            except (StoreError, zipfile.BadZipFile, ValueError, OSError) as exc:
                self._say(f"{_YELLOW}WARNING: {exc}")
                self._say(f"{_YELLOW}Failed to extract cache")
            else:
                self._say(f"{_GREEN}Successfully extracted cache")
                return

    def save(self, cache: Cache) -> None:
        """Pack what the cache names."""
        key = self._key(cache.key)
        if not self._is_allowed(cache, "push"):
            self._say(f"{_GREEN}Not uploading cache {key} due to policy")
            return
        self._say(f"{_GREEN}Creating cache {key}...")
        try:
            self._archive(cache, key)
        except (StoreError, ValueError, OSError) as exc:
            self._say(f"{_YELLOW}WARNING: {exc}")
            self._say(f"{_YELLOW}Failed to create cache")
        else:
            self._say(f"{_GREEN}Created cache")

    def _key(self, written: str) -> str:
        return self._variables.expand(written).rstrip(" /\\")

    def _is_allowed(self, cache: Cache, direction: str) -> bool:
        return self._variables.expand(cache.policy) in {"", "pull-push", direction}

    def _file(self, key: str) -> str:
        path = os.path.normpath(os.path.join(self._places.cache, key, "cache.zip"))
        if not key or not path.startswith(self._places.cache + "/"):
            raise ValueError(f"invalid cache key {key!r}")
        return path

    def _extract(self, key: str) -> None:
        path = self._file(key)
        if self._store is None:
            self._say(
                "No URL provided, cache will not be downloaded from shared cache server. "
                "Instead a local version of cache will be extracted."
            )
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not self._store.fetch(key, path):
                raise StoreError("file does not exist")
        if not os.path.exists(path):
            raise StoreError("Cache file does not exist")
        with open(path, "rb") as file:
            files.read_zip(file, self._places.project)

    def _archive(self, cache: Cache, key: str) -> None:
        path = self._file(key)
        found: set[str] = set()
        for pattern in (self._variables.expand(written) for written in cache.paths):
            hits = files.find(self._places.project, pattern)
            found.update(hits)
            count = f"found {len(hits)} matching artifact files and directories"
            self._say(
                f"{pattern}: {count}" if hits else f"{_YELLOW}WARNING: {pattern}: no matching files"
            )
        if cache.untracked:
            found.update(files.find_untracked(self._places.project))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.part", "wb") as file:
            files.write_zip(file, self._places.project, sorted(found))
        os.replace(f"{path}.part", path)
        if self._store is None:
            self._say(
                "No URL provided, cache will not be uploaded to shared cache server. "
                "Cache will be stored only locally."
            )
        else:
            self._store.keep(key, path)


class S3Store:
    """Caches as objects in a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def fetch(self, key: str, path: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see open_store

        try:
            body = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{key}")["Body"]
            with open(path, "wb") as file:
                for piece in body.iter_chunks(1024 * 1024):
                    file.write(piece)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return False
            raise StoreError(str(exc)) from exc
        except BotoCoreError as exc:
            raise StoreError(str(exc)) from exc
        return True

    def keep(self, key: str, path: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - see open_store

        try:
            with open(path, "rb") as file:
                self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{key}", Body=file)
        except (ClientError, BotoCoreError) as exc:
            raise StoreError(str(exc)) from exc


def open_store(runner: RunnerOptions, project_id: int) -> Store | None:
    """The store a runner is set up with, or None. Raises `UsageError` for an unknown kind."""
    options = runner.cache
    if not options.type:
        return None
    if options.type != "s3":
        raise UsageError(f"cache type {options.type!r} is not supported by the stand-in")
    prefix = object_prefix(runner, project_id)
    return S3Store(s3_client(options), options.s3.bucket_name, prefix)


def object_prefix(runner: RunnerOptions, project_id: int) -> str:
    """Where a project's caches begin; a cache that is not shared is each runner's own."""
    path = runner.cache.path.strip("/")
    own = "" if runner.cache.shared else f"runner/{runner.short_token}"
    return "/".join(part for part in (path, own, f"project/{project_id}") if part)


def s3_client(options: CacheOptions) -> Any:
    """A client for the bucket, with the keys that are set or those of the machine."""
    import boto3  # noqa: PLC0415 - half a second at start that jobs without S3 need not wait for
    from botocore.config import Config  # noqa: PLC0415

    s3 = options.s3
    address = s3.server_address
    has_keys = bool(s3.access_key) and s3.authentication_type != "iam"
    session = boto3.session.Session(
        aws_access_key_id=s3.access_key if has_keys else None,
        aws_secret_access_key=s3.secret_key if has_keys else None,
        aws_session_token=(s3.session_token or None) if has_keys else None,
        region_name=s3.bucket_location or None,
    )
    by_path = bool(address) and s3.path_style is not False
    return session.client(
        "s3",
        endpoint_url=f"{'http' if s3.insecure else 'https'}://{address}" if address else None,
        config=Config(s3={"addressing_style": "path" if by_path else "auto"}),
    )
