"""GitLab's promises about jobs and pipelines over REST.

Source: GitLab docs, "Jobs API", "Pipelines API", "REST API: pagination".
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.model import Role
from local.gitlab.states import Status
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

JOBS = "/projects/1/jobs"


def ids(items: Any) -> list[int]:
    return [item["id"] for item in items]


def many(desk: Desk, count: int) -> None:
    desk.start(*(job_spec(f"unit {n}") for n in range(count)))


# --- lists


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sort=asc", [1, 2, 3]),
        ("scope[]=pending", [3]),
        ("scope=running", [2]),
        ("scope[]=success&scope[]=pending", [3, 1]),
        ("scope[]=canceled", []),
        ("", [3, 2, 1]),
    ],
)
def test_jobs_are_listed_by_descending_id_and_scope(
    desk: Desk, query: str, expected: list[int]
) -> None:
    many(desk, 3)
    runner = desk.register()
    for _ in range(2):
        desk.ask(runner)
    desk.report(desk.world.ci.jobs[1], "success")
    assert ids(desk.answer("GET", f"{JOBS}?{query}")) == expected


@pytest.mark.parametrize(
    "query",
    [
        *("scope[]=waiting", "scope=Pending", "scope[]=pending&scope[]=x", "per_page=0"),
        *("per_page=x", "page=0", "pagination=keyset&cursor=x"),
    ],
)
def test_a_wrong_parameter_is_400(desk: Desk, query: str) -> None:
    assert desk.call("GET", f"{JOBS}?{query}").status_code == 400


# --- one job


def test_a_running_job_names_its_runner_also_when_the_machine_is_removed(desk: Desk) -> None:
    job = desk.running()
    desk.world.clock.advance(timedelta(seconds=5))
    shown = desk.answer("GET", f"{JOBS}/{job.id}")
    assert (shown["runner"]["id"], shown["runner_manager"]["system_id"]) == (1, "s_0123456789ab")
    assert shown["duration"] >= 5
    assert shown["queued_duration"] < 5
    assert shown["pipeline"]["status"] == "running"
    assert job.runner is not None
    job.runner.managers.clear()
    shown = desk.answer("GET", f"{JOBS}/{job.id}")
    assert (shown["runner"]["id"], shown["runner_manager"]) == (1, None)


def test_a_job_of_another_project_is_a_404(desk: Desk) -> None:
    desk.start()
    desk.world.accounts.add_project(
        "other", name="Other", group=desk.group, at=desk.world.clock.now()
    )
    assert desk.call("GET", "/projects/2/jobs/1").status_code == 404
    assert desk.call("GET", "/projects/acme%2Fdemo/jobs/1").status_code == 200
    assert desk.call("GET", "/projects/acme%2Fnone/jobs/1").status_code == 404
    assert desk.call("GET", f"{JOBS}/x").status_code == 400


# --- actions


@pytest.mark.parametrize("verb", ["retry", "cancel", "play", "erase"])
def test_an_action_on_a_job_needs_a_developer_and_the_scope_api(desk: Desk, verb: str) -> None:
    job = desk.running()
    desk.report(job, "failed")
    _, reporter = desk.person(Role.REPORTER)
    _, reader = desk.person(Role.MAINTAINER, "read_api")
    _, stranger = desk.person()
    path = f"{JOBS}/{job.id}/{verb}"
    assert desk.call("POST", path, token=reporter).status_code == 403
    assert desk.call("POST", path, token=reader).status_code == 403
    assert desk.call("POST", path, token=stranger).status_code == 404
    assert desk.call("POST", path, token="glpat-none").status_code == 401


@pytest.mark.parametrize("end", ["success", "failed", "canceled"])
def test_a_retry_is_201_with_a_new_job_and_the_old_one_never_runs_again(
    desk: Desk, end: str
) -> None:
    job = desk.running(job_spec("unit", tags=()))
    if end == "canceled":
        desk.call("POST", f"{JOBS}/{job.id}/cancel")
    else:
        desk.report(job, end)
    _, token = desk.person(Role.DEVELOPER)
    answer = desk.call("POST", f"{JOBS}/{job.id}/retry", token=token)
    assert (answer.status_code, answer.json()["id"]) == (201, job.id + 1)
    assert (answer.json()["status"], answer.json()["name"]) == ("pending", "unit")
    assert answer.json()["user"]["username"] == "user1"
    again = desk.call("POST", f"{JOBS}/{job.id}/retry")
    assert (again.status_code, again.json()["message"]) == (
        403,
        "403 Forbidden - Job is not retryable",
    )
    assert desk.ask(desk.register()).json()["id"] == job.id + 1
    assert desk.world.ci.jobs[job.id].status == end


def test_only_a_manual_job_can_be_played_and_no_waiting_job_retried(desk: Desk) -> None:
    desk.start(job_spec("gate", when="manual"), job_spec("unit"))
    for number in (1, 2):
        assert desk.call("POST", f"{JOBS}/{number}/retry").status_code == 403
    played = desk.call("POST", f"{JOBS}/1/play")
    assert (played.status_code, played.json()["status"]) == (200, "pending")
    refused = desk.call("POST", f"{JOBS}/2/play")
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        "400 Bad request - Unplayable Job",
    )


def test_log_and_artifacts_are_listed_after_the_end_and_can_be_erased_then(desk: Desk) -> None:
    job = desk.running()
    desk.append(job, b"hello", "0-4")
    headers = {"JOB-TOKEN": job.token}
    files = {"file": ("artifacts.zip", b"zip!")}
    desk.raw("POST", f"/jobs/{job.id}/artifacts", headers=headers, files=files)
    assert desk.call("POST", f"{JOBS}/1/erase").status_code == 403
    assert [each["file_type"] for each in desk.answer("GET", f"{JOBS}/1")["artifacts"]] == [
        "archive"
    ]
    desk.report(job, "success")
    shown = desk.answer("GET", f"{JOBS}/1")
    assert shown["artifacts_file"] == {"filename": "artifacts.zip", "size": 4}
    kinds = [(entry["file_type"], entry["size"]) for entry in shown["artifacts"]]
    assert kinds == [("archive", 4), ("trace", 5)]
    assert desk.call("GET", f"{JOBS}/1/trace").text == "hello"
    erased = desk.call("POST", f"{JOBS}/1/erase")
    assert erased.status_code == 201
    assert erased.json()["erased_at"] is not None
    assert erased.json()["artifacts"] == []
    assert desk.call("GET", f"{JOBS}/1/trace").text == ""


# --- pipelines


def test_the_jobs_of_a_pipeline_include_retried_ones_on_request(desk: Desk) -> None:
    job = desk.running(job_spec("unit"), job_spec("lint"))
    desk.report(job, "failed")
    desk.call("POST", f"{JOBS}/1/retry")
    path = "/projects/1/pipelines/1/jobs"
    assert ids(desk.answer("GET", path)) == [3, 2]
    assert ids(desk.answer("GET", f"{path}?include_retried=true")) == [3, 2, 1]
    assert ids(desk.answer("GET", f"{path}?include_retried=1&scope[]=failed")) == [1]
    assert desk.call("GET", "/projects/1/pipelines/9/jobs").status_code == 404


def test_pipelines_are_listed_by_ref_sha_and_status(desk: Desk) -> None:
    assert desk.call("GET", "/projects/1/pipelines/latest").status_code == 404
    first = desk.start()
    desk.start()
    desk.call("POST", "/projects/1/pipelines/1/cancel")
    path = "/projects/1/pipelines"
    assert ids(desk.answer("GET", path)) == [2, 1]
    assert ids(desk.answer("GET", f"{path}?status=canceled")) == [1]
    assert ids(desk.answer("GET", f"{path}?ref=other")) == []
    assert ids(desk.answer("GET", f"{path}?sha={first.commit.sha}&ref=main")) == [2, 1]
    assert desk.answer("GET", f"{path}/latest")["id"] == 2
    assert desk.call("GET", f"{path}/9").status_code == 404


def test_a_pipeline_is_canceled_and_retried_as_a_whole(desk: Desk) -> None:
    job = desk.running(job_spec("a"), job_spec("b", "deploy"))
    canceled = desk.call("POST", "/projects/1/pipelines/1/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert job.status is Status.CANCELED
    retried = desk.call("POST", "/projects/1/pipelines/1/retry")
    assert (retried.status_code, retried.json()["status"]) == (201, "pending")
    assert [each.status for each in desk.world.ci.jobs.values()][2:] == ["pending", "created"]


@pytest.mark.parametrize(
    ("body", "why"),
    [({"ref": "none"}, "Reference not found"), ({}, "ref is missing")],
)
def test_a_pipeline_needs_a_ref_that_exists(desk: Desk, body: dict[str, str], why: str) -> None:
    answer = desk.call("POST", "/projects/1/pipeline", json=body)
    assert answer.status_code == 400
    assert why in answer.text
