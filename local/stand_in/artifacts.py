"""Sends a job's artifacts to GitLab, and fetches those of earlier jobs."""

import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlencode

from local.stand_in import files
from local.stand_in.gitlab import JobServer, Reply
from local.stand_in.job import Artifact, Dependency, Job
from local.stand_in.shell import BuildError
from local.stand_in.variables import Variables

_RED = "\033[31;1m"


class Artifacts:
    """The artifacts of one job; `say` writes a line to its log."""

    def __init__(
        self, gitlab: JobServer, job: Job, variables: Variables, say: Callable[[str], None]
    ) -> None:
        self._gitlab, self._job, self._say = gitlab, job, say
        self._expand = variables.expand
        self._root = variables.places.project

    def download(self, earlier: Dependency) -> None:
        """Unpack an earlier job's archive. Raises `BuildError` without a whole archive."""
        self._say(f"\033[32;1mDownloading artifacts for {earlier.name} ({earlier.id})...")
        reply = self._gitlab.download_artifact(earlier.id, earlier.token)
        self._show("Downloading artifacts from coordinator...", reply, expected=200)
        try:
            files.read_zip(io.BytesIO(reply.body), self._root)
        except (zipfile.BadZipFile, ValueError, OSError) as exc:
            self._fail(f"FATAL: {exc}")

    def upload(self, artifact: Artifact) -> None:
        """Pack and send; no files is no failure. Raises `BuildError` when GitLab refuses."""
        self._say("\033[32;1mUploading artifacts...")
        names = files.find_all(self._root, artifact, self._expand, self._say)
        for pattern in artifact.exclude:
            names -= files.matches(self._root, self._expand(pattern))
        if not names:
            self._say(f"{_RED}ERROR: No files to upload")
            return
        kind, form = artifact.artifact_type, artifact.artifact_format
        usual = "artifacts" if kind in {"", "archive"} else kind
        ending = {"gzip": ".gz", "raw": ""}.get(form, ".zip")
        filename = (os.path.basename(self._expand(artifact.name)) or usual) + ending
        query = {"artifact_format": form, "artifact_type": kind, "expire_in": artifact.expire_in}
        text = urlencode({key: value for key, value in query.items() if value})
        content = self._packed(form, sorted(names))
        reply = self._gitlab.upload_artifact(self._job, text, filename, content)
        self._show(f'Uploading artifacts as "{kind}" to coordinator...', reply, expected=201)

    def _packed(self, form: str, names: Sequence[str]) -> bytes:
        """A zip; one gzip member per file for `gzip`; the first file itself for `raw`."""
        if form in {"gzip", "raw"}:
            paths = (Path(self._root, name) for name in names)
            contents = [path.read_bytes() for path in paths if path.is_file()]
            return contents[0] if form == "raw" else b"".join(map(gzip.compress, contents))
        packed = io.BytesIO()
        files.write_zip(packed, self._root, names)
        return packed.getvalue()

    def _show(self, action: str, reply: Reply, *, expected: int) -> None:
        """Write the answer to the log; a refusal with GitLab's message: `400 Bad Request (…)`."""
        if reply.status == expected:
            self._say(f"{action} {reply.text}")
            return
        try:
            why = f" ({json.loads(reply.body)['message']})"
        except (ValueError, LookupError, TypeError):
            why = ""
        self._fail(f"ERROR: {action} {reply.text}{why}")

    def _fail(self, line: str) -> None:
        self._say(f"{_RED}{line}")
        raise BuildError("exit status 1", exit_code=1)
