"""Restores and saves a job's caches: in a local folder, and in S3 where one is set up."""

import os
import shutil
import zipfile
from collections.abc import Callable
from typing import Any

from local.stand_in import files
from local.stand_in.config import RunnerOptions
from local.stand_in.job import Cache
from local.stand_in.variables import Places, Variables

_GREEN, _YELLOW = "\033[32;1m", "\033[0;33m"


class StoreError(Exception):
    """The bucket has no such cache, or does not answer; the job goes on without the cache."""


_TROUBLES = (StoreError, zipfile.BadZipFile, ValueError, OSError)


class Caches:
    """The caches of one job; `say` writes a line to its log."""

    def __init__(
        self,
        bucket: "Bucket | None",
        places: Places,
        variables: Variables,
        say: Callable[[str], None],
    ) -> None:
        self._bucket = bucket
        self._places = places
        self._variables = variables
        self._say = say

    def restore(self, cache: Cache) -> None:
        """Unpack the first of the keys that has a cache."""
        key, *others = map(self._key, (cache.key, *cache.fallback_keys, "$CACHE_FALLBACK_KEY"))
        if not self._is_allowed(cache, "pull"):
            self._say(f"{_GREEN}Not downloading cache {key} due to policy")
            return
        for tried in (key, *filter(None, others)):
            self._say(f"{_GREEN}Checking cache for {tried}...")
            try:
                self._extract(tried)
            except _TROUBLES as exc:
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
        except _TROUBLES as exc:
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
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def _extract(self, key: str) -> None:
        path = self._file(key)
        if self._bucket is not None:
            self._bucket.fetch(key, path)
        if not os.path.exists(path):
            raise StoreError("Cache file does not exist")
        with open(path, "rb") as file:
            files.read_zip(file, self._places.project)

    def _archive(self, cache: Cache, key: str) -> None:
        path = self._file(key)
        paths = files.find_all(
            self._places.project, map(self._variables.expand, cache.paths), self._say
        )
        if cache.untracked:
            paths.update(files.find_untracked(self._places.project))
        with open(path, "wb") as file:
            files.write_zip(file, self._places.project, sorted(paths))
        if self._bucket is not None:
            self._bucket.keep(key, path)


class Bucket:
    """Caches as objects. Raises `StoreError` for what S3 refuses."""

    def __init__(self, runner: RunnerOptions, project_id: int) -> None:
        import boto3  # noqa: PLC0415 - half a second that jobs without a cache need not wait for
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        s3 = runner.cache.s3
        scheme = "http" if s3.insecure else "https"
        has_keys = bool(s3.accesskey) and s3.authenticationtype != "iam"
        self._errors = (BotoCoreError, ClientError)
        self._client: Any = boto3.client(
            "s3",
            aws_access_key_id=s3.accesskey if has_keys else None,
            aws_secret_access_key=s3.secretkey if has_keys else None,
            aws_session_token=(s3.sessiontoken or None) if has_keys else None,
            region_name=s3.bucketlocation or None,
            endpoint_url=f"{scheme}://{s3.serveraddress}" if s3.serveraddress else None,
            config=Config(s3={"addressing_style": "path" if s3.serveraddress else "auto"}),
        )
        self._name = s3.bucketname
        parts = (runner.cache.path.strip("/"), f"project/{project_id}")
        self._prefix = "/".join(filter(None, parts))

    def fetch(self, key: str, path: str) -> None:
        """Write the cache to a file."""
        try:
            answer = self._client.get_object(Bucket=self._name, Key=f"{self._prefix}/{key}")
            with open(path, "wb") as file:
                shutil.copyfileobj(answer["Body"], file)
        except self._errors as exc:
            raise StoreError(str(exc)) from exc

    def keep(self, key: str, path: str) -> None:
        """Store the cache of a file."""
        try:
            with open(path, "rb") as file:
                self._client.put_object(Bucket=self._name, Key=f"{self._prefix}/{key}", Body=file)
        except self._errors as exc:
            raise StoreError(str(exc)) from exc
