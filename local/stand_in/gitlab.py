"""The runner API of GitLab, each call with what its answer means.

Source: gitlab-runner 17.9, `network/gitlab.go`.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from local.stand_in.config import ARCHITECTURE, NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.job import DecodeError, Job, read_job
from local.stand_in.log import Log

_FEATURES = (
    *("variables", "artifacts", "cache", "fallback_cache_keys", "shared", "refspecs", "masking"),
    *("upload_multiple_artifacts", "upload_raw_artifacts", "raw_variables", "artifacts_exclude"),
    *("multi_build_steps", "trace_reset", "trace_checksum", "trace_size", "cancelable"),
    *("return_exit_code", "cancel_gracefully"),
)
_AGENT = {"User-Agent": f"{NAME} {VERSION} ({REVISION}; linux/{ARCHITECTURE})"}
_TIMEOUT_S = 600  # long enough for a long poll and a slow upload
_LONGEST_INTERVAL_S = 900


class _Retry(urllib3.Retry):
    RETRY_AFTER_STATUS_CODES = frozenset({429})


# The caller sends a piece of log or a state again by itself; an upload is worth more tries.
_RETRIES = _Retry(
    total=5,
    connect=0,
    read=0,
    allowed_methods=None,
    raise_on_status=False,
    remove_headers_on_redirect=["JOB-TOKEN", "PRIVATE-TOKEN"],
)
_FILE_RETRIES = _RETRIES.new(total=2, status_forcelist={500, 502, 503}, backoff_factor=0.5)


class Result(enum.StrEnum):
    """How GitLab answers a job's state or a piece of its log; the value is the log's word."""

    OK = "ok"
    MISMATCH = "range mismatch"
    NOT_FOUND = "not-found"
    ABORT = "job failed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer; status -1 for none, with the cause as `text`."""

    status: int
    text: str  # such as `202 Accepted`
    headers: Mapping[str, str]  # names in any case
    body: bytes = b""

    @property
    def interval_s(self) -> int:
        """Between two pieces of log, as GitLab wishes; 0 when it does not say."""
        return min(_whole(self.headers.get("X-GitLab-Trace-Update-Interval")), _LONGEST_INTERVAL_S)

    @property
    def job_status(self) -> str:
        """GitLab's word for a job that is to end: canceling, canceled, failed; else ""."""
        return self.headers.get("Job-Status", "")

    @property
    def offset(self) -> int:
        """The size of the log GitLab has, out of `Range: 0-<size>`; 0 when it does not say."""
        return _whole(self.headers.get("Range", "").partition("-")[2])

    def result(self, results: Mapping[int, Result]) -> Result:
        """The meaning of the status, unless the job is over for GitLab."""
        if self.job_status in {"canceled", "failed"} or self.status == 403:
            return Result.ABORT
        return results.get(self.status, Result.FAILED)


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


class JobServer:
    """GitLab, as one runner sees it; safe to use from several threads."""

    def __init__(self, runner: RunnerOptions, *, system_id: str, log: Log) -> None:
        self._base = f"{runner.url.rstrip('/').removesuffix('/ci')}/api/v4"
        self._pool = urllib3.PoolManager(
            maxsize=4, timeout=_TIMEOUT_S, ca_certs=runner.tls_ca_file or None
        )
        self._log = log.having(runner=runner.short_token)
        self._info = {
            "name": NAME,
            "version": VERSION,
            "revision": REVISION,
            "platform": "linux",
            "architecture": ARCHITECTURE,
            "executor": "shell",
            "shell": runner.shell,
            "features": dict.fromkeys(_FEATURES, True),
            "config": {"gpus": ""},
        }
        self.system_id = system_id
        self._question = {"info": self._info, "token": runner.token, "system_id": system_id}

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def request_job(self) -> tuple[Job | None, bool]:
        """A job, if GitLab has one for this runner, and whether the runner may ask again."""
        reply = self._send_json("POST", "jobs/request", self._question)
        if cursor := reply.headers.get("X-GitLab-Last-Update"):
            self._question["last_update"] = cursor
        if reply.status == 201:
            return self._received(reply), True
        if reply.status == 403:
            self._log.say("error", "Checking for jobs... forbidden", status=reply.text)
        elif reply.status != 204:
            self._log.say("warning", "Checking for jobs... failed", status=reply.text)
        return None, reply.status != 403

    def _received(self, reply: Reply) -> Job | None:
        try:
            if not reply.headers.get("Content-Type", "").startswith("application/json"):
                raise DecodeError("the answer is no JSON")
            job = read_job(reply.body)
        except DecodeError as exc:
            self._log.say("warning", "Checking for jobs... failed", status=f"decoding: {exc}")
            return None
        url = job.git_info.clean_url
        self._log.say("info", "Checking for jobs... received", job=job.id, repo_url=url)
        return job

    def update_job(
        self, job: Job, state: str, output: Mapping[str, object], **ending: str | int
    ) -> tuple[Result, Reply]:
        """Send the job's state: running, success or failed.

        `output`: checksum and bytesize. `ending`: failure_reason and exit_code, unless empty.
        """
        checksum = output["checksum"]
        body: dict[str, object] = {"info": self._info, "token": job.token, "state": state}
        body |= {"output": output, "checksum": checksum}
        body |= {key: value for key, value in ending.items() if value}
        reply = self._send_json("PUT", f"jobs/{job.id}", body)
        result = reply.result({200: Result.OK, 404: Result.ABORT})
        self._log_update("Submitting job to", result, reply, job=job.id, **output)
        return result, reply

    def patch_trace(self, job: Job, content: bytes, start: int) -> tuple[Result, Reply]:
        """Send the piece of the log that begins at `start`."""
        sent = f"{start}-{start + len(content) - 1}"
        headers = {"Content-Type": "text/plain", "Content-Range": sent, "JOB-TOKEN": job.token}
        reply = self._send("PATCH", f"jobs/{job.id}/trace?debug_trace=false", headers, content)
        result = reply.result({202: Result.OK, 404: Result.NOT_FOUND, 416: Result.MISMATCH})
        self._log_update("Appending trace to", result, reply, job=job.id, **{"sent-log": sent})
        return result, reply

    def upload_artifact(self, job: Job, query: str, filename: str, content: bytes) -> Reply:
        """Send one file of artifacts; `query` says what it is."""
        form = {"file": (filename, content, "application/octet-stream")}
        body, content_type = urllib3.encode_multipart_formdata(form)
        headers = {"Content-Type": content_type, "JOB-TOKEN": job.token}
        path = f"jobs/{job.id}/artifacts?{query}"
        return self._send("POST", path, headers, body, retries=_FILE_RETRIES)

    def download_artifact(self, job_id: int, token: str) -> Reply:
        """The archive of an earlier job."""
        path = f"jobs/{job_id}/artifacts?direct_download=true"
        return self._send("GET", path, {"JOB-TOKEN": token}, retries=_FILE_RETRIES)

    def _log_update(self, action: str, result: Result, reply: Reply, **fields: object) -> None:
        level = "info" if result in {Result.OK, Result.MISMATCH} else "warning"
        answer = {"code": reply.status, "status": reply.text, "job-status": reply.job_status}
        self._log.say(level, f"{action} coordinator...{result}", **fields, **answer)

    def _send_json(self, method: str, path: str, body: Mapping[str, Any]) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        headers["PRIVATE-TOKEN"] = body["token"]
        return self._send(method, path, headers, json.dumps(body).encode())

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        retries: urllib3.Retry = _RETRIES,
    ) -> Reply:
        url, headers = f"{self._base}/{path}", {**headers, **_AGENT}
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, retries=retries)
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            return Reply(status=-1, text=f"couldn't execute {method}: {exc}", headers={})
        text = f"{answer.status} {answer.reason or ''}".rstrip()
        return Reply(status=answer.status, text=text, headers=answer.headers, body=answer.data)
