import json
import traceback
from dataclasses import asdict, replace
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
DETAIL = asdict(EVENT) | {
    "created_at": "2026-08-20T09:15:01Z",
    "received_at": "2026-08-20T09:15:02Z",
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


def test_the_name_on_the_bus_follows_gitlabs_word() -> None:
    names = {
        JobStatus.CREATED: "job.created",
        JobStatus.PENDING: "job.pending",
        JobStatus.RUNNING: "job.running",
        JobStatus.FINISHED: "job.finished",
    }
    words = ["created", "pending", "running", "success", "failed", "canceled", "skipped"]
    assert {word: replace(EVENT, status=word).detail_type for word in words} == DETAIL_TYPES
    assert {word: names[rank(word)] for word in words} == DETAIL_TYPES


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
