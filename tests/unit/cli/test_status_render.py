"""`status` as people and programs get it: every column and every field, in order."""

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cli.status_render import render
from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.rules.problems import Problem, ProblemKind
from operations.status import gather, job_view
from operations.status_view import (
    BackOffView,
    FleetView,
    JobView,
    MachineView,
    PoolView,
    QueueView,
)
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork, ago, key

POOL = PoolView(
    name="docker",
    backend="ec2",
    ceiling=5,
    in_use=3,
    states={"busy": 2, "idle": 1},
    warm=1,
    backlog=2,
    oldest_wait_s=90.0,
    reason="at_ceiling",
    sentence="the pool runs as many runners as its ceiling allows",
    back_off=(BackOffView(place="m7i.large/a/spot", code="NoCapacity", for_s=60.0),),
)
MACHINE = MachineView(
    runner_id="rf-docker-1",
    machine_id="i-1",
    pool="docker",
    state="busy",
    since=ago(30),
    for_s=30.0,
    job_id=8,
    capacity="m7i.large/a/spot",
    heard_s=4.0,
)
JOB = JobView(
    job_id=8,
    name="unit",
    project="acme/demo",
    tags=("docker", "big"),
    pool="docker",
    status="running",
    waited_s=24.0,
    ran_s=300.0,
    runner_id="rf-docker-1",
    reason=None,
    sentence="",
)
VIEW = FleetView(
    at=AT,
    stack="fleet-a",
    gitlab="https://gitlab.example.com",
    version="0123456789ab",
    problems=(
        Problem(kind=ProblemKind.SILENT, what="it is late", do="wait", example="rf-docker-1"),
        Problem(kind=ProblemKind.NO_POOL, what="it is dark", do="sleep", count=2, example="8"),
    ),
    pools=(POOL,),
    queues=(QueueView(name="ec2", messages=3, dead=1),),
    machines=(MACHINE,),
    jobs=(JOB,),
)


def drawn(view: FleetView, *, width: int = 180, colours: bool = False) -> list[str]:
    """The lines, without the blanks at their ends."""
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        highlight=False,
        _environ={},
    )
    console.print(render(view))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def cells(lines: list[str], name: str) -> list[list[str]]:
    """The rows of one table, its header first."""
    start = lines.index(name) + 1
    rows = [[cell for cell in line.split("  ") if cell.strip()] for line in lines[start:]]
    ends = [place for place, row in enumerate(rows) if len(row) < 2]
    return [[cell.strip() for cell in row] for row in rows[: ends[0] if ends else None]]


def test_the_head_names_the_fleet_and_what_is_in_force() -> None:
    assert drawn(VIEW)[0] == (
        "fleet-a · https://gitlab.example.com · fleet.toml 0123456789ab · 2026-11-21 09:00:00 UTC"
    )


def test_problems_come_before_everything_in_their_order() -> None:
    assert drawn(VIEW)[1:6] == ["! it is late", "  wait", "! it is dark", "  sleep", "Pools"]


def test_no_problems_are_said_as_such() -> None:
    assert drawn(replace(VIEW, problems=()))[1] == "no problems"


def test_the_parts_follow_from_the_most_urgent_to_the_least() -> None:
    lines = drawn(VIEW)
    titles = [line for line in lines if line in {"Pools", "Queues", "Machines", "Jobs"}]
    assert titles == ["Pools", "Queues", "Machines", "Jobs"]


def test_a_pool_has_a_line_and_one_for_each_place_that_had_nothing() -> None:
    lines = drawn(VIEW)
    header, row = cells(lines, "Pools")
    assert header == ["pool", "back end", "in use", "runners", "warm", "waiting", "why"]
    assert row == [
        "docker",
        "ec2",
        "3/5",
        "1 idle, 2 busy",
        "1",
        "2, 1m 30s",
        "the pool runs as many runners as its ceiling allows",
    ]
    after = lines[lines.index("Pools") + 3]
    assert after.strip() == "m7i.large/a/spot: NoCapacity, 1m 00s more"


def test_a_pool_where_nothing_is_says_so() -> None:
    bare = replace(POOL, states={}, backlog=0, oldest_wait_s=None, back_off=(), in_use=0, warm=0)
    _, row = cells(drawn(replace(VIEW, pools=(bare,))), "Pools")
    assert row[2:6] == ["0/5", "-", "0", "0"]


def test_a_pool_that_leaves_says_only_that() -> None:
    gone = replace(POOL, is_leaving=True, back_off=())
    _, row = cells(drawn(replace(VIEW, pools=(gone,))), "Pools")
    assert row[-1] == "leaving"


def test_the_states_of_runners_are_told_in_the_order_of_their_lives() -> None:
    names = ("done", "draining", "busy", "idle", "booted", "in_flight", "requested")
    many = replace(POOL, states=dict(zip(names, range(1, 8), strict=True)))
    _, row = cells(drawn(replace(VIEW, pools=(many,))), "Pools")
    told = "7 requested, 6 in_flight, 5 booted, 4 idle, 3 busy, 2 draining, 1 done"
    assert row[3] == told


def test_queues_machines_and_jobs_have_a_line_each() -> None:
    lines = drawn(VIEW)
    assert cells(lines, "Queues") == [["queue", "messages", "dead letters"], ["ec2", "3", "1"]]
    assert cells(lines, "Machines") == [
        ["runner", "machine", "state", "for", "heard", "job", "from"],
        ["rf-docker-1", "i-1", "busy", "30s", "4.0s ago", "8", "m7i.large/a/spot"],
    ]
    assert cells(lines, "Jobs") == [
        ["job", "name", "project", "tags", "pool", "status", "waited", "ran", "runner or why"],
        [
            "8",
            "unit",
            "acme/demo",
            "docker big",
            "docker",
            "running",
            "24s",
            "5m 00s",
            "rf-docker-1",
        ],
    ]


def test_what_is_not_known_is_a_dash() -> None:
    nothing: dict[str, Any] = {"machine_id": None, "job_id": None, "capacity": None}
    machine = replace(MACHINE, heard_s=None, **nothing)
    job = replace(JOB, pool=None, runner_id=None, waited_s=None, ran_s=None, sentence="why not")
    lines = drawn(replace(VIEW, machines=(machine,), jobs=(job,)))
    assert cells(lines, "Machines")[1] == ["rf-docker-1", "-", "busy", "30s", "-", "-", "-"]
    assert cells(lines, "Jobs")[1][4:] == ["-", "running", "-", "-", "why not"]
    neither = replace(job, sentence="")
    assert cells(drawn(replace(VIEW, jobs=(neither,))), "Jobs")[1][4:] == ["-", "running", *"---"]


def test_a_job_that_failed_has_its_runner_and_why_below_it() -> None:
    job = replace(JOB, status="failed", sentence="why not")
    lines = drawn(replace(VIEW, jobs=(job,)))
    column = lines[-3].index("runner or why")
    assert [line[column:] for line in lines[-2:]] == ["rf-docker-1", "why not"]


def test_ids_states_and_times_stay_whole_on_eighty_columns() -> None:
    many = replace(
        JOB,
        job_id=9876543210,
        name="build-image: [linux, arm64]",
        project="acme/platform/payments-api",
        runner_id="rf-docker-0f3a9c1d2b4e",
    )
    machine = replace(MACHINE, runner_id="rf-docker-0f3a9c1d2b4e", machine_id="i-0123456789abcdef0")
    text = "\n".join(drawn(replace(VIEW, jobs=(many,), machines=(machine,)), width=80))
    for whole in ("9876543210", "running  24s     5m 00s", "busy   30s  4.0s ago"):
        assert whole in text
    smaller = drawn(replace(VIEW, jobs=(many,)), width=60)
    column = smaller[smaller.index("Jobs") + 1 :]
    start = max(line.find("status") for line in column)
    assert "".join(line[12:17].strip() for line in column).endswith("build-image:[linux,arm64]")
    assert any(line[start:].startswith("running") for line in column)


def test_nothing_is_said_to_be_nothing() -> None:
    lines = drawn(replace(VIEW, machines=(), jobs=()))
    assert lines[-2:] == ["no machine", "no job yet"]


def test_a_narrow_terminal_gets_every_word_in_more_lines() -> None:
    lines = drawn(VIEW, width=40)
    assert max(len(line) for line in lines) <= 40
    text = "".join("".join(lines).split())
    assert "https://gitlab.example.com" in text
    assert "2026-11-2109:00:00UTC" in text


def test_colours_show_what_needs_a_look() -> None:
    lines = drawn(VIEW, colours=True)
    text = "\n".join(lines)
    assert "\x1b[1;31m! \x1b[0m" in text
    assert "\x1b[36mrunning\x1b[0m" in text
    assert "\x1b[31m1" in text  # dead letters
    assert "\x1b[32mno problems\x1b[0m" in drawn(replace(VIEW, problems=()), colours=True)[1]
    quiet = replace(VIEW, problems=(), queues=(QueueView(name="ec2", messages=3, dead=0),))
    assert "\x1b[31m" not in "\n".join(drawn(quiet, colours=True))


def test_words_from_outside_are_neither_markup_nor_orders() -> None:
    bad = "x\x1b[31m[red]y[/red]"
    view = replace(
        VIEW,
        problems=(Problem(kind=ProblemKind.SILENT, what=bad, do="wait"),),
        pools=(replace(POOL, name=bad, sentence=bad),),
        machines=(replace(MACHINE, machine_id=bad, capacity=bad),),
        jobs=(replace(JOB, name=bad, project=bad, tags=(bad,), sentence=bad),),
    )
    text = "\n".join(drawn(view, width=400))
    assert "\x1b" not in text
    assert text.count("x[31m[red]y[/red]") == 9


# What is read


def view_of(at_work: AtWork, jobs: int = 20) -> FleetView:
    return gather(at_work.deployed, jobs=jobs)


def test_a_pool_is_told_with_what_waits_longest() -> None:
    at_work = AtWork().configure()
    for number, waits_s in ((1, 30), (2, 90), (3, 60)):
        at_work.job(number, waits_s=waits_s)
    (pool,) = view_of(at_work).pools
    assert (pool.backlog, pool.oldest_wait_s) == (3, 90.0)
    assert (pool.reason, pool.sentence, pool.is_leaving) == (None, "", False)


def test_a_pool_that_leaves_has_no_settings_any_more() -> None:
    at_work = AtWork().configure(FLEET, leaving=("old",))
    at_work.runner(1, pool="old")
    old = view_of(at_work).pools[-1]
    assert (old.name, old.backend, old.ceiling, old.warm) == ("old", "", 0, 0)
    assert (old.in_use, dict(old.states), old.is_leaving) == (1, {"in_flight": 1}, True)


def test_back_offs_are_told_by_place_and_only_while_they_last() -> None:
    at_work = AtWork().configure()
    held = {
        place: BackOff(until=AT + timedelta(seconds=seconds), failures=1, code="NoCapacity")
        for place, seconds in (("c", 5), ("a", 0), ("b", 1))
    }
    at_work.fleet.note_back_off("docker", held)
    (pool,) = view_of(at_work).pools
    assert pool.back_off == (
        BackOffView(place="b", code="NoCapacity", for_s=1.0),
        BackOffView(place="c", code="NoCapacity", for_s=5.0),
    )


def test_a_machine_counts_from_its_last_change_else_from_its_launch() -> None:
    at_work = AtWork().configure()
    at_work.runner(1, launched_s=50)
    drained = at_work.runner(2, launched_s=60)
    at_work.reports(drained, MachineState.IDLE, heartbeat_at=ago(3))
    at_work.runners.drain(drained, Reason.SURPLUS, at=ago(20))
    seen = {one.runner_id[-1]: one for one in view_of(at_work).machines}
    assert (seen["1"].for_s, seen["1"].since, seen["1"].heard_s) == (50.0, ago(50), None)
    assert (seen["1"].pool, seen["1"].state, seen["1"].job_id) == ("docker", "in_flight", None)
    assert (seen["2"].for_s, seen["2"].since, seen["2"].heard_s) == (20.0, ago(20), 3.0)
    assert seen["2"].state == "draining"


@pytest.mark.parametrize(
    ("facts", "waited_s", "ran_s"),
    [
        ({"started_at": ago(40), "finished_at": ago(10)}, 20.0, 30.0),
        ({"finished_at": ago(10)}, 50.0, None),  # cancelled before it ran
        ({"started_at": ago(40)}, 20.0, 35.0),  # GitLab did not say when: when it changed
        ({"started_at": ago(70), "finished_at": ago(80)}, 0.0, 0.0),  # clocks differ
    ],
)
def test_an_ended_job_waited_and_ran(
    facts: dict[str, Any], waited_s: float, ran_s: float | None
) -> None:
    at_work = AtWork().configure()
    at_work.advance(at_work.job(1, waits_s=60), "success", at=ago(5), **facts)
    (job,) = view_of(at_work).jobs
    assert (job.waited_s, job.ran_s) == (waited_s, ran_s)


def test_a_job_that_runs_counts_until_now() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1, waits_s=60)
    at_work.advance(job, "running", at=ago(39), started_at=ago(40), runner_id="rf-docker-1")
    (seen,) = view_of(at_work).jobs
    assert (seen.waited_s, seen.ran_s, seen.runner_id) == (20.0, 40.0, "rf-docker-1")
    assert (seen.project, seen.tags, seen.pool) == ("acme/demo", ("docker",), "docker")


def test_a_job_whose_projects_path_is_not_known_has_its_number() -> None:
    at_work = AtWork().configure()
    at_work.job(1, project_path="", project_id=77)
    assert view_of(at_work).jobs[0].project == "77"


def test_a_job_waits_in_words() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.waits_because(1, Reason.PACED)
    row = at_work.jobs.row(key(1))
    assert row is not None
    seen = job_view(row, AT)
    assert (seen.status, seen.reason) == ("pending", "paced")
    assert seen.sentence.startswith("more jobs wait than are launched in one go")


# For programs


def test_json_has_every_field_of_every_part() -> None:
    told = json.loads(json.dumps(VIEW.to_json()))
    assert told == {
        "at": "2026-11-21T09:00:00+00:00",
        "stack": "fleet-a",
        "gitlab": "https://gitlab.example.com",
        "version": "0123456789ab",
        "problems": [
            {
                "kind": "silent",
                "what": "it is late",
                "do": "wait",
                "count": 1,
                "example": "rf-docker-1",
            },
            {"kind": "no_pool", "what": "it is dark", "do": "sleep", "count": 2, "example": "8"},
        ],
        "pools": [
            {
                "name": "docker",
                "backend": "ec2",
                "ceiling": 5,
                "in_use": 3,
                "states": {"busy": 2, "idle": 1},
                "warm": 1,
                "backlog": 2,
                "oldest_wait_s": 90.0,
                "reason": "at_ceiling",
                "sentence": "the pool runs as many runners as its ceiling allows",
                "back_off": [{"place": "m7i.large/a/spot", "code": "NoCapacity", "for_s": 60.0}],
                "is_leaving": False,
            }
        ],
        "queues": [{"name": "ec2", "messages": 3, "dead": 1}],
        "machines": [
            {
                "runner_id": "rf-docker-1",
                "machine_id": "i-1",
                "pool": "docker",
                "state": "busy",
                "since": "2026-11-21T08:59:30+00:00",
                "for_s": 30.0,
                "job_id": 8,
                "capacity": "m7i.large/a/spot",
                "heard_s": 4.0,
            }
        ],
        "jobs": [
            {
                "job_id": 8,
                "name": "unit",
                "project": "acme/demo",
                "tags": ["docker", "big"],
                "pool": "docker",
                "status": "running",
                "waited_s": 24.0,
                "ran_s": 300.0,
                "runner_id": "rf-docker-1",
                "reason": None,
                "sentence": "",
            }
        ],
    }


def test_once_is_for_reading_and_again_and_again_is_a_line_each() -> None:
    at_work = AtWork().configure()
    once = at_work.run("status", "--json").stdout
    assert once.startswith('{\n  "at": ')
    again = at_work.run("status", "--json", "--watch").stdout.splitlines()
    assert len(again) == 2
    assert json.loads(again[0]) == json.loads(once)


def test_as_many_jobs_as_were_asked_for() -> None:
    at_work = AtWork().configure()
    for number in range(1, 24):
        at_work.job(number, waits_s=100 - number)
    for arguments, count in (((), 20), (("--jobs", "3"), 3)):
        told = json.loads(at_work.run("status", "--json", *arguments).stdout)
        assert len(told["jobs"]) == count
        assert told["jobs"][0]["job_id"] == 23


def test_ctrl_c_is_only_an_end_for_who_watches() -> None:
    at_work = AtWork().configure()
    at_work.pauses = 1  # the next pause is interrupted
    assert at_work.run("status", "--watch").exit_code == 0
    assert at_work.clock() == AT + timedelta(seconds=2)
