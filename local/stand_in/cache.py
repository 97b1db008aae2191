"""Restores and saves a job's caches: in a local folder, and in S3 where one is set up."""

import os
import zipfile
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from urllib.parse import quote

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
    """Caches as objects. Raises `StoreError` for what S3 refuses.

    Signed by botocore and sent without boto3, which the machines' images have no S3 for.
    """

    def __init__(self, runner: RunnerOptions, job: Job) -> None:
        s3 = runner.cache.s3
        self._region = s3.bucketlocation or "us-east-1"
        self._keys = (s3.accesskey, s3.secretkey, s3.sessiontoken or None)
        scheme = "http" if s3.insecure else "https"
        host = f"{s3.bucketname}.s3.{self._region}.amazonaws.com"
        if s3.serveraddress:
            host = f"{s3.serveraddress}/{s3.bucketname}"
        parts = (host, runner.cache.path.strip("/"), f"project/{job.job_info.project_id}")
        self._folder = f"{scheme}://{'/'.join(filter(None, parts))}"

    def fetch(self, key: str, path: str) -> None:
        """Write the cache to a file."""
        content = self._call("GET", key)
        with open(path, "wb") as file:
            file.write(content)

    def keep(self, key: str, path: str) -> None:
        """Store the cache of a file."""
        with open(path, "rb") as file:
            self._call("PUT", key, file.read())

    def _call(self, method: str, key: str, body: bytes = b"") -> bytes:
        # A while that jobs without a cache need not wait for.
        import urllib3  # noqa: PLC0415
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        url = f"{self._folder}/{quote(key)}"
        request = AWSRequest(method, url, data=body)
        S3SigV4Auth(Credentials(*self._keys), "s3", self._region).add_auth(request)
        try:
            answer = urllib3.request(method, url, body=body, headers=dict(request.headers.items()))
        except urllib3.exceptions.HTTPError as exc:
            raise StoreError(str(exc)) from exc
        if answer.status != HTTPStatus.OK:
            raise StoreError(f"{method} {url}: {answer.status} {answer.reason}")
        return answer.data
