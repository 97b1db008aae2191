"""`status`: what is read, what counts as a problem, and how it is drawn."""

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.demand import Demand
from adapters.fleet_rows import HookRow
from cli.status_gather import gather
from cli.status_render import duration
from cli.status_view import FleetView
from fleet.capacity import BackOff
from fleet.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from tests.unit.cli.fleet_at_work import AT, FLEET, INSTANCE, AtWork, ago, key


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
    at_work.job(1, waits_s=90)
    at_work.job(2, waits_s=30)
    at_work.fleet.note_decision("docker", "at_ceiling")
    (pool,) = seen(at_work).pools
    assert (pool.in_use, dict(pool.states)) == (3, {"in_flight": 1, "busy": 1, "idle": 1})
    assert (pool.backlog, pool.oldest_wait_s) == (2, 90)
    assert (pool.reason, "ceiling" in pool.sentence) == ("at_ceiling", True)


def test_a_back_off_is_shown_while_it_lasts() -> None:
    at_work = AtWork().configure()
    held = {
        place: BackOff(until=AT + timedelta(seconds=after), failures=1, code="NoCapacity")
        for place, after in (("m7i.large/a/spot", 60), ("m7i.large/b/spot", -1))
    }
    at_work.fleet.note_back_off("docker", held)
    (pool,) = seen(at_work).pools
    assert [(one.place, one.for_s) for one in pool.back_off] == [("m7i.large/a/spot", 60)]
    assert "m7i.large/a/spot: NoCapacity, 1m 00s more" in at_work.run("status").stdout


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


def test_an_unhealthy_hook_is_a_problem() -> None:
    at_work = AtWork().configure()
    hook = {"hook_id": 5, "url": "https://x/webhook", "verification": "signing-token"}
    facts: dict[str, Any] = {"instance": INSTANCE, "scope": "project:7", **hook}
    at_work.fleet.record_hook(HookRow(**facts, healthy=False, detail="GitLab switched it off"))
    (problem,) = seen(at_work).problems
    assert problem.what == "webhook of project:7: GitLab switched it off"
    assert "webhook register" in problem.do


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        ("ec2", "1 jobs got no ec2 machine after their last attempt"),
        ("events", "1 events started no state machine"),
        ("expiries", "1 expiry timers failed"),
    ],
)
def test_dead_letters_are_problems(queue: str, says: str) -> None:
    at_work = AtWork().configure()
    demand = Demand(job=key(1), project_id=7, pool="docker", attempt=4)
    if queue == "ec2":
        at_work.queues[queue].bury(demand)
    else:
        at_work.queues[queue].send([demand])
    assert problems(at_work) == [says]


def test_a_refused_configuration_is_a_problem_until_the_next_one() -> None:
    at_work = AtWork().configure()
    version = seen(at_work).version
    at_work.fleet.note_refused("docker", "InvalidAMIID.NotFound: no such image", version)
    assert problems(at_work) == [
        "pool docker: AWS refuses its configuration: InvalidAMIID.NotFound: no such image"
    ]
    at_work.configure(FLEET.replace("ceiling = 5", "ceiling = 6"))
    assert problems(at_work) == []


def test_a_pool_that_gitlab_does_not_see_is_a_problem() -> None:
    at_work = AtWork().configure()
    at_work.clock.go(91 * 60)
    (problem,) = problems(at_work)
    assert problem.startswith("pool docker: GitLab has not heard of it since 2026-11-21 09:00 UTC")


@pytest.mark.parametrize(("minutes", "is_problem"), [(4, False), (6, True)])
def test_a_new_pool_is_given_some_minutes_to_show_itself(minutes: int, is_problem: bool) -> None:
    at_work = AtWork().configure()
    at_work.table.items.pop(("pool#docker", "pool"))
    at_work.clock.go(minutes * 60)
    assert bool(problems(at_work)) is is_problem


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


@pytest.mark.parametrize(
    ("state", "heard_s", "says"),
    [
        (None, None, "did not call home before its boot deadline"),
        (MachineState.BUSY, 301, "is busy and silent for 5 minutes"),
        (MachineState.BUSY, 60, None),
        (MachineState.IDLE, 60, None),
    ],
)
def test_machines_that_are_late_or_silent_are_problems(
    state: MachineState | None, heard_s: float | None, says: str | None
) -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1, launched_s=400)
    if state is not None and heard_s is not None:
        at_work.reports(runner, state, heartbeat_at=ago(heard_s))
    assert problems(at_work) == ([f"{runner.id} {says}"] if says else [])


@pytest.mark.parametrize(
    ("pool", "reason", "given_up", "says"),
    [
        (None, Reason.NO_POOL, False, "job 1 (job-1) gets no runner: no pool of fleet.toml"),
        ("docker", Reason.ROUTED, True, "job 1 (job-1) gets no runner: every launch for it failed"),
        ("docker", Reason.ROUTED, False, None),
    ],
)
def test_jobs_that_get_no_runner_are_problems(
    pool: str | None, reason: Reason, given_up: bool, says: str | None
) -> None:
    at_work = AtWork().configure()
    at_work.job(1, pool=pool, reason=reason)
    if given_up:
        at_work.jobs.tell(key(1), [], given_up=True)
    found = problems(at_work)
    assert [one[: len(says or "")] for one in found] == ([says] if says else [])


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


def test_names_from_outside_are_drawn_as_they_are() -> None:
    at_work = AtWork().configure()
    at_work.job(1, name="[red]deploy[/red] \x1b[31mnow")
    drawn = at_work.run("status").stdout
    assert "[red]deploy[/red]" in drawn
    assert "\x1b[31m" not in drawn


def test_problems_are_drawn_first_with_what_to_do() -> None:
    at_work = AtWork().configure()
    at_work.job(1, pool=None, reason=Reason.NO_POOL)
    drawn = at_work.run("status").stdout
    assert drawn.index("! job 1") < drawn.index("Pools")
    assert "`runner-fleet explain 1`" in drawn


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
