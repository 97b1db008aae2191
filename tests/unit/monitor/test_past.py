"""The pages over the history, the limits, and the answers that are kept for them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from fleet.errors import Transient
from fleet.past import PastRun
from fleet.rules.buckets import TokenBucket, taken
from fleet.rules.right_size import SizeHint, decide_fit, size_of_lambda, size_of_type
from fleet.steps import Step, StepName
from fleet.usage import Usage
from local.past_month import month
from monitor.page import usd
from monitor.readings import KEPT_AT_MOST, Readings
from operations.periods import Period
from operations.wait_series import wait_series
from tests.fakes import Clock
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key
from tests.unit.monitor.browsing import browser_of

RUN = replace(next(month(1, AT)), ended_at=ago(300), finished_at=ago(305), job_id=8)
BUCKET = TokenBucket(size=10, per_s=2.0)
GB = 2**30
RUN_KEY = key(8)


def with_history(*runs: PastRun) -> AtWork:
    at_work = AtWork().configure()
    for run in runs or (RUN,):
        at_work.deployed.history.write(run)
    return at_work


# Pages


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/waits", "All pools"),
        ("/waits?span=month&over=10", "over 10s"),
        ("/jobs", "build-image"),
        ("/jobs?project=acme%2Fplatform&since=7d", "build-image"),
        ("/jobs?project=else", "No such job"),
        ("/projects", "acme/platform/service-0"),
        ("/projects?by=pool&since=today", "by=pool"),
        ("/limits", "EC2 launches"),
    ],
)
def test_a_page_shows_what_ended(path: str, shown: str) -> None:
    answer = browser_of(with_history()).get(path)
    assert answer.status_code == 200
    assert shown in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?since=soon",
        "/projects?since=2999-01-01",
        "/projects?by=sun",
        "/projects.csv?since=x",
        "/waits?over=long",
        "/waits?span=never",
    ],
)
def test_a_value_that_is_none_is_a_page_that_says_so(path: str) -> None:
    answer = browser_of(with_history()).get(path)
    assert (answer.status_code, "Not possible" in answer.text) == (400, True)


@pytest.mark.parametrize("path", ["/waits", "/jobs", "/projects"])
def test_a_fleet_without_history_says_so(path: str) -> None:
    answer = browser_of(AtWork().configure()).get(path)
    assert (answer.status_code, 'class="none"' in answer.text) == (200, True)


def test_the_stacks_of_a_wait_are_as_long_as_the_wait() -> None:
    text = browser_of(with_history()).get("/waits").text
    label = re.search(r'aria-label="Median wait ([^"]+?) by hop: ([^"]+)"', text)
    assert label
    assert [part.split()[0] for part in label[2].split(", ")] == [
        *("webhook", "route", "launch", "boot", "take")
    ]


def test_the_chart_has_its_columns_as_data() -> None:
    text = browser_of(with_history()).get("/waits?over=30").text
    data = re.search(r'data-columns="([^"]+)"', text)
    assert data
    times, over, p50, p95 = json.loads(data[1])
    assert len(times) == len(p50) == len(p95) == len(over) == 25
    assert sum(over) == 1
    assert [value for value in p50 if value is not None] == [
        value for value in p95 if value is not None
    ]


def test_cost_as_csv_adds_up_to_the_page() -> None:
    browser = browser_of(with_history(*month(40, AT)))
    answer = browser.get("/projects.csv?since=30d&by=project")
    head, *lines = answer.text.splitlines()
    assert head.startswith("project,jobs,")
    assert sum(Decimal(line.split(",")[3]) for line in lines) == Decimal("0.16")
    assert "attachment" in answer.headers["content-disposition"]
    assert "$0.16" in browser.get("/projects?since=30d").text


def test_a_jobs_page_has_its_use_cost_and_size() -> None:
    at_work = with_history()
    job = at_work.job(8, waits_s=900)
    at_work.advance(job, "success", at=ago(305), started_at=ago(605), finished_at=ago(305))
    used = Usage(cpu_s=30.0, memory_peak=GB)
    at_work.jobs.extend(RUN_KEY, [Step(at=ago(304), name=StepName.USED, usage=used)])
    text = browser_of(at_work).get("/job?of=8").text
    assert "1.0 GB" in text
    assert "12 % of the machine" in text
    assert "$0.0040" in text
    assert "half the machine would do" in text


# What is kept


def later() -> tuple[list[Callable[[], None]], Clock, Readings]:
    waiting: list[Callable[[], None]] = []
    clock = Clock()
    return waiting, clock, Readings(clock, run=waiting.append, patience_s=0)


def test_an_answer_is_read_behind_the_page_and_kept() -> None:
    waiting, clock, readings = later()
    keep = timedelta(seconds=20)
    assert readings.ask("q", lambda: 1, keep=keep).value is None
    assert readings.ask("q", lambda: 2, keep=keep).value is None  # it is being read
    waiting.pop()()
    assert (readings.ask("q", lambda: 3, keep=keep).value, waiting) == (1, [])
    clock.go(21)
    assert readings.ask("q", lambda: 4, keep=keep).value == 1
    waiting.pop()()
    assert readings.ask("q", lambda: 5, keep=keep).value == 4


def test_an_old_answer_is_shown_with_its_time_and_read_anew() -> None:
    waiting, clock, readings = later()
    browser = browser_of(with_history(), readings=readings)
    assert "Reading the history" in browser.get("/projects").text
    waiting.pop()()
    browser.get("/projects")
    waiting.pop()()
    fresh = browser.get("/projects").text
    assert (f"As of {clock.at:%T} UTC" in fresh, "every 60s" in fresh) == (True, True)
    clock.go(21)
    browser.get("/projects")
    waiting.pop()()  # the page is made anew, before the answer
    old = browser.get("/projects").text
    assert ("being read anew" in old, "load delay:400ms" in old) == (True, True)
    assert "$0.0040" in old


def test_a_failure_keeps_the_answer_before_it() -> None:
    waiting, clock, readings = later()
    keep = timedelta(seconds=20)

    def fails() -> int:
        raise Transient("throttled")

    readings.ask("q", lambda: 1, keep=keep)
    waiting.pop()()
    clock.go(21)
    readings.ask("q", fails, keep=keep)
    waiting.pop()()
    answer = readings.ask("q", fails, keep=keep)
    assert (answer.value, "throttled" in answer.failed) == (1, True)


def test_only_so_many_answers_are_kept() -> None:
    waiting, _, readings = later()
    for number in range(KEPT_AT_MOST + 1):
        readings.ask(number, lambda: 1, keep=timedelta(hours=1))
        waiting.pop()()
    assert readings.ask(1, lambda: 2, keep=timedelta(hours=1)).value == 1
    assert readings.ask(0, lambda: 2, keep=timedelta(hours=1)).value is None


# Rules


def test_a_series_has_a_point_for_each_step() -> None:
    period = Period(since=ago(3600), until=AT)
    at_work = with_history(RUN, replace(RUN, id="rf-docker-2", ended_at=ago(3000), job_id=9))
    series = wait_series(at_work.deployed, period, step=timedelta(minutes=20), over_s=10)
    assert [(point.jobs, point.over) for point in series.points] == [(1, 1), (0, 0), (1, 1)]
    assert series.points[1].p95_s is None
    assert series.view.lines[0].jobs == 2


@pytest.mark.parametrize(
    ("before_s", "out"),
    [([], 0), ([0], 1), ([0.5], 0), ([2, 0], 1), ([0] * 12, 10), ([5] * 10 + [0], 1), ([-1], 0)],
)
def test_a_bucket_refills_with_time(before_s: list[float], out: float) -> None:
    assert taken(BUCKET, [ago(seconds) for seconds in before_s], AT) == out


@pytest.mark.parametrize(
    ("instance_type", "vcpu", "memory_gb"),
    [
        ("m7i.large", 2, 8),
        ("c7a.2xlarge", 8, 16),
        ("r6g.xlarge", 4, 32),
        ("m7i-flex.medium", 1, 4),
        ("t3.medium", 2, 4),
        ("m7i.12xlarge", 48, 192),
    ],
)
def test_a_type_has_its_size(instance_type: str, vcpu: float, memory_gb: float) -> None:
    size = size_of_type(instance_type)
    assert size is not None
    assert (size.vcpu, size.memory_gb) == (vcpu, memory_gb)
    assert size_of_type("x2idn.metal") is None
    assert size_of_lambda(4).memory_gb == 4


@pytest.mark.parametrize(
    ("memory_gb", "cpu_s", "fit"),
    [
        (1.0, 50.0, SizeHint.SMALLER),
        (4.0, 50.0, SizeHint.RIGHT),
        (1.0, 150.0, SizeHint.RIGHT),
        (7.5, 10.0, SizeHint.LARGER),
        (None, 10.0, SizeHint.UNKNOWN),
        (1.0, None, SizeHint.UNKNOWN),
    ],
)
def test_a_fit_follows_memory_and_processors(
    memory_gb: float | None, cpu_s: float | None, fit: SizeHint
) -> None:
    peak = None if memory_gb is None else int(memory_gb * GB)
    usage = Usage(cpu_s=cpu_s, memory_peak=peak)
    assert decide_fit(usage, size_of_type("m7i.large"), 100.0) is fit
    assert decide_fit(usage, None, 100.0) is SizeHint.UNKNOWN
    is_too_small = fit is SizeHint.LARGER
    assert decide_fit(usage, size_of_type("m7i.large"), 29.9) is (
        SizeHint.LARGER if is_too_small else SizeHint.UNKNOWN
    )


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "-"),
        (0, "$0"),
        (0.00004, "<$0.0001"),
        (0.0412, "$0.0412"),
        (1.5, "$1.50"),
        (1234.5, "$1,234"),
    ],
)
def test_amounts_are_short(amount: float | None, shown: str) -> None:
    assert usd(amount) == shown


def test_a_jobs_page_says_that_it_is_being_read() -> None:
    waiting, _, readings = later()
    at_work = AtWork().configure()
    at_work.job(8)
    browser = browser_of(at_work, readings=readings)
    assert "Reading the job" in browser.get("/job?of=8").text
    for made in ("the answer", "the page"):
        assert waiting, made
        waiting.pop(0)()
        text = browser.get("/job?of=8").text
    assert "job-8" in text
