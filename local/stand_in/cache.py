"""Restores and saves a job's caches: in a local folder, and in S3 where one is set up."""

import os
import zipfile
from collections.abc import Callable
from functools import cached_property

from local.stand_in import files
from local.stand_in.config import RunnerOptions
from local.stand_in.job import Cache, Job
from local.stand_in.variables import Variables

_GREEN, _YELLOW = "\033[32;1m", "\033[0;33m"


class StoreError(Exception):
    """No such cache, or the bucket refuses it; the job goes on without the cache."""


_TROUBLES = (StoreError, zipfile.BadZipFile, ValueError, OSError)


class Caches:
    """The caches of one job; `say` writes a line to its log."""

    def __init__(
        self, runner: RunnerOptions, job: Job, variables: Variables, say: Callable[[str], None]
    ) -> None:
        self._runner, self._job, self._say = runner, job, say
        self._expand = variables.expand
        self._places = variables.places

    @cached_property
    def _bucket(self) -> "Bucket | None":
        return Bucket(self._runner, self._job) if self._runner.cache.type else None

    def restore(self, cache: Cache) -> None:
        """Unpack the first of the keys that has a cache."""
        key, *others = map(self._key, (cache.key, *cache.fallback_keys, "$CACHE_FALLBACK_KEY"))
        if not self._is_allowed(cache, "pull"):
            self._say(f"{_GREEN}Not downloading cache {key} due to policy")
            return
        for tried in (key, *filter(None, others)):
            self._say(f"{_GREEN}Checking cache for {tried}...")
            try:
                path = self._file(tried)
                if self._bucket is not None:
                    self._bucket.fetch(tried, path)
                files.read_zip(path, self._places.project)
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
            path, root = self._file(key), self._places.project
            paths = files.find_all(root, cache, self._expand, self._say)
            files.write_zip(path, root, sorted(paths))
            if self._bucket is not None:
                self._bucket.keep(key, path)
        except _TROUBLES as exc:
            self._say(f"{_YELLOW}WARNING: {exc}")
            self._say(f"{_YELLOW}Failed to create cache")
        else:
            self._say(f"{_GREEN}Created cache")

    def _key(self, written: str) -> str:
        return self._expand(written).rstrip(" /\\")

    def _is_allowed(self, cache: Cache, direction: str) -> bool:
        return self._expand(cache.policy) in {"", "pull-push", direction}

    def _file(self, key: str) -> str:
        path = os.path.normpath(os.path.join(self._places.cache, key, "cache.zip"))
        if not key or not path.startswith(self._places.cache + "/"):
            raise ValueError(f"invalid cache key {key!r}")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path


class Bucket:
    """Caches as objects. Raises `StoreError` for what S3 refuses."""

    def __init__(self, runner: RunnerOptions, job: Job) -> None:
        # Half a second that jobs without a cache need not wait for.
        import boto3  # noqa: PLC0415
        from boto3.exceptions import Boto3Error  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        s3 = runner.cache.s3
        scheme = "http" if s3.insecure else "https"
        self._errors = (Boto3Error, BotoCoreError, ClientError)
        self._objects = boto3.resource(
            "s3",
            aws_access_key_id=s3.accesskey or None,
            aws_secret_access_key=s3.secretkey or None,
            aws_session_token=s3.sessiontoken or None,
            region_name=s3.bucketlocation or None,
            endpoint_url=f"{scheme}://{s3.serveraddress}" if s3.serveraddress else None,
            config=Config(s3={"addressing_style": "path" if s3.serveraddress else "auto"}),
        ).Bucket(s3.bucketname)
        parts = (runner.cache.path.strip("/"), f"project/{job.job_info.project_id}")
        self._prefix = "/".join(filter(None, parts))

    def fetch(self, key: str, path: str) -> None:
        """Write the cache to a file."""
        try:
            self._objects.download_file(f"{self._prefix}/{key}", path)
        except self._errors as exc:
            raise StoreError(str(exc)) from exc

    def keep(self, key: str, path: str) -> None:
        """Store the cache of a file."""
        try:
            self._objects.upload_file(path, f"{self._prefix}/{key}")
        except self._errors as exc:
            raise StoreError(str(exc)) from exc
