"""The main job, end to end: the demo itself, in the process that the tests run in."""

import time
from collections.abc import Iterator

import pytest

from fleet.model import JobKey
from local.demo.project import EXPECTED, NOBODY
from local.demo.run import Demo, DemoResult
from local.laptop import Laptop


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    with Laptop(tmp_path_factory.mktemp("laptop")) as up:
        yield up


@pytest.fixture(scope="module")
def result(laptop: Laptop) -> DemoResult:
    demo = Demo(laptop, began_at=time.monotonic())
    demo.prepare()
    pipeline_id = demo.push()
    for _ in demo.watch(pipeline_id):
        pass
    return demo.finish(pipeline_id)


def test_the_demo_has_no_problem(result: DemoResult) -> None:
    assert result.problems == ()
    assert result.ok


def test_every_job_ends_as_it_must(result: DemoResult) -> None:
    ends = {job.name: (job.status, job.pool, job.torn_down) for job in result.jobs}
    assert ends == {name: (end.status, end.pool, True) for name, end in EXPECTED.items()}


def test_each_served_job_had_a_machine_of_its_own(result: DemoResult) -> None:
    machines = [job.machine for job in result.jobs if job.name != NOBODY]
    assert None not in machines
    assert len(set(machines)) == len(machines)


def test_nothing_is_left(result: DemoResult) -> None:
    left = result.left
    assert (left.instances, left.runners, left.messages, left.processes) == (0, 0, 0, 0)


def test_the_json_is_what_is_documented(result: DemoResult) -> None:
    body = result.to_json()
    assert {"ok", "seconds", "jobs", "left"} <= set(body)
    assert set(body["left"]) == {"instances", "runners", "messages", "processes"}
    assert {
        "id", "name", "tags", "pool", "backend", "machine",
        "status", "waited_s", "ran_s", "torn_down", "reason",
    } == set(body["jobs"][0])  # fmt: skip


def test_a_job_without_a_pool_has_the_reason(result: DemoResult) -> None:
    unserved = next(job for job in result.jobs if job.name == NOBODY)
    assert (unserved.reason, unserved.machine) == ("no_pool", None)


def test_the_history_of_a_job_has_every_hop(laptop: Laptop, result: DemoResult) -> None:
    job = next(job for job in result.jobs if job.name == "image-build")  # it ran to its end
    row = laptop.job_rows.row(JobKey(instance=laptop.instance, job_id=job.id))
    assert row is not None
    names = {step.name for step in row.steps}
    # Without "taken": its webhook may come after that of the end, and changes nothing then.
    assert {
        "webhook_received", "event", "called_home", "job_taken",
        "first_output", "job_finished", "machine_gone", "runner_record_gone",
    } <= names  # fmt: skip


def test_no_secret_is_in_the_log_of_any_function(laptop: Laptop, result: DemoResult) -> None:
    assert result.jobs
    logs = laptop.engine.client("logs")
    lines = [
        event["message"]
        for group in logs.describe_log_groups()["logGroups"]
        for event in logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
    ]
    assert any("RunnersLaunched" in line for line in lines)
    text = "\n".join(lines)
    assert laptop.gitlab_token not in text
    assert "glrt-" not in text
    assert "whsec_" not in text
