"""The runner API of GitLab, each call with what its answer means.

Source: gitlab-runner 17.9, `network/gitlab.go`.
"""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

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
_JSON = {"Content-Type": "application/json", "Accept": "application/json", **_AGENT}
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
_UPLOAD_RETRIES = _RETRIES.new(total=2, status_forcelist={500, 502, 503}, backoff_factor=0.5)


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
        text = self.headers.get("X-GitLab-Trace-Update-Interval", "")
        return min(int(text), _LONGEST_INTERVAL_S) if text.isdigit() else 0

    @property
    def is_canceling(self) -> bool:
        """Whether the script is to end, and after_script to run."""
        return self.headers.get("Job-Status") == "canceling"

    @property
    def offset(self) -> int:
        """The size of the log GitLab has, out of `Range: 0-<size>`; 0 when it does not say."""
        end = self.headers.get("Range", "").partition("-")[2]
        return int(end) if end.isdigit() else 0

    def result(self, results: Mapping[int, Result]) -> Result:
        """The meaning of the status, unless the job is over for GitLab."""
        if self.headers.get("Job-Status") in {"canceled", "failed"} or self.status == 403:
            return Result.ABORT
        return results.get(self.status, Result.FAILED)

    def fields(self) -> dict[str, object]:
        """The answer's fields in the process log; the interval in nanoseconds."""
        return {
            "code": self.status,
            "job-status": self.headers.get("Job-Status", ""),
            "update-interval": self.interval_s * 1_000_000_000,
        }


class JobServer:
    """GitLab, as one runner sees it; safe to use from several threads."""

    def __init__(self, runner: RunnerOptions, *, system_id: str, log: Log) -> None:
        self._base = f"{runner.url.rstrip('/').removesuffix('/ci')}/api/v4"
        self._pool = urllib3.PoolManager(
            maxsize=4, timeout=_TIMEOUT_S, ca_certs=runner.tls_ca_file or None
        )
        self._token = runner.token
        self._system_id = system_id
        self._log = log.having(runner=runner.short_token)
        self._last_update = ""
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

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def request_job(self) -> tuple[Job | None, bool]:
        """A job, if GitLab has one for this runner, and whether the runner may ask again."""
        question = {"info": self._info, "token": self._token, "system_id": self._system_id}
        if self._last_update:
            question["last_update"] = self._last_update
        headers = {**_JSON, "PRIVATE-TOKEN": self._token}
        reply = self._send("POST", "jobs/request", headers, json.dumps(question).encode())
        self._last_update = reply.headers.get("X-GitLab-Last-Update", self._last_update)
        if reply.status == 201:
            return self._received(reply), True
        if reply.status == 403:
            self._log.say("error", "Checking for jobs... forbidden", status=reply.text)
            return None, False
        if reply.status != 204:
            self._log.say("warning", "Checking for jobs... failed", status=reply.text)
        return None, True

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
        self,
        job: Job,
        state: str,
        output: Mapping[str, object],
        *,
        failure_reason: str = "",
        exit_code: int = 0,
    ) -> tuple[Result, Reply]:
        """Send the job's state: running, success or failed. `output`: checksum and bytesize."""
        ending = {"failure_reason": failure_reason, "exit_code": exit_code}
        body = {
            **{"info": self._info, "token": job.token, "state": state, "output": output},
            **{"checksum": output["checksum"]},
            **{key: value for key, value in ending.items() if value},
        }
        log = self._log.having(job=job.id, **output)
        log.say("info", "Updating job...")
        headers = {**_JSON, "PRIVATE-TOKEN": job.token}
        text = json.dumps(body, separators=(",", ":")).encode()
        reply = self._send("PUT", f"jobs/{job.id}", headers, text)
        result = reply.result({200: Result.OK, 404: Result.ABORT})
        level = "warning" if result in {Result.ABORT, Result.FAILED} else "info"
        log.say(level, f"Submitting job to coordinator...{result}", **reply.fields())
        return result, reply

    def patch_trace(self, job: Job, content: bytes, start: int) -> tuple[Result, Reply]:
        """Send the piece of the log that begins at `start`."""
        sent = f"{start}-{start + len(content) - 1}"
        headers = {"Content-Type": "text/plain", "Content-Range": sent, "JOB-TOKEN": job.token}
        path = f"jobs/{job.id}/trace?debug_trace=false"
        reply = self._send("PATCH", path, {**headers, **_AGENT}, content)
        result = reply.result({202: Result.OK, 404: Result.NOT_FOUND, 416: Result.MISMATCH})
        fields = {"job": job.id, "sent-log": sent, "job-log": reply.headers.get("Range", "")}
        self._log.say(
            "info" if result is Result.OK else "warning",
            f"Appending trace to coordinator...{result}",
            **{**fields, "status": reply.text, **reply.fields()},
        )
        return result, reply

    def upload_artifact(self, job: Job, query: str, filename: str, content: bytes) -> Reply:
        """Send one file of artifacts; `query` says what it is."""
        form = {"file": (filename, content, "application/octet-stream")}
        body, content_type = urllib3.encode_multipart_formdata(form)
        headers = {"Content-Type": content_type, "JOB-TOKEN": job.token, **_AGENT}
        path = f"jobs/{job.id}/artifacts?{query}"
        return self._send("POST", path, headers, body, retries=_UPLOAD_RETRIES)

    def download_artifact(self, job_id: int, token: str) -> Reply:
        """The archive of an earlier job."""
        path = f"jobs/{job_id}/artifacts?direct_download=true"
        headers = {"JOB-TOKEN": token, **_AGENT}
        return self._send("GET", path, headers, retries=_UPLOAD_RETRIES)

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        retries: urllib3.Retry = _RETRIES,
    ) -> Reply:
        address = f"{self._base}/{path}"
        try:
            answer = self._pool.request(
                method, address, body=body, headers=headers, retries=retries
            )
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            return Reply(status=-1, text=f"couldn't execute {method}: {exc}", headers={})
        return Reply(
            status=answer.status,
            text=f"{answer.status} {answer.reason or ''}".rstrip(),
            headers=answer.headers,
            body=answer.data,
        )
