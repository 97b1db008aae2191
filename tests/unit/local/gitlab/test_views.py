"""Jobs over REST: which fields they have, and instants as GitLab writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from local.gitlab.dates import api_date, hook_date, iso_date
from tests.unit.local.gitlab.desk import Desk

JOB_KEYS = {
    *("id", "name", "stage", "status", "ref", "tag", "allow_failure", "created_at"),
    *("started_at", "finished_at", "erased_at", "duration", "queued_duration"),
    *("failure_reason", "tag_list", "runner", "runner_manager", "user", "commit"),
    *("pipeline", "project", "web_url", "artifacts", "archived"),
}
INSTANT = datetime(2026, 8, 20, 9, 15, 1, 123456, tzinfo=UTC)


def test_a_job_keeps_its_runner_when_the_machine_is_removed(desk: Desk) -> None:
    job = desk.running()
    path = f"/projects/1/jobs/{job.id}"
    view = desk.answer("GET", path)
    assert set(view) >= JOB_KEYS
    assert view["runner_manager"]["system_id"] == job.system_id
    assert job.runner is not None
    job.runner.managers.clear()
    view = desk.answer("GET", path)
    assert (view["runner"]["id"], view["runner_manager"]) == (job.runner.id, None)


def test_the_log_is_listed_after_the_end_of_the_job(desk: Desk) -> None:
    job = desk.running()
    path = f"/projects/1/jobs/{job.id}"
    desk.append(job, b"hello", "0-4")
    assert desk.answer("GET", path)["artifacts"] == []
    headers = {"JOB-TOKEN": job.token}
    files = {"file": ("artifacts.zip", b"zip!")}
    desk.raw("POST", f"/jobs/{job.id}/artifacts", headers=headers, files=files)
    desk.report(job, "success")
    view = desk.answer("GET", path)
    assert view["artifacts_file"] == {"filename": "artifacts.zip", "size": 4}
    kinds = [(entry["file_type"], entry["size"]) for entry in view["artifacts"]]
    assert kinds == [("archive", 4), ("trace", 5)]


@pytest.mark.parametrize("at", [INSTANT, INSTANT.astimezone(timezone(timedelta(hours=2)))])
def test_instants_are_written_in_utc_and_none_is_null(at: datetime) -> None:
    writers = (api_date, hook_date, iso_date)
    assert [write(at) for write in writers] == [
        "2026-08-20T09:15:01.123Z",
        "2026-08-20 09:15:01 UTC",
        "2026-08-20T09:15:01Z",
    ]
    assert [write(None) for write in writers] == [None] * 3
