import json
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from fleet.errors import Refused
from fleet.job_event import DETAIL_TYPES, JobEvent, instance_of
from fleet.model import JobStatus, rank

EVENT = JobEvent(
    instance="gitlab.example.com",
    project_id=77,
    project_path="acme/platform/demo",
    job_id=90210,
    job_name="unit-tests",
    stage="test",
    pipeline_id=5512,
    ref="main",
    status="pending",
    delivery_id="f5e5f430",
    received_at=datetime(2026, 8, 20, 9, 15, 2, tzinfo=UTC),
    created_at=datetime(2026, 8, 20, 9, 15, 1, tzinfo=UTC),
    queued_s=0.41,
    hook="project:77@1f3a9c2b",
    hook_secret_id="0a1b2c3d4e5f",
)
DETAIL = {
    "instance": "gitlab.example.com",
    "project_id": 77,
    "project_path": "acme/platform/demo",
    "job_id": 90210,
    "job_name": "unit-tests",
    "stage": "test",
    "pipeline_id": 5512,
    "ref": "main",
    "status": "pending",
    "retries_count": 0,
    "runner_id": None,
    "runner_description": None,
    "created_at": "2026-08-20T09:15:01Z",
    "started_at": None,
    "finished_at": None,
    "queued_s": 0.41,
    "failure_reason": None,
    "allow_failure": False,
    "deploys": False,
    "delivery_id": "f5e5f430",
    "received_at": "2026-08-20T09:15:02Z",
    "hook": "project:77@1f3a9c2b",
    "hook_secret_id": "0a1b2c3d4e5f",
}


class TestDetail:
    """The event on the bus."""

    def test_is_plain_json_with_utc_times(self) -> None:
        assert EVENT.to_detail() == DETAIL

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"runner_id": 31, "runner_description": "rf-small-0123456789ab"},
            {"status": "failed", "failure_reason": "script_failure", "allow_failure": True},
            {"finished_at": datetime(2026, 8, 20, 9, 16, 0, 1, tzinfo=UTC)},
        ],
    )
    def test_comes_back_as_it_was(self, changes: dict[str, Any]) -> None:
        event = replace(EVENT, **changes)
        assert JobEvent.from_detail(json.loads(json.dumps(event.to_detail()))) == event

    def test_a_field_of_a_later_version_is_ignored(self) -> None:
        assert JobEvent.from_detail(DETAIL | {"new": 1}) == EVENT

    @pytest.mark.parametrize(
        ("change", "fields"),
        [
            ({"job_id": None}, ["job_id"]),
            ({"job_id": "hidden", "ref": 3}, ["job_id", "ref"]),
            ({"created_at": "2026-08-20T09:15:01"}, ["created_at"]),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(
        self, change: dict[str, Any], fields: list[str]
    ) -> None:
        with pytest.raises(Refused) as caught:
            JobEvent.from_detail(DETAIL | change)
        assert caught.value.facts == {"fields": fields}
        assert "hidden" not in "".join(traceback.format_exception(caught.value))


class TestDetailType:
    """The event's name on the bus follows GitLab's word."""

    @pytest.mark.parametrize(
        ("status", "name"),
        [
            ("created", "job.created"),
            ("pending", "job.pending"),
            ("running", "job.running"),
            ("success", "job.finished"),
            ("failed", "job.finished"),
            ("canceled", "job.finished"),
            ("skipped", "job.finished"),
        ],
    )
    def test_by_status(self, status: str, name: str) -> None:
        assert replace(EVENT, status=status).detail_type == name

    def test_agrees_with_the_ranks(self) -> None:
        names = {
            JobStatus.CREATED: "job.created",
            JobStatus.PENDING: "job.pending",
            JobStatus.RUNNING: "job.running",
            JobStatus.FINISHED: "job.finished",
        }
        assert {word: names[rank(word)] for word in DETAIL_TYPES} == DETAIL_TYPES


@pytest.mark.parametrize(
    ("url", "instance"),
    [
        ("https://gitlab.example.com", "gitlab.example.com"),
        ("https://GitLab.Example.com/", "gitlab.example.com"),
        ("https://gitlab.example.com:443/gl", "gitlab.example.com"),
        ("http://gitlab.example.com:80", "gitlab.example.com"),
        ("https://gitlab.example.com:8443/acme/demo", "gitlab.example.com:8443"),
        ("http://127.0.0.1:8929", "127.0.0.1:8929"),
        ("https://user:secret@gitlab.example.com", "gitlab.example.com"),
    ],
)
def test_an_instance_is_its_host_and_unusual_port(url: str, instance: str) -> None:
    assert instance_of(url) == instance


@pytest.mark.parametrize("url", ["", "gitlab.example.com", "ssh://git@host", "https:///x"])
def test_what_is_no_web_address_has_no_instance(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        instance_of(url)
