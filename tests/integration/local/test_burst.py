"""A small burst, end to end: the engine, the simulator, and a thread for every machine."""

import json
from dataclasses import replace

import pytest

from fleet.prices import UNITS
from local.burst.result import BurstOptions, BurstResult, Progress
from local.burst.run import burst

JOBS = 30
# What the command's readers rely on.
KEYS = {
    "ok", "jobs", "finished", "seconds", "closed_s", "waited_s", "peak_memory_mb", "calls",
    "per_job", "units", "control_plane_usd_per_1000", "partition_writes", "guest_calls", "guests",
    "problems",
}  # fmt: skip


@pytest.fixture(scope="module")
def updates() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, updates: list[Progress]) -> BurstResult:
    options = BurstOptions(jobs=JOBS, projects=2, job_s=0.2, timeout_s=240)
    return burst(tmp_path_factory.mktemp("burst"), options, on_progress=updates.append)


def test_every_job_runs_and_nothing_is_left(result: BurstResult, updates: list[Progress]) -> None:
    assert result.problems == ()
    assert (result.ok, result.finished, result.guests["succeeded"]) == (True, JOBS, JOBS)
    assert not replace(result, problems=("one",)).ok
    assert updates[-1].jobs == {"success": JOBS}
    seconds = [progress.seconds for progress in updates]
    assert seconds == sorted(seconds)


def test_every_kind_of_call_is_counted_and_the_budgets_are_kept(result: BurstResult) -> None:
    per_job, calls = result.tally.per_job, result.tally.calls
    counted = ("ec2", "sqs", "dynamodb", "lambda", "events", "states.executions", "gitlab.records")
    assert [name for name in counted if per_job[name] == 0] == []
    assert per_job["http_api"] >= 4  # created, pending, running, success
    assert 0 < per_job["states.transitions"] <= 10
    assert 0 < per_job["gitlab"] <= 2
    assert 1 <= calls["ec2.CreateFleet"] <= 4
    # one record for each job; a job may be taken before GitLab's webhook says so
    assert JOBS <= calls["gitlab.POST /user/runners"] <= JOBS + 5
    assert result.tally.guest_calls["gitlab.PUT /jobs/{job}"] == JOBS
    assert result.tally.guest_calls["dynamodb.DeleteItem"] >= JOBS  # a credential is taken once


def test_the_write_units_of_each_table_and_index_are_counted(result: BurstResult) -> None:
    places = {place.partition(" ")[0] for place in result.tally.partitions}
    indexes = {place.partition("/")[2] for place in places if place.startswith("Ledger")}
    assert {"open", "recent"} <= indexes
    assert any(place.startswith("Mailboxes") for place in places)
    assert all(0 < units <= 1000 for units in result.tally.partitions.values())


def test_a_burst_has_a_price_and_a_size_and_its_json_is_as_documented(result: BurstResult) -> None:
    assert 0 < result.tally.usd_per_1000 < 1
    assert set(result.tally.units) <= set(UNITS)
    assert 100 < result.peak_memory_mb < 4000
    assert 0 < result.seconds <= result.closed_s
    body = json.loads(json.dumps(result.to_json()))
    assert set(body) == KEYS
    assert body["jobs"] == body["finished"] == JOBS
    assert body["seconds"] == round(result.seconds, 1)
    assert body["peak_memory_mb"] == round(result.peak_memory_mb)
