"""`jobs`, `runners`, `cost` and `waits`: what they choose, and how it is shown."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from adapters.ledger.history import HistoryRows
from cli import cost, jobs, runners, waits
from fleet.model import JobStatus
from fleet.past import NANO
from fleet.reasons import Reason
from fleet.rules.costs import By
from operations.cost import cost as cost_of
from operations.jobs import JobQuery, list_jobs
from operations.periods import read_period
from operations.runners import list_runners
from operations.waits import waits as waits_of
from tests.unit.cli.fleet_at_work import AT, AtWork, ago
from tests.unit.fleet.past_runs import jobless, past as past_of

Screen = Callable[[str, str], None]
DAY_S = 86_400
# `past_runs` has its own time zero.
SHIFT_S = (AT - past_of(1).ended_at).total_seconds()


def past(number: int, *, ended_s: float = 0, **facts: Any) -> Any:
    return past_of(number, ended_s=SHIFT_S + ended_s, **facts)


def at_work(*more: Any) -> AtWork:
    """A stack with yesterday's and today's machines, a job that waits and a runner that lives."""
    stack = AtWork().configure()
    rows = HistoryRows(stack.table)
    runs = [
        past(9876543210, ended_s=-60, name="build-image: [linux, arm64]", usd_nano=12_345_678),
        past(2, ended_s=-120, outcome="failed", failure="script_failure", project="acme/web/shop"),
        past(3, ended_s=-DAY_S, usd_nano=1_500_000_000, project="other/thing", project_id=8),
        past(4, ended_s=-180, pool="node", backend="lambda", capacity="lambda", usd_nano=None),
        jobless(5, ended_s=SHIFT_S - 240, reason="boot_deadline", for_job=2),
        past(6, ended_s=-300, pending_at=past(6, ended_s=-1200).pending_at),
        *more,
    ]
    for run in runs:
        rows.write(run)
    stack.job(70, waits_s=90)
    stack.waits_because(70, Reason.AT_CEILING)
    stack.runner(8, launched_s=600)
    return stack


def drawn(part: RenderableType, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width, color_system=None, highlight=False, _environ={}).print(part)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 180])
def test_the_screens(width: int, screen: Screen) -> None:
    deployed = at_work().deployed
    week = read_period("7d", AT)
    parts: Iterable[tuple[str, RenderableType]] = (
        ("jobs", jobs.draw(list_jobs(deployed, JobQuery(period=week)), width=width)),
        ("runners", runners.draw(list_runners(deployed, ended_in=week), width=width)),
        *((f"cost --by {by}", cost.draw(cost_of(deployed, week, by), width=width)) for by in By),
        ("waits", waits.draw(waits_of(deployed, week, over_s=60), width=width)),
    )
    text = "\n".join(f"# {name}\n{drawn(part, width)}" for name, part in parts)
    assert max(map(len, text.splitlines())) <= width
    assert "9876543210" in text
    assert "rf-docker-000000000008" in text
    screen(f"history_{width}", text)


def test_the_screens_of_an_empty_time_and_of_bad_calls(screen: Screen) -> None:
    stack = AtWork().configure()
    for command in ("jobs", "runners", "cost", "waits"):
        assert stack.run(command).exit_code == 0
    for call, code in (
        ("jobs --since soon", 2),
        ("jobs --since 2999-01-01", 2),
        ("jobs --limit 0", 2),
        ("cost --by day", 2),
        ("cost --csv --json", 2),
        ("waits --over 0", 2),
        ("runners --since 12", 2),
    ):
        assert stack.run(*call.split()).exit_code == code
    screen("history_empty", str(stack.session))


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [70, 9876543210, 2, 4, 6]),
        ({"failed": True}, [2]),
        ({"project": "acme"}, [70, 9876543210, 2, 4, 6]),
        ({"project": "ACME/web"}, [2]),
        ({"project": "acme/we"}, []),
        ({"project": "7"}, [70, 9876543210, 2, 4, 6]),
        ({"pool": "node"}, [4]),
        ({"limit": 1}, [9876543210]),
    ],
)
def test_which_jobs_are_listed(filters: dict[str, Any], numbers: list[int]) -> None:
    view = list_jobs(at_work().deployed, JobQuery(period=read_period("2h", AT), **filters))
    assert sorted(job.job_id for job in view.jobs) == sorted(numbers)
    assert view.left_out == (4 if filters == {"limit": 1} else 0)


def test_a_job_that_runs_is_listed_once() -> None:
    stack = at_work()
    job = stack.job(71)
    stack.advance(job, "running", at=AT, started_at=ago(20), runner_id="rf-docker-9")
    period = read_period("1h", AT)
    stack.clock.go(0.5)  # reading takes a while
    view = list_jobs(stack.deployed, JobQuery(period=period))
    (line,) = [line for line in view.jobs if line.job_id == 71]
    assert line.status == JobStatus.RUNNING.name.lower()
    assert (line.waited_s, line.ran_s, line.runner_id) == (40, 20.5, "rf-docker-9")


@pytest.mark.parametrize("by", By)
def test_the_csv_adds_up_to_the_machines(by: By) -> None:
    stack = at_work(past(5, ended_s=-9, project="=cmd()"))
    result = stack.run("cost", "--since", "7d", "--by", by.value, "--csv")
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    runs = HistoryRows(stack.table).between(*vars_of(read_period("7d", AT)))
    assert sum(Decimal(line["usd"]) for line in lines) == NANO * sum(r.usd_nano or 0 for r in runs)
    assert not any(line[by.value].startswith("=") for line in lines)


def vars_of(period: Any) -> tuple[Any, Any]:
    return period.since, period.until


def test_names_from_outside_are_neither_markup_nor_orders() -> None:
    stack = at_work(past(5, ended_s=-9, name="[red]x\x1b[31m", project="a\nb"))
    for call in ("jobs", "cost --by project", "cost --by job --csv"):
        out = stack.run(*call.split()).stdout
        assert "\x1b" not in out


def test_every_command_prints_json_for_programs() -> None:
    stack = at_work()
    answers = {
        name: json.loads(stack.run(name, "--since", "7d", "--json").stdout)
        for name in ("jobs", "runners", "cost", "waits")
    }
    assert [job["job_id"] for job in answers["jobs"]["jobs"]][:2] == [9876543210, 70]
    assert answers["runners"]["states"] == {"in_flight": 1}
    assert answers["cost"]["usd"] == pytest.approx(
        sum(each["usd"] for each in answers["cost"]["lines"])
    )
    assert [hop["hop"] for hop in answers["waits"]["lines"][0]["hops"]] == [
        *("webhook", "route", "launch", "boot", "take")
    ]


def test_yesterdays_jobs_are_neither_todays_nor_open_ones() -> None:
    view = list_jobs(at_work().deployed, JobQuery(period=read_period("yesterday", AT)))
    assert [job.job_id for job in view.jobs] == [3]
