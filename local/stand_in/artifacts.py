"""Brings artifacts to GitLab, and those of earlier jobs from it."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import IO
from urllib.parse import urlencode

from local.stand_in import files
from local.stand_in.job import Artifact, Dependency, Job
from local.stand_in.options import shorten
from local.stand_in.protocol import Coordinator
from local.stand_in.stops import BuildError
from local.stand_in.variables import Variables
from local.stand_in.wire import Reply

_TRIES = 3
_TRIES_WHEN_UNAVAILABLE = 6
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 5.0
_PIECE = 64 * 1024
_JSON = "application/json"


class Artifacts:
    """The artifacts of one job; `say` writes a line to its log."""

    def __init__(
        self,
        coordinator: Coordinator,
        job: Job,
        *,
        say: Callable[[str], None],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._coordinator = coordinator
        self._job = job
        self._say = say
        self._pause = pause

    def download(self, dependency: Dependency, root: str) -> None:
        """Unpack what an earlier job left. Raises `BuildError` when it cannot be had."""
        self._say(f"\033[32;1mDownloading artifacts for {dependency.name} ({dependency.id})...")
        reply = self._tried(
            lambda: self._coordinator.download_artifact(dependency.id, dependency.token), (200,)
        )
        about = _about(dependency.id, reply, dependency.token)
        if reply.status != 200:
            why = {401: "unauthorized", 403: "forbidden", 404: "not found"}.get(
                reply.status, "failed"
            )
            self._say(f"\033[31;1mERROR: Downloading artifacts from coordinator... {why}  {about}")
            raise BuildError("exit status 1", exit_code=1)
        try:
            files.read_zip(io.BytesIO(reply.body), root)
        except (zipfile.BadZipFile, ValueError, OSError) as exc:
            self._say(f"\033[31;1mFATAL: {exc}")
            raise BuildError("exit status 1", exit_code=1) from exc
        self._say(f"Downloading artifacts from coordinator... ok  {about}")

    def upload(self, artifact: Artifact, root: str, variables: Variables) -> None:
        """Pack and send; nothing found is no failure. Raises `BuildError` when not taken."""
        self._say("\033[32;1mUploading artifacts...")
        paths = self._found(artifact, root, variables)
        if not paths:
            self._say("\033[31;1mERROR: No files to upload")
            return
        with tempfile.TemporaryFile() as packed:
            _pack(packed, artifact.format, root, paths)
            reply = self._sent(artifact, packed, variables.expand(artifact.name))
        answer = f"{reply.text}{_reason(reply)}"
        said = f'Uploading artifacts as "{artifact.type}" to coordinator... {answer}'
        about = _about(self._job.id, reply, self._job.token)
        if reply.status == 201:
            self._say(f"{said}  {about}")
            return
        why = {403: "permission denied", 413: "too large", 503: "service unavailable"}
        self._say(f"\033[31;1mERROR: {said}  {about}")
        self._say(f"\033[31;1mFATAL: {why.get(reply.status, 'invalid argument')}")
        raise BuildError("exit status 1", exit_code=1)

    def _found(self, artifact: Artifact, root: str, variables: Variables) -> list[str]:
        found: set[str] = set()
        excluded = [variables.expand(pattern) for pattern in artifact.exclude]
        for pattern in (variables.expand(path) for path in artifact.paths):
            hits = [p for p in files.find(root, pattern) if not files.is_excluded(p, excluded)]
            found.update(hits)
            self._say(_count(pattern, hits, root))
        if artifact.untracked:
            untracked = files.find_untracked(root)
            found.update(p for p in untracked if not files.is_excluded(p, excluded))
            self._say(f"untracked: found {len(untracked)} files")
        return sorted(found)

    def _sent(self, artifact: Artifact, packed: IO[bytes], name: str) -> Reply:
        ending = {"gzip": ".gz", "raw": ""}.get(artifact.format, ".zip")
        filename = (os.path.basename(name) or _default_name(artifact)) + ending
        boundary = uuid.uuid4().hex
        query = {"artifact_format": artifact.format, "artifact_type": artifact.type}
        if artifact.expire_in:
            query["expire_in"] = artifact.expire_in
        path = "artifacts?" + urlencode({key: value for key, value in query.items() if value})
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self._tried(
            lambda: self._coordinator.upload_artifact(
                self._job, path, lambda: _multipart(packed, filename, boundary), headers
            ),
            (201,),
        )

    def _tried(self, call: Callable[[], Reply], good: tuple[int, ...]) -> Reply:
        """The answer of the first try that went well or for good wrong, or of the last one."""
        pause_s = _PAUSE_S
        for attempt in range(1, _TRIES_WHEN_UNAVAILABLE + 1):
            reply = call()
            is_final = reply.status in (*good, 401, 403, 404, 413)
            most = _TRIES_WHEN_UNAVAILABLE if reply.status == 503 else _TRIES
            if is_final or attempt >= most:
                return reply
            self._say(f"\033[0;33mWARNING: Retrying...  error={reply.text}{_reason(reply)}")
            self._pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return reply


def _reason(reply: Reply) -> str:
    """What GitLab says of a refusal, as the real runner shows it: ` (Invalid Format)`."""
    if reply.status < 400 or not reply.headers.get("content-type", "").startswith(_JSON):
        return ""
    try:
        message = json.loads(reply.body)["message"]
    except (ValueError, LookupError, TypeError):
        return ""
    return f" ({message})"


def _about(job_id: int, reply: Reply, token: str) -> str:
    return f"id={job_id} responseStatus={reply.text} token={shorten(token)}"


def _count(pattern: str, hits: list[str], root: str) -> str:
    if hits:
        return f"{pattern}: found {len(hits)} matching artifact files and directories"
    return (
        f"\033[0;33mWARNING: {pattern}: no matching files. Ensure that the artifact path is "
        f"relative to the working directory ({root})"
    )


def _default_name(artifact: Artifact) -> str:
    return "artifacts" if artifact.type in {"", "archive"} else artifact.type


def _pack(target: IO[bytes], form: str, root: str, paths: list[str]) -> None:
    if form == "gzip":
        files.write_gzip(target, root, paths)
    elif form == "raw":
        with open(os.path.join(root, paths[0]), "rb") as file:
            target.write(file.read())
    else:
        files.write_zip(target, root, paths)


def _multipart(packed: IO[bytes], filename: str, boundary: str) -> Iterator[bytes]:
    packed.seek(0)
    disposition = f'form-data; name="file"; filename="{filename}"'
    yield f"--{boundary}\r\nContent-Disposition: {disposition}\r\n".encode()
    yield b"Content-Type: application/octet-stream\r\n\r\n"
    while piece := packed.read(_PIECE):
        yield piece
    yield f"\r\n--{boundary}--\r\n".encode()
