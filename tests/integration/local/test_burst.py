"""A small burst, end to end: the engine, the simulator, and a thread for every machine."""

import json

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


def test_every_job_runs_and_nothing_is_left(result: BurstResult) -> None:
    assert result.problems == ()
    assert (result.ok, result.finished) == (True, JOBS)
    assert result.guests["succeeded"] == JOBS


def test_the_budgets_are_kept(result: BurstResult) -> None:
    per_job = result.tally.per_job
    assert 0 < per_job["states.transitions"] <= 10
    assert 0 < per_job["gitlab"] <= 2
    assert result.tally.calls["ec2.CreateFleet"] <= 4


def test_one_runner_record_is_made_for_each_job(result: BurstResult) -> None:
    made = result.tally.calls["gitlab.POST /user/runners"]
    assert JOBS <= made <= JOBS + 5  # a job may be taken before GitLab's webhook says so


def test_every_kind_of_call_is_counted(result: BurstResult) -> None:
    per_job = result.tally.per_job
    counted = ("ec2", "sqs", "dynamodb", "lambda", "events", "states.executions", "gitlab.records")
    assert [name for name in counted if per_job[name] == 0] == []
    assert per_job["http_api"] >= 4  # created, pending, running, success
    assert result.tally.guest_calls["gitlab.PUT /jobs/{job}"] == JOBS
    assert result.tally.guest_calls["dynamodb.DeleteItem"] >= JOBS  # a credential is taken once


def test_the_write_units_of_each_table_and_index_are_counted(result: BurstResult) -> None:
    places = {place.partition(" ")[0] for place in result.tally.partitions}
    indexes = {place.partition("/")[2] for place in places if place.startswith("Ledger")}
    assert {"open", "recent"} <= indexes
    assert any(place.startswith("Mailboxes") for place in places)
    assert all(0 < units <= 1000 for units in result.tally.partitions.values())


def test_it_has_a_price_and_a_size(result: BurstResult) -> None:
    assert 0 < result.tally.usd_per_1000 < 1
    assert set(result.tally.units) <= set(UNITS)
    assert 100 < result.peak_memory_mb < 4000
    assert 0 < result.seconds <= result.closed_s


def test_progress_runs_from_the_push_to_the_end(
    result: BurstResult, updates: list[Progress]
) -> None:
    assert result.ok
    assert updates[-1].jobs == {"success": JOBS}
    assert [progress.seconds for progress in updates] == sorted(
        progress.seconds for progress in updates
    )


def test_the_json_is_what_is_documented(result: BurstResult) -> None:
    body = json.loads(json.dumps(result.to_json()))
    assert set(body) == KEYS
    assert body["jobs"] == body["finished"] == JOBS
    assert body["calls"]["ec2.CreateFleet"] >= 1
