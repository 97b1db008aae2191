"""The dashboard's pages over a fleet in memory: what they show, and whom they refuse."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.ledger.spending import spending_changes
from fleet.errors import Transient
from fleet.machine.mailbox import MachineState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from local.past_month import month
from monitor.page import with_code
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork, ago
from tests.unit.fleet.facts import AT as PAST_AT
from tests.unit.fleet.past_runs import jobless, past
from tests.unit.monitor.browsing import browser_of

PAGES = ("/", "/machines", "/job?of=8")
HTML = re.compile(r"<(script|img|i)[^a-z]")


def at_work_with_one_job() -> AtWork:
    at_work = AtWork().configure()
    at_work.job(8)
    at_work.reports(at_work.runner(1), MachineState.IDLE)
    return at_work


# What they show


@pytest.mark.parametrize("path", PAGES)
def test_a_page_answers_with_its_policy(path: str) -> None:
    answer = browser_of(at_work_with_one_job()).get(path)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert 'style="' not in answer.text  # the policy would drop it
    assert not re.search(r"<script>|\son\w+=", answer.text)


@pytest.mark.parametrize(
    "path", [*PAGES, "/metrics", "/waits", "/jobs", "/projects", "/limits", "/pools/docker"]
)
def test_a_page_answers_before_the_fleet_was_read(path: str) -> None:
    assert browser_of(at_work_with_one_job(), is_read=False).get(path).status_code == 200


def test_a_pool_shows_what_waits_and_why() -> None:
    at_work = AtWork().configure()
    for number in range(3):
        at_work.job(number + 1, waits_s=90)
    at_work.fleet.note_decision("docker", Reason.AT_CEILING.value)
    text = browser_of(at_work).get("/").text
    assert 'aria-label="Pool docker: 3 waiting; ceiling 5"' in text
    assert "3 waiting" in text
    assert "oldest 1m 30s" in text
    assert "as many runners as its ceiling allows" in text


@pytest.mark.parametrize("path", ["/", "/pools/docker"])
def test_a_back_off_stands_with_its_capacity_pool(path: str) -> None:
    at_work = AtWork().configure()
    later = BackOff(until=AT + timedelta(seconds=60), failures=1, code="NoCapacity")
    at_work.fleet.note_back_off("docker", {"m7i.large/a/spot": later})
    text = browser_of(at_work).get(path).text
    assert "not launched in m7i.large/a/spot for 1m 00s more: NoCapacity" in text


def test_budgets_stand_with_what_is_spent() -> None:
    budgets = '\n[budgets.projects]\n"acme/demo" = 4.0\n'
    at_work = AtWork().configure(FLEET + "budget_usd_per_day = 0.5\n" + budgets)
    at_work.job(1)
    run = replace(next(month(1, AT)), ended_at=AT, pool="docker", project_id=7, usd_nano=2 * 10**9)
    for change in spending_changes(run):
        at_work.table.write(change)
    text = browser_of(at_work).get("/").text
    assert "$2.00 of $0.50 spent today (UTC)" in text
    assert "nothing is launched until 00:00 UTC" in text
    assert "$2.00 of $4.00 spent today (UTC)" in text


@pytest.mark.parametrize(("silent_s", "is_marked"), [(120, False), (300, True)])
def test_a_machine_is_marked_as_silent_by_its_pools_own_limit(
    silent_s: float, is_marked: bool
) -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1, launched_s=4000)
    at_work.reports(runner, MachineState.BUSY, heartbeat_at=ago(silent_s))
    assert ("! silent 5m 00s" in browser_of(at_work).get("/machines").text) is is_marked


def test_problems_are_the_first_section() -> None:
    at_work = AtWork().configure()
    at_work.job(7, pool=None, reason=Reason.NO_POOL, waits_s=700, tags=("gpu",))
    text = browser_of(at_work).get("/").text
    assert text.index("job 7") < text.index('id="pools-title"')
    assert '<a href="/job?of=7"><code>runner-fleet explain 7</code></a>' in text


@pytest.mark.parametrize(
    ("command", "leads"),
    [
        ("./runner-fleet explain --local 7", True),
        ("'/my fleet/runner-fleet' explain --stack b 7", True),
        ("runner-fleet explain <job>", False),
        ("runner-fleet logs 7", False),
    ],
)
def test_a_command_that_explains_leads_to_the_page_of_its_job(command: str, leads: bool) -> None:
    html = with_code(f"see `{command}`")
    assert html.startswith('see <a href="/job?of=7"><code>') is leads


def test_words_from_outside_are_no_markup() -> None:
    bad = "<script>x</script><img/onerror=1>\"'<i>"
    at_work = AtWork().configure()
    at_work.job(8, name=bad, project_path=bad, tags=(bad,), pool=None, reason=Reason.NO_POOL)
    browser = browser_of(at_work)
    for path in PAGES:
        assert not HTML.search(browser.get(path).text.partition("<main")[2]), path


def test_no_character_from_outside_turns_the_order_of_a_page() -> None:
    bad = "x\u202egnp.exe\u2066\u200f\x1b[2J\x9b`\u202e`"
    at_work = AtWork().configure()
    at_work.job(8, name=bad, project_path=bad, tags=(bad,), pool=None, reason=Reason.NO_POOL)
    browser = browser_of(at_work)
    for path in PAGES:
        text = browser.get(path).text
        assert [
            character
            for character in text
            if not character.isprintable() and character not in "\n\t"
        ] == [], path
    assert "\\u202egnp.exe" in browser.get("/job?of=8").text


def test_a_reading_that_fails_keeps_the_picture_and_says_so() -> None:
    at_work = at_work_with_one_job()
    browser = browser_of(at_work)
    at_work.table.failing = Transient("throttled")
    at_work.clock.go(120)
    browser.board.read_now()
    text = browser.get("/").text
    assert "throttled" in text
    assert "2m 00s old" in text
    assert "rf-docker-000000000001" in text
    assert "runner_fleet_up 0.0" in browser.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/machines", "/pools/docker", "/job?of=8"])
def test_a_live_page_asks_for_itself_again(path: str) -> None:
    text = browser_of(at_work_with_one_job()).get(path).text
    assert f'id="live" hx-get="{path}"' in text


def test_a_stream_says_each_picture_and_ends_with_its_reader() -> None:
    board = browser_of(at_work_with_one_job()).board

    async def read() -> list[int]:
        changes = board.changes(look_s=0)
        first = await anext(changes)
        assert board.streams == 1
        board.read_now()
        second = await anext(changes)
        await changes.aclose()
        return [first, second]

    assert asyncio.run(read()) == [1, 2]
    assert board.streams == 0


def test_an_unknown_job_says_what_to_check() -> None:
    answer = browser_of(at_work_with_one_job()).get("/job?of=999")
    assert answer.status_code == 404
    assert "webhook" in answer.text


@pytest.mark.parametrize(
    ("typed", "status"),
    [
        ("8", 200),
        ("https://gitlab.example.com/acme/demo/-/jobs/8", 200),
        ("acme/demo#8", 200),
        ("https://gitlab.elsewhere.com/acme/demo/-/jobs/8", 400),
        ("what?", 400),
        ("", 400),
    ],
)
def test_the_box_takes_a_jobs_address_or_id(typed: str, status: int) -> None:
    answer = browser_of(at_work_with_one_job()).get("/find", params={"job": typed})
    assert answer.status_code == status
    assert ("job-8" in answer.text) == (status == 200)


def test_a_missing_page_is_a_page() -> None:
    answer = browser_of(at_work_with_one_job()).get("/nowhere")
    assert (answer.status_code, "Not possible" in answer.text) == (404, True)


# Whom they refuse


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8720", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/live", "/static/page.css"])
def test_a_foreign_host_name_is_refused(host: str, path: str) -> None:
    answer = browser_of(at_work_with_one_job()).get(path, headers={"Host": host})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8720", "[::1]:8720"])
def test_names_of_this_machine_are_accepted(host: str) -> None:
    assert browser_of(at_work_with_one_job()).get("/", headers={"Host": host}).status_code == 200


# Metrics


def test_metrics_show_pools_runners_queues_and_problems() -> None:
    at_work = AtWork().configure()
    at_work.reports(at_work.runner(1), MachineState.BUSY, job_id=8)
    at_work.job(7, pool=None, reason=Reason.NO_POOL, waits_s=700, tags=("gpu",))
    at_work.job(6, waits_s=30)
    text = browser_of(at_work).get("/metrics").text
    samples = {
        (sample.name.removeprefix("runner_fleet_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["up",] == 1
    assert samples["jobs_waiting", "docker"] == 1
    assert samples["oldest_wait_seconds", "docker"] == 30
    assert samples["runners", "busy", "docker"] == 1
    assert samples["runners", "booting", "docker"] == 0
    assert (samples["in_use", "docker"], samples["ceiling", "docker"]) == (1, 5)
    assert samples["dead_letters", "events"] == 0
    assert samples["problems", "no_pool"] == 1
    assert (samples["stuck_jobs",], samples["leaked",]) == (1, 0)


def test_metrics_show_waits_by_hop_ends_cost_and_calls() -> None:
    at_work = AtWork().configure()
    at_work.clock.at = PAST_AT
    old = past(2, ended_s=-3700, usd_nano=10**9, taken_at=None)
    for run in (past(1, ended_s=-9), old, jobless(3, ended_s=-9, reason="boot_deadline")):
        at_work.deployed.history.write(run)
    text = browser_of(at_work).get("/metrics").text
    samples = {
        (sample.name.removeprefix("runner_fleet_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    hops = {"all": 60, "webhook": 1, "route": 2, "launch": 7, "boot": 40, "take": 10}
    waits = {
        name[1]: value
        for name, value in samples.items()
        if (name[0], *name[2:]) == ("wait_seconds", "docker", "0.95")
    }
    assert waits == hops
    assert samples["wait_seconds", "boot", "all", "0.5"] == 40
    assert samples["machines_ended_today", "docker", "finished"] == 2
    assert samples["machines_ended_today", "docker", "boot_deadline"] == 1
    assert samples["cost_usd_today", "docker"] == pytest.approx(1.004)
    assert samples["gitlab_calls_left",] == 300


def test_a_jobs_page_leads_to_gitlab_and_says_when_its_steps_were() -> None:
    text = browser_of(at_work_with_one_job()).get("/job?of=8").text
    assert 'href="https://gitlab.example.com/acme/demo/-/jobs/8"' in text
    assert f"from {AT:%F}, times in UTC" in text
