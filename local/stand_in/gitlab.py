"""The runner API of GitLab, each call with what its answer means.

Source: gitlab-runner 17.9, `network/gitlab.go`.
"""

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import urllib3

from local.stand_in.config import ARCHITECTURE, NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.log import say

# A job as GitLab hands it out: the answer's JSON without its nulls.
Job = Mapping[str, Any]

_FEATURES = (
    *("variables", "artifacts", "cache", "fallback_cache_keys", "shared", "refspecs", "masking"),
    *("upload_multiple_artifacts", "upload_raw_artifacts", "raw_variables", "artifacts_exclude"),
    *("multi_build_steps", "trace_reset", "trace_checksum", "trace_size", "cancelable"),
    *("return_exit_code", "cancel_gracefully"),
)
_TIMEOUT_S = 600  # long enough for a long poll and a slow upload
# Of a file. A piece of log or a state is sent again by its sender.
_TRIES = urllib3.Retry(
    total=2,
    allowed_methods=None,
    status_forcelist={500, 502, 503},
    backoff_factor=0.5,
    raise_on_status=False,
)


class Result(enum.StrEnum):
    """How GitLab answers a job's state or a piece of its log; the value is the log's word."""

    OK = "ok"
    MISMATCH = "range mismatch"
    ABORT = "job failed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; status -1 for none, with the cause as `text`."""

    status: int
    text: str  # such as `202 Accepted`
    headers: Mapping[str, str] = field(default_factory=dict)  # names in any case
    body: bytes = b""

    @property
    def result(self) -> Result:
        """The meaning for the job."""
        if self.job_status in {"canceled", "failed"} or self.status in {403, 404}:
            return Result.ABORT
        results = {200: Result.OK, 202: Result.OK, 416: Result.MISMATCH}
        return results.get(self.status, Result.FAILED)

    @property
    def job_status(self) -> str:
        """GitLab's word for a job that is to end: canceling, canceled, failed; else ""."""
        return self.headers.get("Job-Status", "")


class JobServer:
    """GitLab, as one runner sees it; safe to use from several threads."""

    def __init__(
        self, runner: RunnerOptions, *, system_id: str, log: Callable[..., None] = say
    ) -> None:
        self._base = f"{runner.url.rstrip('/')}/api/v4"
        self._pool = urllib3.PoolManager(
            maxsize=4, timeout=_TIMEOUT_S, ca_certs=runner.tls_ca_file or None
        )
        self._log = partial(log, runner=runner.short_token)
        self._info = {
            "name": NAME,
            "version": VERSION,
            "revision": REVISION,
            "platform": "linux",
            "architecture": ARCHITECTURE,
            "executor": runner.executor,
            "shell": runner.shell,
            "features": dict.fromkeys(_FEATURES, True),
        }
        self.system_id = system_id
        self._question = {"info": self._info, "token": runner.token, "system_id": system_id}

    def request_job(self) -> tuple[Job | None, bool]:
        """A job, if GitLab has one for this runner, and whether the runner may ask again."""
        reply = self._send_json("POST", "jobs/request", self._question)
        if cursor := reply.headers.get("X-GitLab-Last-Update"):
            self._question["last_update"] = cursor
        job = _read_job(reply) if reply.status == 201 else None
        if job is not None:
            fields = {"job": job["id"], "repo_url": clean_url(job)}
            self._log("info", "Checking for jobs... received", **fields)
        elif reply.status == 403:
            self._log("error", "Checking for jobs... forbidden", status=reply.text)
        elif reply.status != 204:
            self._log("warning", "Checking for jobs... failed", status=reply.text)
        return job, reply.status != 403

    def update_job(
        self, job: Job, state: str, output: Mapping[str, object], **ending: str | int
    ) -> Reply:
        """Send the job's state: running, success or failed.

        `output`: checksum and bytesize. `ending`: failure_reason and exit_code, unless empty.
        """
        body = {"info": self._info, "token": job["token"], "state": state, "output": output}
        body |= {key: value for key, value in ending.items() if value}
        reply = self._send_json("PUT", f"jobs/{job['id']}", body)
        self._log_update("Submitting job to", reply, job=job["id"], **output)
        return reply

    def patch_trace(self, job: Job, content: bytes, start: int) -> Reply:
        """Send the piece of the log that begins at `start`."""
        sent = f"{start}-{start + len(content) - 1}"
        headers = {"Content-Type": "text/plain", "Content-Range": sent, "JOB-TOKEN": job["token"]}
        reply = self._send("PATCH", f"jobs/{job['id']}/trace?debug_trace=false", headers, content)
        self._log_update("Appending trace to", reply, job=job["id"], **{"sent-log": sent})
        return reply

    def upload_artifact(self, job: Job, query: str, filename: str, content: bytes) -> Reply:
        """Send one file of artifacts; `query` says what it is."""
        form = {"file": (filename, content, "application/octet-stream")}
        body, content_type = urllib3.encode_multipart_formdata(form)
        headers = {"Content-Type": content_type, "JOB-TOKEN": job["token"]}
        path = f"jobs/{job['id']}/artifacts?{query}"
        return self._send("POST", path, headers, body, retries=_TRIES)

    def download_artifact(self, job_id: int, token: str) -> Reply:
        """The archive of an earlier job."""
        path = f"jobs/{job_id}/artifacts?direct_download=true"
        return self._send("GET", path, {"JOB-TOKEN": token}, retries=_TRIES)

    def _log_update(self, action: str, reply: Reply, **fields: object) -> None:
        level = "info" if reply.result in {Result.OK, Result.MISMATCH} else "warning"
        answer = {"code": reply.status, "status": reply.text, "job-status": reply.job_status}
        self._log(level, f"{action} coordinator...{reply.result}", **fields, **answer)

    def _send_json(self, method: str, path: str, body: Mapping[str, Any]) -> Reply:
        headers = {"Content-Type": "application/json", "PRIVATE-TOKEN": body["token"]}
        return self._send(method, path, headers, json.dumps(body).encode())

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        retries: urllib3.Retry | bool = False,
    ) -> Reply:
        url = f"{self._base}/{path}"
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, retries=retries)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            return Reply(status=-1, text=f"couldn't execute {method}: {exc}")
        text = f"{answer.status} {answer.reason or ''}".rstrip()
        return Reply(status=answer.status, text=text, headers=answer.headers, body=answer.data)


def clean_url(job: Job) -> str:
    """The address of the job's sources, without credentials."""
    scheme, slashes, rest = str(job["git_info"]["repo_url"]).partition("://")
    return scheme + slashes + rest.rpartition("@")[2]


def _read_job(reply: Reply) -> Job | None:
    """The job in an answer; None where the real runner loses it."""
    is_json = reply.headers.get("Content-Type", "").startswith("application/json")
    try:
        job: Job = json.loads(reply.body if is_json else b"{}", object_hook=_without_nulls)
    except json.JSONDecodeError:
        return None
    return job if isinstance(job.get("id"), int) else None


def _without_nulls(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}
