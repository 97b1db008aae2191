"""The runner API of GitLab, each call with what its answer means.

Source: gitlab-runner 17.9, `network/gitlab.go`.
"""

from __future__ import annotations

import enum
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from local.stand_in.job import Job, JobError, read_job
from local.stand_in.log import Log
from local.stand_in.options import NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.wire import Reply, Wire

_FEATURES = (
    *("variables", "artifacts", "cache", "fallback_cache_keys", "shared", "refspecs", "masking"),
    *("upload_multiple_artifacts", "upload_raw_artifacts", "raw_variables", "artifacts_exclude"),
    *("multi_build_steps", "trace_reset", "trace_checksum", "trace_size", "cancelable"),
    *("return_exit_code", "cancel_gracefully"),
)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
USER_AGENT = f"{NAME} {VERSION} ({REVISION}; linux/{ARCHITECTURE})"
_JSON = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
_LONGEST_INTERVAL_S = 900


class UpdateState(enum.Enum):
    """What GitLab made of a job's state; the value is the word for the log."""

    SUCCEEDED = "ok"
    NOT_COMPLETED = "accepted, but not yet completed"
    TRACE_INVALID = "trace validation failed"
    ABORT = "job failed"
    FAILED = "failed"


class PatchState(enum.Enum):
    """What GitLab made of a piece of log; the value is the word for the log."""

    SUCCEEDED = "ok"
    RANGE_MISMATCH = "range mismatch"
    NOT_FOUND = "not-found"
    ABORT = "job failed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """How far a job is: the body of a `PUT /jobs/:id`."""

    state: str  # running | success | failed
    checksum: str
    bytesize: int
    failure_reason: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What every answer about a job may carry."""

    interval_s: float | None  # between two pieces of log
    is_canceling: bool  # end the script, then run after_script
    is_over: bool  # end everything


class Coordinator:
    """GitLab, as one runner sees it."""

    def __init__(self, runner: RunnerOptions, *, system_id: str, wire: Wire, log: Log) -> None:
        self._token = runner.token
        self._system_id = system_id
        self._wire = wire
        self._log = log.having({"runner": runner.short_token})
        self._last_update = ""
        self._info = {
            "name": NAME,
            "version": VERSION,
            "revision": REVISION,
            "platform": "linux",
            "architecture": ARCHITECTURE,
            "executor": "shell",
            "shell": runner.shell or "bash",
            "features": dict.fromkeys(_FEATURES, True),
            "config": {"gpus": ""},
        }

    def request_job(self) -> tuple[Job | None, bool]:
        """A job, if there is one for this runner, and whether the runner may go on asking."""
        asked = {"info": self._info, "token": self._token, "system_id": self._system_id}
        if self._last_update:
            asked["last_update"] = self._last_update
        headers = {**_JSON, "Accept": "application/json", "PRIVATE-TOKEN": self._token}
        body = json.dumps(asked).encode()
        reply = self._wire.send("POST", "jobs/request", body=body, headers=headers)
        self._last_update = reply.headers.get("x-gitlab-last-update", self._last_update)
        if reply.status == 201:
            return self._received(reply), True
        if reply.status == 403:
            self._log.error("Checking for jobs... forbidden", {"status": reply.text})
            return None, False
        if reply.status == 204:
            self._log.debug("Checking for jobs... no content", {"status": reply.text})
        else:
            self._log.warning("Checking for jobs... failed", {"status": reply.text})
        return None, True

    def _received(self, reply: Reply) -> Job | None:
        try:
            if not reply.headers.get("content-type", "").startswith("application/json"):
                raise JobError(f"server returned {reply.headers.get('content-type')!r}")
            job = read_job(reply.body)
        except JobError as exc:
            self._log.warning("Checking for jobs... failed", {"status": f"decoding: {exc}"})
            return None
        fields = {"job": job.id, "repo_url": job.git.clean_url}
        self._log.info("Checking for jobs... received", fields)
        return job

    def update_job(self, job: Job, state: JobState) -> tuple[UpdateState, Said]:
        """Tell how far the job is."""
        output = {"checksum": state.checksum, "bytesize": state.bytesize}
        told: dict[str, object] = {
            "info": self._info,
            "token": job.token,
            "state": state.state,
            "checksum": state.checksum,
            "output": output,
        }
        if state.failure_reason:
            told["failure_reason"] = state.failure_reason
        if state.exit_code:
            told["exit_code"] = state.exit_code
        log = self._log.having({"job": job.id, **output})
        log.info("Updating job...")
        headers = {**_JSON, "PRIVATE-TOKEN": job.token}
        body = json.dumps(told, separators=(",", ":")).encode()
        reply = self._wire.send("PUT", f"jobs/{job.id}", body=body, headers=headers)
        said, result = _said(reply), _update_state(reply)
        is_calm = result not in {UpdateState.ABORT, UpdateState.FAILED}
        message = f"Submitting job to coordinator...{result.value}"
        log.line("info" if is_calm else "warning", message, _about(reply, said))
        return result, said

    def patch_trace(
        self, job: Job, content: bytes, start: int, *, is_debug: bool = False
    ) -> tuple[PatchState, int, Said]:
        """Send a piece of log; the number is the offset to go on from."""
        sent = f"{start}-{start + len(content) - 1}"
        headers = {
            "Content-Type": "text/plain",
            "Content-Range": sent,
            "JOB-TOKEN": job.token,
            "User-Agent": USER_AGENT,
        }
        path = f"jobs/{job.id}/trace?debug_trace={str(is_debug).lower()}"
        reply = self._wire.send("PATCH", path, body=content, headers=headers)
        said, result = _said(reply), _patch_state(reply)
        fields = {"job": job.id, "sent-log": sent, "job-log": reply.headers.get("range", "")}
        fields |= {"status": reply.text, **_about(reply, said)}
        level = "info" if result is PatchState.SUCCEEDED else "warning"
        self._log.line(level, f"Appending trace to coordinator...{result.value}", fields)
        offsets = {
            PatchState.SUCCEEDED: start + len(content),
            PatchState.RANGE_MISMATCH: _end(reply),
        }
        return result, offsets.get(result, start), said

    def upload_artifact(
        self, job: Job, path: str, body: Callable[[], Iterable[bytes]], headers: Mapping[str, str]
    ) -> Reply:
        """Send one multipart body; `path` is below `jobs/:id/`."""
        headers = {**headers, "JOB-TOKEN": job.token, "User-Agent": USER_AGENT}
        return self._wire.send("POST", f"jobs/{job.id}/{path}", body=body, headers=headers)

    def download_artifact(self, job_id: int, token: str) -> Reply:
        """The archive of an earlier job, or a redirection to it."""
        headers = {"JOB-TOKEN": token, "User-Agent": USER_AGENT}
        path = f"jobs/{job_id}/artifacts?direct_download=true"
        return self._wire.send("GET", path, headers=headers)


def _said(reply: Reply) -> Said:
    status = reply.headers.get("job-status", "")
    interval = reply.headers.get("x-gitlab-trace-update-interval", "")
    usable = interval.isdigit() and int(interval) > 0
    return Said(
        interval_s=min(int(interval), _LONGEST_INTERVAL_S) if usable else None,
        is_canceling=status == "canceling",
        is_over=status in {"canceled", "failed"} or reply.status == 403,
    )


def _update_state(reply: Reply) -> UpdateState:
    if _said(reply).is_over or reply.status == 404:
        return UpdateState.ABORT
    states = {
        200: UpdateState.SUCCEEDED,
        202: UpdateState.NOT_COMPLETED,
        412: UpdateState.TRACE_INVALID,
    }
    return states.get(reply.status, UpdateState.FAILED)


def _patch_state(reply: Reply) -> PatchState:
    if _said(reply).is_over:
        return PatchState.ABORT
    states = {
        202: PatchState.SUCCEEDED,
        404: PatchState.NOT_FOUND,
        416: PatchState.RANGE_MISMATCH,
    }
    return states.get(reply.status, PatchState.FAILED)


def _end(reply: Reply) -> int:
    """The size GitLab has, out of `Range: 0-<size>`; 0 when it does not say."""
    end = reply.headers.get("range", "").partition("-")[2]
    return int(end) if end.isdigit() else 0


def _about(reply: Reply, said: Said) -> dict[str, object]:
    return {
        "code": reply.status,
        "job-status": reply.headers.get("job-status", ""),
        "update-interval": int((said.interval_s or 0) * 1_000_000_000),  # nanoseconds
    }
