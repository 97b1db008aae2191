"""Brings artifacts to GitLab, and those of earlier jobs from it."""

import io
import json
import os
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Collection, Iterator
from typing import IO
from urllib.parse import urlencode

from local.stand_in import files
from local.stand_in.config import shorten
from local.stand_in.gitlab import JobServer, Reply
from local.stand_in.job import Artifact, Dependency, Job
from local.stand_in.stops import BuildError
from local.stand_in.variables import Variables

_TRIES, _TRIES_WHEN_UNAVAILABLE = 3, 6
_PIECE = 64 * 1024
_DENIED = {401: "unauthorized", 403: "forbidden", 404: "not found"}
_REFUSED = {403: "permission denied", 413: "too large", 503: "service unavailable"}


class Artifacts:
    """The artifacts of one job below `root`; `say` writes a line to its log."""

    def __init__(self, gitlab: JobServer, job: Job, root: str, say: Callable[[str], None]) -> None:
        self._gitlab = gitlab
        self._job = job
        self._root = root
        self._say = say

    def download(self, earlier: Dependency) -> None:
        """Unpack what an earlier job left. Raises `BuildError` when it cannot be had."""
        self._say(f"\033[32;1mDownloading artifacts for {earlier.name} ({earlier.id})...")
        reply = self._tried(lambda: self._gitlab.download_artifact(earlier.id, earlier.token), 200)
        facts = f"id={earlier.id} responseStatus={reply.text} token={shorten(earlier.token)}"
        if reply.status != 200:
            why = _DENIED.get(reply.status, "failed")
            self._fail(f"ERROR: Downloading artifacts from coordinator... {why}  {facts}")
        try:
            files.read_zip(io.BytesIO(reply.body), self._root)
        except (zipfile.BadZipFile, ValueError, OSError) as exc:
            self._fail(f"FATAL: {exc}")
        self._say(f"Downloading artifacts from coordinator... ok  {facts}")

    def upload(self, artifact: Artifact, variables: Variables) -> None:
        """Pack and send; no files is no failure. Raises `BuildError` when GitLab refuses."""
        self._say("\033[32;1mUploading artifacts...")
        paths = self._found(artifact, variables)
        if not paths:
            self._say("\033[31;1mERROR: No files to upload")
            return
        with tempfile.TemporaryFile() as packed:
            self._pack(packed, artifact.artifact_format, paths)
            reply = self._sent(artifact, packed, variables.expand(artifact.name))
        line = f'Uploading artifacts as "{artifact.artifact_type}" to coordinator... {_said(reply)}'
        line += f"  id={self._job.id} responseStatus={reply.text} token={shorten(self._job.token)}"
        if reply.status != 201:
            self._say(f"\033[31;1mERROR: {line}")
            self._fail(f"FATAL: {_REFUSED.get(reply.status, 'invalid argument')}")
        self._say(line)

    def _fail(self, line: str) -> None:
        self._say(f"\033[31;1m{line}")
        raise BuildError("exit status 1", exit_code=1)

    def _found(self, artifact: Artifact, variables: Variables) -> Collection[str]:
        excluded = [variables.expand(pattern) for pattern in artifact.exclude]
        named = files.find_all(self._root, map(variables.expand, artifact.paths), self._say)
        if artifact.untracked:
            untracked = files.find_untracked(self._root)
            self._say(f"untracked: found {len(untracked)} files")
            named.update(untracked)
        return sorted(path for path in named if not files.is_excluded(path, excluded))

    def _pack(self, target: IO[bytes], form: str, paths: Collection[str]) -> None:
        if form == "gzip":
            files.write_gzip(target, self._root, paths)
        elif form == "raw":
            with open(os.path.join(self._root, *list(paths)[:1]), "rb") as file:
                shutil.copyfileobj(file, target)
        else:
            files.write_zip(target, self._root, paths)

    def _sent(self, artifact: Artifact, packed: IO[bytes], name: str) -> Reply:
        kind, form = artifact.artifact_type, artifact.artifact_format
        usual = "artifacts" if kind in {"", "archive"} else kind
        ending = {"gzip": ".gz", "raw": ""}.get(form, ".zip")
        filename = (os.path.basename(name) or usual) + ending
        query = {"artifact_format": form, "artifact_type": kind, "expire_in": artifact.expire_in}
        text = urlencode({key: value for key, value in query.items() if value})
        boundary = uuid.uuid4().hex
        content_type = f"multipart/form-data; boundary={boundary}"

        def send() -> Reply:
            body = _multipart(packed, filename, boundary)
            return self._gitlab.upload_artifact(self._job, text, body, content_type)

        return self._tried(send, 201)

    def _tried(self, call: Callable[[], Reply], good: int) -> Reply:
        """The answer of the first try that went well or for good wrong, or of the last one."""
        reply, attempt = call(), 1
        while reply.status not in {good, 401, 403, 404, 413}:
            if attempt >= (_TRIES_WHEN_UNAVAILABLE if reply.status == 503 else _TRIES):
                break
            self._say(f"\033[0;33mWARNING: Retrying...  error={_said(reply)}")
            time.sleep(min(2.0 ** (attempt - 1), 5.0))
            reply, attempt = call(), attempt + 1
        return reply


def _said(reply: Reply) -> str:
    """The status with what GitLab says of a refusal: `400 Bad Request (Invalid Format)`."""
    if reply.status < 400:
        return reply.text
    try:
        return f"{reply.text} ({json.loads(reply.body)['message']})"
    except (ValueError, LookupError, TypeError):
        return reply.text


def _multipart(packed: IO[bytes], filename: str, boundary: str) -> Iterator[bytes]:
    packed.seek(0)
    disposition = f'form-data; name="file"; filename="{filename}"'
    yield f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode()
    yield b"Content-Type: application/octet-stream\r\n\r\n"
    while piece := packed.read(_PIECE):
        yield piece
    yield f"\r\n--{boundary}--\r\n".encode()
