"""`status`: what is read, what counts as a problem, and how it is drawn."""

import json

import pytest

from fleet.errors import Transient
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from operations.durations import duration
from operations.status import gather
from operations.status_view import FleetView
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork, ago


def seen(at_work: AtWork) -> FleetView:
    return gather(at_work.deployed, jobs=20)


def problems(at_work: AtWork) -> list[str]:
    return [problem.what for problem in seen(at_work).problems]


def test_a_quiet_fleet_has_no_problems() -> None:
    at_work = AtWork().configure()
    view = seen(at_work)
    assert view.problems == ()
    (pool,) = view.pools
    assert (pool.name, pool.backend, pool.ceiling, pool.in_use, pool.warm) == (
        "docker",
        "ec2",
        5,
        0,
        1,
    )
    assert [queue.name for queue in view.queues] == ["ec2", "lambda", "events", "expiries"]
    result = at_work.run("status")
    assert result.exit_code == 0
    assert result.stdout.startswith("fleet-a · https://gitlab.example.com · fleet.toml ")
    for words in ("no problems", "no machine", "no job yet"):
        assert words in result.stdout


def test_a_pool_shows_its_runners_by_state_and_what_waits() -> None:
    at_work = AtWork().configure()
    at_work.runner(1)
    at_work.reports(at_work.runner(2), MachineState.BUSY, job_id=8)
    at_work.reports(at_work.runner(3), MachineState.IDLE)
    at_work.reports(at_work.runner(4), MachineState.BOOTED)
    at_work.job(1, waits_s=90)
    at_work.job(2, waits_s=30)
    at_work.fleet.note_decision("docker", "at_ceiling")
    (pool,) = seen(at_work).pools
    assert pool.in_use == 4
    assert pool.states == {"in_flight": 1, "busy": 1, "idle": 1, "booted": 1}
    assert (pool.backlog, pool.oldest_wait_s) == (2, 90)
    assert (pool.reason, "ceiling" in pool.sentence) == ("at_ceiling", True)


def test_a_machine_is_shown_with_its_job_and_its_last_sign() -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1)
    at_work.reports(runner, MachineState.BUSY, job_id=8, heartbeat_at=ago(12))
    (machine,) = seen(at_work).machines
    assert (machine.runner_id, machine.machine_id) == (runner.id, "i-1")
    assert (machine.state, machine.job_id, machine.heard_s) == ("busy", 8, 12)
    assert machine.capacity == "m7i.large/subnet-1/spot"


def test_jobs_are_shown_newest_first_with_their_times() -> None:
    at_work = AtWork().configure()
    over = at_work.job(1, waits_s=300)
    at_work.advance(over, "running", at=ago(200), started_at=ago(210), runner_id="rf-docker-1")
    at_work.advance(
        over,
        "failed",
        at=ago(100),
        started_at=ago(210),
        finished_at=ago(110),
        failure_reason="script_failure",
    )
    at_work.job(2, waits_s=30)
    at_work.waits_because(2, Reason.AT_CEILING)
    first, second = seen(at_work).jobs
    assert (first.job_id, first.status, first.waited_s, first.ran_s) == (2, "pending", 30, None)
    assert first.sentence.startswith("the pool runs as many runners")
    assert (second.job_id, second.status, second.waited_s, second.ran_s) == (1, "failed", 90, 100)
    assert (second.reason, second.sentence) == ("script_failure", "script_failure")
    assert len(gather(at_work.deployed, jobs=1).jobs) == 1


def test_the_reason_why_a_job_waited_is_not_shown_once_it_runs() -> None:
    at_work = AtWork().configure()
    at_work.advance(at_work.job(1), "running", at=AT, started_at=AT)
    (job,) = seen(at_work).jobs
    assert (job.status, job.reason, job.sentence) == ("running", None, "")


# Problems


def test_a_refused_configuration_is_a_problem_until_the_next_one() -> None:
    at_work = AtWork().configure()
    version = seen(at_work).version
    at_work.fleet.note_refused("docker", "InvalidAMIID.NotFound: no such image", version)
    assert problems(at_work) == [
        "pool docker: AWS refuses its configuration: InvalidAMIID.NotFound: no such image"
    ]
    at_work.configure(FLEET.replace("ceiling = 5", "ceiling = 6"))
    assert problems(at_work) == []


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("backlog", "runners were launched for jobs that waited"),
        ("covered", "for every job that waits a runner is booting or idle"),
        ("surplus", "more runners than the backlog and the warm target need"),
    ],
)
def test_a_pools_reason_reads_as_one_of_a_pool(reason: str, says: str) -> None:
    at_work = AtWork().configure()
    at_work.fleet.note_decision("docker", reason)
    assert seen(at_work).pools[0].sentence == says


def test_a_removed_pool_is_shown_until_its_runners_are_gone() -> None:
    at_work = AtWork().configure(FLEET, leaving=("old",))
    runner = at_work.runner(1, pool="old", launched_s=4000)
    at_work.runners.drain(runner, Reason.SURPLUS, at=AT)
    view = seen(at_work)
    assert [(pool.name, pool.is_leaving) for pool in view.pools] == [
        ("docker", False),
        ("old", True),
    ]
    assert [machine.state for machine in view.machines] == [RunnerState.DRAINING.value]
    assert view.problems == ()
    assert "leaving" in at_work.run("status").stdout


# How it is shown


def test_json_is_one_object_with_units_in_its_names() -> None:
    at_work = AtWork().configure()
    at_work.runner(1)
    at_work.job(1)
    result = at_work.run("status", "--json")
    told = json.loads(result.stdout)
    assert (told["at"], told["stack"]) == ("2026-11-21T09:00:00+00:00", "fleet-a")
    assert told["machines"][0]["for_s"] == 30
    assert (told["jobs"][0]["job_id"], told["jobs"][0]["waited_s"]) == (1, 60)
    assert told["problems"] == []


def test_json_again_and_again_is_a_line_each() -> None:
    at_work = AtWork().configure()
    result = at_work.run("status", "--json", "--watch")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert json.loads(first)["at"] < json.loads(second)["at"]


def test_watching_draws_until_somebody_ends_it() -> None:
    at_work = AtWork().configure()
    result = at_work.run("status", "--watch")
    assert (result.exit_code, at_work.pauses) == (0, 2)
    assert "fleet-a" in result.stdout


def test_watching_outlives_an_answer_that_does_not_come() -> None:
    lost = Transient("the call to AWS failed", call="dynamodb.Query", error="ReadTimeoutError")
    at_work = AtWork(failing_later=lost).configure()
    result = at_work.run("status", "--watch")
    assert (result.exit_code, at_work.pauses) == (0, 2)
    assert "not read since" in result.stdout
    assert "dynamodb.Query: ReadTimeoutError" in result.stdout
    assert "fleet.toml" in result.stdout  # what was read before still stands there


def test_a_line_that_cannot_be_read_is_told_beside_the_json() -> None:
    lost = Transient("the call to AWS failed", call="dynamodb.Query", error="ReadTimeoutError")
    at_work = AtWork(failing_later=lost).configure()
    result = at_work.run("status", "--json", "--watch")
    assert (result.exit_code, at_work.pauses) == (0, 2)
    assert [json.loads(line)["stack"] for line in result.stdout.splitlines()] == ["fleet-a"]
    assert "not read: " in result.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (9.94, "9.9s"),
        (12.4, "12s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (7800, "2h 10m"),
    ],
)
def test_a_duration_reads_well(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
