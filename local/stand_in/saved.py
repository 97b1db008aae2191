"""The files that a job keeps: its artifacts in GitLab, its caches in a folder and in S3."""

import gzip
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import urllib3

from local.stand_in import files
from local.stand_in.config import RunnerOptions
from local.stand_in.gitlab import Job, JobServer, Reply
from local.stand_in.shell import BuildError
from local.stand_in.variables import Variables

# An entry of the job's `artifacts` or `cache`.
Saved = Mapping[str, Any]

_GREEN, _YELLOW, _RED = "\033[32;1m", "\033[0;33m", "\033[31;1m"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFiles:
    """The artifacts and caches of one job; `say` writes a line to its log."""

    runner: RunnerOptions
    gitlab: JobServer
    job: Job
    variables: Variables
    say: Callable[[str], None]

    @property
    def _root(self) -> str:
        return self.variables.project

    def download(self, earlier: Mapping[str, Any]) -> None:
        """Unpack an earlier job's archive. Raises `BuildError` without a whole archive."""
        self.say(f"{_GREEN}Downloading artifacts for {earlier['name']} ({earlier['id']})...")
        reply = self.gitlab.download_artifact(earlier["id"], earlier["token"])
        self._expect(200, "Downloading artifacts from coordinator...", reply)
        try:
            files.read_zip(io.BytesIO(reply.body), self._root)
        except (zipfile.BadZipFile, OSError) as exc:
            self._fail(f"FATAL: {exc}")

    def upload(self, artifact: Saved) -> None:
        """Pack and send; no files is no failure. Raises `BuildError` when GitLab refuses."""
        self.say(f"{_GREEN}Uploading artifacts...")
        names = self._find(artifact)
        for pattern in artifact.get("exclude", ()):
            names -= files.matches(self._root, self.variables.expand(pattern))
        if not names:
            self.say(f"{_RED}ERROR: No files to upload")
            return
        kind, form = artifact["artifact_type"], artifact["artifact_format"]
        name = os.path.basename(self.variables.expand(artifact.get("name", "")))
        usual = "artifacts" if kind == "archive" else kind
        filename = (name or usual) + {"gzip": ".gz", "raw": ""}.get(form, ".zip")
        keys = ("artifact_format", "artifact_type", "expire_in")
        query = urlencode({key: artifact[key] for key in keys if artifact.get(key)})
        reply = self.gitlab.upload_artifact(self.job, query, filename, self._packed(form, names))
        self._expect(201, f'Uploading artifacts as "{kind}" to coordinator...', reply)

    def restore(self, cache: Saved) -> None:
        """Unpack the first of the keys that has a cache."""
        written = (cache["key"], *cache.get("fallback_keys", ()), "$CACHE_FALLBACK_KEY")
        key, *others = map(self._key, written)
        if not self._is_allowed(cache, "pull"):
            self.say(f"{_GREEN}Not downloading cache {key} due to policy")
            return
        for candidate in (key, *filter(None, others)):
            self.say(f"{_GREEN}Checking cache for {candidate}...")
            try:
                path = self._cache_file(candidate)
                if self.runner.cache:
                    path.write_bytes(self._call_s3("GET", candidate))
                files.read_zip(str(path), self._root)
            except (zipfile.BadZipFile, OSError) as exc:
                self.say(f"{_YELLOW}WARNING: {exc}")
                self.say(f"{_YELLOW}Failed to extract cache")
            else:
                self.say(f"{_GREEN}Successfully extracted cache")
                return

    def save(self, cache: Saved) -> None:
        """Pack what the cache names."""
        key = self._key(cache["key"])
        if not self._is_allowed(cache, "push"):
            self.say(f"{_GREEN}Not uploading cache {key} due to policy")
            return
        self.say(f"{_GREEN}Creating cache {key}...")
        try:
            path = self._cache_file(key)
            files.write_zip(str(path), self._root, self._find(cache))
            if self.runner.cache:
                self._call_s3("PUT", key, path.read_bytes())
        except OSError as exc:
            self.say(f"{_YELLOW}WARNING: {exc}")
            self.say(f"{_YELLOW}Failed to create cache")
        else:
            self.say(f"{_GREEN}Created cache")

    def _find(self, saved: Saved) -> set[str]:
        """The paths to save; says of each pattern how many."""
        names: set[str] = set()
        for pattern in map(self.variables.expand, saved.get("paths", ())):
            paths = files.find(self._root, pattern)
            names |= paths
            if paths:
                self.say(f"{pattern}: found {len(paths)} matching artifact files and directories")
            else:
                hint = "Ensure that the artifact path is relative to the working directory"
                self.say(f"{_YELLOW}WARNING: {pattern}: no matching files. {hint} ({self._root})")
        if saved.get("untracked"):
            paths = files.untracked(self._root)
            names |= paths
            self.say(f"untracked: found {len(paths)} files")
        return names

    def _packed(self, form: str, names: set[str]) -> bytes:
        """A zip; one gzip member per file for `gzip`; the first file itself for `raw`."""
        if form == "zip":
            packed = io.BytesIO()
            files.write_zip(packed, self._root, names)
            return packed.getvalue()
        paths = (Path(self._root, name) for name in sorted(names))
        contents = [path.read_bytes() for path in paths if path.is_file()]
        return contents[0] if form == "raw" else b"".join(map(gzip.compress, contents))

    def _expect(self, status: int, action: str, reply: Reply) -> None:
        if reply.status != status:
            self._fail(f"ERROR: {action} {reply.text} {reply.body.decode(errors='replace')}")
        self.say(f"{action} {reply.text}")

    def _fail(self, line: str) -> NoReturn:
        self.say(f"{_RED}{line}")
        raise BuildError("exit status 1", exit_code=1)

    def _key(self, written: str) -> str:
        return self.variables.expand(written).rstrip(" /\\")

    def _is_allowed(self, cache: Saved, direction: str) -> bool:
        return self.variables.expand(cache.get("policy", "")) in {"", "pull-push", direction}

    def _cache_file(self, key: str) -> Path:
        folder = Path(os.path.normpath(os.path.join(self.variables.cache, key)))
        if not folder.is_relative_to(self.variables.cache) or not key:
            raise OSError(f"invalid cache key {key!r}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "cache.zip"

    def _call_s3(self, method: str, key: str, body: bytes = b"") -> bytes:
        """The answer to a call for a cache's object. Raises `OSError` for what S3 refuses.

        Signed by botocore and sent without boto3, which the machines' images have no S3 for.
        """
        # A while that jobs without a cache need not wait for.
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        s3, region = self.runner.cache["s3"], self.runner.cache["s3"]["BucketLocation"]
        host = s3.get("ServerAddress", f"s3.{region}.amazonaws.com")
        project = f"project/{self.job['job_info']['project_id']}"
        parts = (host, s3["BucketName"], self.runner.cache["Path"], project, quote(key))
        url = f"{'http' if s3.get('Insecure') else 'https'}://{'/'.join(filter(None, parts))}"
        request = AWSRequest(method, url, data=body)
        keys = Credentials(s3["AccessKey"], s3["SecretKey"], s3["SessionToken"])
        S3SigV4Auth(keys, "s3", region).add_auth(request)
        try:
            answer = urllib3.request(method, url, body=body, headers=dict(request.headers.items()))
        except urllib3.exceptions.HTTPError as exc:
            raise OSError(str(exc)) from exc
        if answer.status != 200:
            raise OSError(f"{method} {url}: {answer.status} {answer.reason}")
        return answer.data
