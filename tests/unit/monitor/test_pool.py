"""Changes from the dashboard: pause, resume, another ceiling, ends; and whom they are refused."""

import re

import pytest

from fleet.machine.mailbox import MachineState
from tests.unit.cli.fleet_at_work import AtWork
from tests.unit.monitor.browsing import Browser, browser_of

POOL = "/pools/docker"


def orders(at_work: AtWork) -> list[tuple[str, str, int | None, str]]:
    """What is in force, in short."""
    return [
        (str(control.kind), control.about, control.ceiling, control.note)
        for control in at_work.fleet.controls()
    ]


def with_a_runner() -> AtWork:
    at_work = AtWork().configure()
    at_work.reports(at_work.runner(1), MachineState.IDLE)
    return at_work


def test_a_pause_with_a_note_is_in_force_and_shown() -> None:
    at_work = with_a_runner()
    browser = browser_of(at_work)
    answer = browser.post(f"{POOL}/pause", {"note": "AWS is <slow>", "lasts": "2h"})
    assert answer.status_code == 200
    assert orders(at_work) == [("pause", "docker", None, "AWS is <slow>")]
    assert "AWS is &lt;slow&gt;" in answer.text
    assert 'class="result"' in answer.text
    browser.post(f"{POOL}/resume", {})
    assert orders(at_work) == []


def test_another_ceiling_lasts_for_a_time_and_is_taken_back() -> None:
    at_work = with_a_runner()
    browser = browser_of(at_work)
    browser.post(f"{POOL}/ceiling", {"ceiling": "25", "lasts": "30m"})
    assert orders(at_work) == [("ceiling", "docker", 25, "")]
    assert "reset-ceiling" in browser.get(POOL).text
    browser.post(f"{POOL}/reset-ceiling", {})
    assert orders(at_work) == []


def test_a_runner_is_ended_after_its_job() -> None:
    at_work = with_a_runner()
    browser_of(at_work).post(f"{POOL}/end", {"runner": "rf-docker-000000000001"})
    assert [about for _, about, _, _ in orders(at_work)] == ["rf-docker-000000000001"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("pause", {"lasts": "soon"}),
        ("ceiling", {"ceiling": "many"}),
        ("ceiling", {"ceiling": "-1"}),
        ("ceiling", {"ceiling": "99999999"}),
        ("end", {"runner": "rf-docker-9"}),
        ("explode", {}),
    ],
)
def test_a_wrong_field_is_a_page_that_says_so(kind: str, fields: dict[str, str]) -> None:
    at_work = with_a_runner()
    answer = browser_of(at_work).post(f"{POOL}/{kind}", fields)
    assert (answer.status_code, orders(at_work)) == (400, [])
    assert "Not possible" in answer.text


def test_an_unknown_pool_is_a_page_that_says_so() -> None:
    assert browser_of(with_a_runner()).get("/pools/none").status_code == 404


# Whom they are refused


def refusal(browser: Browser, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return browser.post(f"{POOL}/pause", {"note": "x"}, headers=named).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
    ],
)
def test_a_change_from_another_site_is_refused(headers: dict[str, str]) -> None:
    at_work = with_a_runner()
    assert refusal(browser_of(at_work), **headers) == 403
    assert orders(at_work) == []


@pytest.mark.parametrize("token", ["", "x", "ä"])
def test_a_change_without_the_pages_token_is_refused(token: str) -> None:
    at_work = with_a_runner()
    answer = browser_of(at_work).post(f"{POOL}/pause", {"token": token, "note": "x"})
    assert (answer.status_code, orders(at_work)) == (400, [])


def test_an_address_that_others_reach_only_shows() -> None:
    at_work = with_a_runner()
    browser = browser_of(at_work, may_change=False)
    assert not re.search(r'<form[^>]*method="post"', browser.get(POOL).text)
    assert refusal(browser) == 403
    assert orders(at_work) == []


@pytest.mark.parametrize("path", [f"{POOL}/pause", f"{POOL}/resume", f"{POOL}/ceiling?ceiling=1"])
def test_a_get_changes_nothing(path: str) -> None:
    at_work = with_a_runner()
    assert browser_of(at_work).get(path).status_code in {404, 405}
    assert orders(at_work) == []
