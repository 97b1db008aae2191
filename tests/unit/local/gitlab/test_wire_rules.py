"""The API that gitlab-runner speaks, code by code and header by header.

Source: gitlab-runner, network/gitlab.go and common/spec/spec.go; GitLab, lib/api/ci/runner.rb.
"""

import gzip
import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.model import Job
from local.gitlab.states import Status
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

HOUR = timedelta(hours=1)


def test_an_unchanged_last_update_is_204_even_with_a_job_waiting(desk: Desk) -> None:
    runner = desk.register()
    desk.start()
    version = desk.world.ci.index.queue.version
    assert desk.ask(runner, last_update=version).status_code == 204
    assert desk.ask(runner, last_update="older").status_code == 201


def test_a_change_of_its_record_lets_a_waiting_runner_ask_again(desk: Desk) -> None:
    runner = desk.register("a", run_untagged=False)
    desk.start(job_spec("unit", tags=("b",)))
    version = desk.ask(runner).headers["x-gitlab-last-update"]
    assert desk.ask(runner, last_update=version).status_code == 204
    desk.answer("PUT", "/runners/1", json={"tag_list": ["a", "b"]})
    assert desk.ask(runner, last_update=version).status_code == 201


# --- the log


@pytest.mark.parametrize("span", [None, "", "bytes 0-2"])
def test_a_missing_or_foreign_content_range_is_400(desk: Desk, span: str | None) -> None:
    job = desk.running()
    assert desk.append(job, b"abc", span).status_code == 400
    assert not job.trace


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


def test_a_dotenv_report_becomes_variables_or_is_refused_whole(desk: Desk) -> None:
    job = desk.running()
    for text, status in ((b"A B=1", 400), (b"A=1\n", 201)):
        assert (job.dotenv, job.reports) == ({}, {})
        query = {"artifact_type": "dotenv", "artifact_format": "gzip"}
        assert upload(desk, job, gzip.compress(text), **query).status_code == status
    assert job.dotenv == {"A": "1"}


def test_an_upload_needs_a_file_and_its_own_token_in_a_header_or_the_form(desk: Desk) -> None:
    job, other = desk.running(job_spec("a")), desk.running(job_spec("b"))
    headers = {"JOB-TOKEN": job.token}
    path = f"/jobs/{job.id}/artifacts"
    assert desk.raw("POST", path, headers=headers, data={"x": "y"}).status_code == 400
    assert upload(desk, job, b"zip", token=other.token).status_code == 403
    assert job.artifacts is None
    files = {"file": ("a.zip", b"zip")}
    assert desk.raw("POST", path, data={"token": job.token}, files=files).status_code == 201


def test_a_running_job_of_another_project_downloads_nothing(desk: Desk) -> None:
    built = desk.running()
    upload(desk, built, b"zip")
    desk.project = desk.add_project("other")
    assert download(desk, built, desk.running().token).status_code == 404


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
