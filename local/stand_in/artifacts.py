"""Sends a job's artifacts to GitLab, and fetches those of earlier jobs."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from local.stand_in import files
from local.stand_in.gitlab import JobServer, Reply
from local.stand_in.job import Artifact, Dependency, Job
from local.stand_in.shell import BuildError
from local.stand_in.variables import Variables

_RED = "\033[31;1m"


class Artifacts:
    """The artifacts of one job below `root`; `say` writes a line to its log."""

    def __init__(self, gitlab: JobServer, job: Job, root: str, say: Callable[[str], None]) -> None:
        self._gitlab = gitlab
        self._job = job
        self._root = root
        self._say = say

    def download(self, earlier: Dependency) -> None:
        """Unpack an earlier job's archive. Raises `BuildError` without a whole archive."""
        self._say(f"\033[32;1mDownloading artifacts for {earlier.name} ({earlier.id})...")
        reply = self._gitlab.download_artifact(earlier.id, earlier.token)
        line = f"Downloading artifacts from coordinator... {_status(reply)}  id={earlier.id}"
        if reply.status != 200:
            self._fail(f"ERROR: {line}")
        try:
            files.read_zip(io.BytesIO(reply.body), self._root)
        except (zipfile.BadZipFile, ValueError, OSError) as exc:
            self._fail(f"FATAL: {exc}")
        self._say(line)

    def upload(self, artifact: Artifact, variables: Variables) -> None:
        """Pack and send; no files is no failure. Raises `BuildError` when GitLab refuses."""
        self._say("\033[32;1mUploading artifacts...")
        paths = self._find(artifact, variables)
        if not paths:
            self._say(f"{_RED}ERROR: No files to upload")
            return
        kind, form = artifact.artifact_type, artifact.artifact_format
        usual = "artifacts" if kind in {"", "archive"} else kind
        ending = {"gzip": ".gz", "raw": ""}.get(form, ".zip")
        filename = (os.path.basename(variables.expand(artifact.name)) or usual) + ending
        query = {"artifact_format": form, "artifact_type": kind, "expire_in": artifact.expire_in}
        text = urlencode({key: value for key, value in query.items() if value})
        reply = self._gitlab.upload_artifact(self._job, text, filename, self._pack(form, paths))
        line = f'Uploading artifacts as "{kind}" to coordinator... {_status(reply)}'
        if reply.status != 201:
            self._fail(f"ERROR: {line}")
        self._say(line)

    def _fail(self, line: str) -> None:
        self._say(f"{_RED}{line}")
        raise BuildError("exit status 1", exit_code=1)

    def _find(self, artifact: Artifact, variables: Variables) -> Sequence[str]:
        named = files.find_all(self._root, map(variables.expand, artifact.paths), self._say)
        if artifact.untracked:
            untracked = files.find_untracked(self._root)
            self._say(f"untracked: found {len(untracked)} files")
            named.update(untracked)
        for pattern in artifact.exclude:
            named -= files.matches(self._root, variables.expand(pattern))
        return sorted(named)

    def _pack(self, form: str, paths: Sequence[str]) -> bytes:
        packed = io.BytesIO()
        if form == "gzip":
            files.write_gzip(packed, self._root, paths)
        elif form == "raw":
            with open(os.path.join(self._root, paths[0]), "rb") as file:
                shutil.copyfileobj(file, packed)
        else:
            files.write_zip(packed, self._root, paths)
        return packed.getvalue()


def _status(reply: Reply) -> str:
    """The status with GitLab's message of a refusal: `400 Bad Request (Invalid Format)`."""
    if reply.status < 400:
        return reply.text
    try:
        return f"{reply.text} ({json.loads(reply.body)['message']})"
    except (ValueError, LookupError, TypeError):
        return reply.text
