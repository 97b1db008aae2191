"""The API that gitlab-runner speaks, code by code and header by header.

Source: gitlab-runner, network/gitlab.go and common/spec/spec.go; GitLab, lib/api/ci/runner.rb.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.gitlab.model import Job
from local.gitlab.options import Options
from local.gitlab.states import Status
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

TOKEN = "glrt-unknown"
HOUR = timedelta(hours=1)


def cancel(desk: Desk, job: Job) -> None:
    assert desk.call("POST", f"/projects/1/jobs/{job.id}/cancel").status_code == 201


# --- verify and request


def test_an_unchanged_last_update_is_204_even_with_a_job_waiting(desk: Desk) -> None:
    runner = desk.register()
    desk.start()
    version = desk.world.ci.index.queue.version
    assert desk.ask(runner, last_update=version).status_code == 204
    assert desk.ask(runner, last_update="older").status_code == 201


def test_the_depth_of_the_queue_leaves_out_the_job_itself(desk: Desk) -> None:
    desk.start(job_spec("a"), job_spec("b"), job_spec("c"))
    desk.world.clock.advance(timedelta(seconds=90))
    about = desk.ask(desk.register()).json()["job_info"]
    assert (about["queue_depth"], about["queue_size"]) == (2, 2)
    assert about["time_in_queue_seconds"] == 90


# --- the log


@pytest.mark.parametrize("start", [0, 2, 4, 99])
def test_another_start_than_the_stored_size_is_416_with_that_size(desk: Desk, start: int) -> None:
    job = desk.running()
    desk.append(job, b"abc", "0-2")
    answer = desk.append(job, b"xyz", f"{start}-{start + 2}")
    assert (answer.status_code, answer.headers["range"]) == (416, "0-3")
    assert answer.headers["job-status"] == "running"
    assert bytes(job.trace) == b"abc"


@pytest.mark.parametrize("span", [None, "", "abc", "0", "bytes 0-2", "0-2/3"])
def test_a_missing_or_foreign_content_range_is_400(desk: Desk, span: str | None) -> None:
    job = desk.running()
    assert desk.append(job, b"abc", span).status_code == 400
    assert not job.trace


@pytest.mark.parametrize(("size", "status"), [(10, 202), (11, 403)])
def test_a_log_may_be_as_large_as_the_limit_and_no_larger(
    tmp_path: Path, size: int, status: int
) -> None:
    with Desk(tmp_path, Options(trace_limit_bytes=10, trace_interval_s=60)) as desk:
        job = desk.running()
        touch = desk.report(job, "running")
        answer = desk.append(job, b"x" * size, f"0-{size - 1}")
        assert answer.status_code == status
        for item in (touch, answer):
            assert item.headers["x-gitlab-trace-update-interval"] == "60"
        assert (job.failure_reason == "trace_size_exceeded") is (status == 403)
        if status == 403:
            assert answer.headers["job-status"] == "failed"


# --- the state


@pytest.mark.parametrize("call", ["trace", "artifacts", "running", "pending", "canceled", ""])
def test_every_call_of_a_runner_is_a_sign_of_life_and_only_an_end_ends_the_job(
    desk: Desk, call: str
) -> None:
    job = desk.running()
    desk.world.clock.advance(HOUR)
    if call == "trace":
        assert desk.append(job, b"a", "0-0").status_code == 202
    elif call == "artifacts":
        assert upload(desk, job, b"zip").status_code == 201
    else:
        answer = desk.report(job, call, output={"checksum": "crc32:00000000", "bytesize": 0})
        assert (answer.status_code, answer.json()) == (200, 200)
        assert answer.headers["job-status"] == "running"
    assert job.status is Status.RUNNING
    assert job.heard_at is not None
    assert job.started_at is not None
    assert job.heard_at - job.started_at >= HOUR


@pytest.mark.parametrize(
    ("state", "reason", "code", "kept"),
    [
        ("failed", "runner_interrupted", 143, ("failed", "runner_interrupted", 143)),
        ("success", "script_failure", None, ("success", None, None)),
    ],
)
def test_a_failure_keeps_its_reason_and_code_and_a_success_has_no_reason(
    desk: Desk, state: str, reason: str, code: int | None, kept: tuple[Any, ...]
) -> None:
    job = desk.running()
    desk.report(job, state, failure_reason=reason, exit_code=code)
    assert (job.status, job.failure_reason, job.exit_code) == kept


@pytest.mark.parametrize("end", ["success", "failed", "canceled"])
def test_after_its_end_every_call_is_403_with_the_jobs_status(desk: Desk, end: str) -> None:
    job = desk.running()
    if end == "canceled":
        cancel(desk, job)
    else:
        desk.report(job, end)
    for answer in (
        desk.append(job, b"late", "0-3"),
        desk.report(job, "success"),
        upload(desk, job, b"late"),
    ):
        assert (answer.status_code, answer.headers["job-status"]) == (403, end)
    assert (job.status, bytes(job.trace)) == (end, b"")
    assert job.artifacts is None


# --- artifacts


def upload(desk: Desk, job: Job, content: bytes, token: str = "", **query: str) -> Any:
    return desk.raw(
        "POST",
        f"/jobs/{job.id}/artifacts",
        params={"artifact_format": "zip", "artifact_type": "archive", **query},
        files={"file": ("built.zip", content)},
        headers={"JOB-TOKEN": token or job.token},
    )


def download(desk: Desk, job: Job, token: str) -> Any:
    path = f"/jobs/{job.id}/artifacts?direct_download=true"
    return desk.raw("GET", path, headers={"JOB-TOKEN": token})


def test_an_upload_can_be_downloaded_with_its_own_token_after_the_end(desk: Desk) -> None:
    job = desk.running()
    assert upload(desk, job, b"zip", expire_in="1 week").status_code == 201
    desk.report(job, "success")
    answer = download(desk, job, job.token)
    assert (answer.status_code, answer.content) == (200, b"zip")
    assert "built.zip" in answer.headers["content-disposition"]


def test_a_report_is_taken_but_is_no_archive(desk: Desk) -> None:
    job = desk.running()
    sent = upload(desk, job, b"gz", artifact_type="junit", artifact_format="gzip")
    assert sent.status_code == 201
    assert download(desk, job, job.token).status_code == 404
    (shown,) = desk.answer("GET", f"/projects/1/jobs/{job.id}")["artifacts"]
    assert shown == {
        "file_type": "junit",
        "size": 2,
        "filename": "built.zip",
        "file_format": "gzip",
    }


@pytest.mark.parametrize(
    "query",
    [
        {"artifact_type": "sbom", "artifact_format": "gzip"},
        {"artifact_type": "junit", "artifact_format": "zip"},
        {"expire_in": "soon"},
    ],
)
def test_an_upload_of_an_unknown_kind_is_400(desk: Desk, query: dict[str, str]) -> None:
    job = desk.running()
    assert upload(desk, job, b"x", **query).status_code == 400
    assert desk.answer("GET", f"/projects/1/jobs/{job.id}")["artifacts"] == []


@pytest.mark.parametrize(
    ("expire_in", "days"), [("1 week", 7), ("", 30), ("never", None), ("0", None)]
)
def test_artifacts_expire_after_the_time_of_the_upload(
    desk: Desk, expire_in: str, days: int | None
) -> None:
    job = desk.running()
    assert upload(desk, job, b"x", expire_in=expire_in).status_code == 201
    at = job.artifacts_expire_at
    assert (at and (at - desk.world.clock.now()).days + 1) == days


def dotenv(desk: Desk, job: Job, text: str | bytes) -> Any:
    content = gzip.compress(text if isinstance(text, bytes) else text.encode())
    return upload(desk, job, content, artifact_type="dotenv", artifact_format="gzip")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=1\nB=two words\r\n", {"A": "1", "B": "two words"}),
        ("A=x=y\n A = 2 \n", {"A": "2"}),
        ("A=\n", {"A": ""}),
        ('A="quoted" # no comment', {"A": '"quoted" # no comment'}),
        (b"\xef\xbb\xbfA=1\n", {"A": "1"}),
        ("".join(f"V{n}={n}\n" for n in range(20)), {f"V{n}": str(n) for n in range(20)}),
        ("", {}),
    ],
)
def test_a_dotenv_report_becomes_variables(
    desk: Desk, text: str, variables: dict[str, str]
) -> None:
    job = desk.running()
    assert dotenv(desk, job, text).status_code == 201
    assert job.dotenv == variables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\nB=2\n", "Invalid Format"),
        ("# comment\n", "Invalid Format"),
        ("export A", "Invalid Format"),
        ("A B=1", "Validation failed: Key can contain only letters, digits and '_'."),
        ("=1", "Validation failed: Key can contain only letters, digits and '_'."),
        ("A=" + "x" * 5118, "Dotenv Artifact Too Big. Maximum Allowable Size: 5120"),
        (
            "".join(f"V{n}={n}\n" for n in range(21)),
            "Dotenv files cannot have more than 20 variables",
        ),
    ],
)
def test_a_dotenv_report_that_breaks_a_rule_is_400(desk: Desk, text: str, message: str) -> None:
    job = desk.running()
    refused = dotenv(desk, job, text)
    assert (refused.status_code, refused.json()) == (400, {"message": message})
    assert (job.dotenv, job.reports) == ({}, {})


def test_an_upload_needs_a_file_and_its_own_token_in_a_header_or_the_form(desk: Desk) -> None:
    job, other = desk.running(job_spec("a")), desk.running(job_spec("b"))
    headers = {"JOB-TOKEN": job.token}
    path = f"/jobs/{job.id}/artifacts"
    assert desk.raw("POST", path, headers=headers, data={"x": "y"}).status_code == 400
    assert upload(desk, job, b"zip", token=other.token).status_code == 403
    assert job.artifacts is None
    files = {"file": ("a.zip", b"zip")}
    assert desk.raw("POST", path, data={"token": job.token}, files=files).status_code == 201


def test_a_running_job_of_the_project_downloads_artifacts(desk: Desk) -> None:
    built = desk.running(job_spec("build", "build"), job_spec("use", "test"))
    upload(desk, built, b"zip")
    desk.report(built, "success")
    asker = desk.world.ci.jobs[2]
    assert download(desk, built, "glcbt-64_wrong").status_code == 401
    assert download(desk, built, asker.token).status_code == 403  # it does not run yet
    assert desk.ask(desk.register()).status_code == 201
    assert download(desk, built, asker.token).content == b"zip"
    assert download(desk, asker, asker.token).status_code == 404  # it has none
    desk.project = desk.add_project("other")
    assert download(desk, built, desk.running().token).status_code == 404  # another project


def test_people_fetch_the_archive_or_one_file_of_it(desk: Desk) -> None:
    job = desk.running()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("out/result.txt", "42")
    upload(desk, job, packed.getvalue())
    path = f"/projects/1/jobs/{job.id}/artifacts"
    assert desk.call("GET", path).content == packed.getvalue()
    assert desk.call("GET", f"{path}/out/result.txt").text == "42"
    assert desk.call("GET", f"{path}/out/none.txt").status_code == 404
    assert desk.call("DELETE", path).status_code == 204
    assert desk.call("GET", path).status_code == 404
    assert desk.call("GET", f"{path}/out/result.txt").status_code == 404


# --- a runner's own record


def test_a_token_in_query_body_or_header_deletes_the_whole_runner(desk: Desk) -> None:
    body, query, header = desk.register(), desk.register(), desk.register()
    assert desk.raw("DELETE", f"/runners?token={query.token}").status_code == 204
    assert desk.raw("DELETE", "/runners", json={"token": body.token}).status_code == 204
    named = desk.raw("DELETE", "/runners", headers={"RUNNER-TOKEN": header.token})
    assert named.status_code == 204
    assert not desk.world.runners.by_id
    assert desk.raw("DELETE", f"/runners?token={query.token}").status_code == 403


def test_a_machine_is_deleted_by_its_system_id_alone(desk: Desk) -> None:
    runner = desk.register()
    for name in ("s_1", "s_2"):
        desk.ask(runner, system_id=name)
    gone = {"token": runner.token, "system_id": "s_1"}
    assert desk.raw("DELETE", "/runners/managers", json=gone).status_code == 204
    assert desk.raw("DELETE", "/runners/managers", json=gone).status_code == 404
    assert desk.raw("DELETE", "/runners/managers", json={"token": runner.token}).status_code == 400
    assert desk.raw("DELETE", "/runners/managers", json={"token": TOKEN}).status_code == 403
    assert list(runner.managers) == ["s_2"]
    assert desk.world.runners.by_token(runner.token) is runner


def test_a_reset_replaces_the_token(desk: Desk) -> None:
    old = desk.register().token
    path = "/runners/reset_authentication_token"
    answer = desk.raw("POST", path, json={"token": old})
    assert (answer.status_code, answer.json()["token_expires_at"]) == (201, None)
    assert answer.json()["token"].startswith("glrt-")
    assert desk.raw("POST", path, json={"token": old}).status_code == 403


def test_registration_and_router_are_not_offered(desk: Desk) -> None:
    assert desk.raw("POST", "/runners", json={"token": "GR1348941x"}).status_code == 410
    assert desk.raw("GET", "/runners/router/discovery").status_code == 501


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
def test_a_body_that_is_no_object_is_400(desk: Desk, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = desk.raw("POST", "/jobs/request", headers=headers, content=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("400 Bad request")


def test_the_job_token_counts_in_the_header_before_the_body(desk: Desk) -> None:
    job = desk.running()
    body = {"token": "glcbt-64_wrong", "state": "running"}
    named = desk.raw("PUT", f"/jobs/{job.id}", headers={"JOB-TOKEN": job.token}, json=body)
    assert named.status_code == 200
    wrong = {"JOB-TOKEN": "glcbt-64_wrong"}
    answer = desk.raw("PUT", f"/jobs/{job.id}", headers=wrong, json={"token": job.token})
    assert answer.status_code == 403
