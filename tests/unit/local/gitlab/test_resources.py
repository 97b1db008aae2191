"""Resource groups: one job at a time, in order of arrival."""

from __future__ import annotations

import pytest

from local.gitlab import actions
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec


def test_the_second_job_waits_for_the_first_to_end() -> None:
    site = SmallGitLab()
    first = site.start(job_spec("ship", resource_group="production"))
    second = site.start(job_spec("ship", resource_group="production"))
    assert site.statuses(first) == {"ship": "pending"}
    assert site.statuses(second) == {"ship": "waiting_for_resource"}
    assert str(second.status) == "waiting_for_resource"
    site.run(first, "ship")
    assert site.take() is None
    site.end(first, "ship")
    assert site.statuses(second) == {"ship": "pending"}
    assert str(second.status) == "pending"


@pytest.mark.parametrize("end", ["success", "failed"])
def test_any_end_frees_the_resource(end: str) -> None:
    site = SmallGitLab()
    first = site.start(job_spec("ship", resource_group="production"))
    second = site.start(job_spec("ship", resource_group="production"))
    site.end(first, "ship", end)
    assert site.statuses(second) == {"ship": "pending"}


def test_waiting_is_silent() -> None:
    site = SmallGitLab()
    first = site.start(job_spec("first", resource_group="production"))
    site.start(job_spec("second", resource_group="production"))
    assert site.ear.heard_of("second") == ["created"]
    site.end(first, "first")
    assert site.ear.heard_of("second") == ["created", "pending"]


def test_those_who_wait_are_served_in_order() -> None:
    site = SmallGitLab()
    pipelines = [site.start(job_spec("ship", resource_group="production")) for _ in range(3)]
    site.end(pipelines[0], "ship")
    assert [site.statuses(p)["ship"] for p in pipelines] == [
        "success",
        "pending",
        "waiting_for_resource",
    ]


def test_groups_do_not_hinder_each_other() -> None:
    site = SmallGitLab()
    site.start(job_spec("ship", resource_group="production"))
    other = site.start(job_spec("ship", resource_group="staging"))
    assert site.statuses(other) == {"ship": "pending"}


def test_a_canceled_holder_frees_the_resource() -> None:
    site = SmallGitLab()
    first = site.start(job_spec("ship", resource_group="production"))
    second = site.start(job_spec("ship", resource_group="production"))
    actions.cancel(site.engine, first.latest["ship"])
    assert site.statuses(second) == {"ship": "pending"}


def test_a_canceled_waiter_leaves_the_line() -> None:
    site = SmallGitLab()
    first, second, third = (
        site.start(job_spec("ship", resource_group="production")) for _ in range(3)
    )
    actions.cancel(site.engine, second.latest["ship"])
    site.end(first, "ship")
    assert site.statuses(second) == {"ship": "canceled"}
    assert site.statuses(third) == {"ship": "pending"}


def test_the_resource_passes_within_one_pipeline_and_the_rest_goes_on() -> None:
    site = SmallGitLab()
    pipeline = site.start(
        job_spec("a", "build", resource_group="database"),
        job_spec("b", "build", resource_group="database"),
        job_spec("unit"),
    )
    site.end(pipeline, "a")
    assert site.statuses(pipeline) == {"a": "success", "b": "pending", "unit": "created"}
    site.end(pipeline, "b")
    assert site.statuses(pipeline)["unit"] == "pending"


def test_a_retried_job_waits_in_line_again() -> None:
    site = SmallGitLab()
    first = site.start(job_spec("ship", resource_group="production", retry=1))
    second = site.start(job_spec("ship", resource_group="production"))
    site.end(first, "ship", "failed")
    assert site.statuses(first) == {"ship": "waiting_for_resource"}
    assert site.statuses(second) == {"ship": "pending"}
