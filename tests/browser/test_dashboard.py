"""The dashboard in a browser: every page, every button, light, dark, narrow, by keyboard."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fleet.reasons import Reason
from monitor.board import Board
from tests.browser.conftest import AXE, Visit
from tests.browser.show import served
from tests.integration.runs import eventually
from tests.unit.cli.fleet_at_work import AtWork

pytestmark = pytest.mark.browser

PAGES = {
    "now": "/",
    "machines": "/machines",
    "waits": "/waits?span=month",
    "jobs": "/jobs",
    "projects": "/projects?since=30d",
    "limits": "/limits",
    "pool": "/pools/big",
    "job": "/job?of=8001",
}
ABSENT = ("/job?of=1", "/nowhere", "/find?job=what", "/jobs?since=soon")
LOOKS = ("light", "dark", "narrow")


def findings(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds on a page, in short."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        {"rule": violation["id"], "where": [node["target"] for node in violation["nodes"]][:3]}
        for violation in result["violations"]
    ]


def reads_well(visit: Visit) -> None:
    """Nothing hangs over the side, and axe-core finds nothing."""
    over = visit.page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert over <= 0, f"{over} pixels hang over the side"
    assert findings(visit.page) == []


@pytest.mark.parametrize("visit", LOOKS, indirect=True)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_well(name: str, visit: Visit, request: pytest.FixtureRequest) -> None:
    visit.go(PAGES[name])
    look = request.node.callspec.params["visit"]
    visit.keep(f"{name}-{look}")
    visit.keep(f"{name}-{look}-first", whole=False)  # docs/images has copies of some
    reads_well(visit)


@pytest.mark.parametrize("visit", ["narrow"], indirect=True)
def test_a_narrow_page_names_no_field_that_is_empty(visit: Visit) -> None:
    empty = visit.go("/jobs").locator("td:empty")
    assert empty.count() > 0
    assert not any(field.is_visible() for field in empty.all())


@pytest.mark.parametrize("path", ABSENT)
def test_a_page_that_is_not_there_reads_well(path: str, visit: Visit) -> None:
    visit.go(path)
    reads_well(visit)
    expect(visit.page.locator("h1")).to_be_visible()
    # The browser itself notes each answer of 400 or 404.
    visit.complaints[:] = [
        complaint for complaint in visit.complaints if "status of 40" not in complaint
    ]


@pytest.mark.parametrize(
    ("job_id", "lacks"),
    [(9999, ""), (9994, "Object.defineProperty(navigator, 'locks', {value: undefined})")],
    ids=["loopback", "another address"],  # a browser has locks on secure and loopback ones alone
)
def test_the_page_follows_the_fleet(job_id: int, lacks: str, visit: Visit, at_work: AtWork) -> None:
    visit.page.add_init_script(lacks)
    page = visit.go("/")
    expect(page.get_by_text(f"job-{job_id}")).to_have_count(0)
    at_work.job(job_id, pool="big", waits_s=1, reason=Reason.AT_CEILING)
    expect(page.get_by_text(f"job-{job_id}")).to_be_visible()


def test_what_has_the_keyboard_keeps_it_on_a_live_page(visit: Visit, at_work: AtWork) -> None:
    page = visit.go("/")
    link = page.locator("#pool-big")
    link.focus()
    at_work.job(9998, pool="big", waits_s=1, reason=Reason.AT_CEILING)
    expect(page.get_by_text("job-9998")).to_be_visible()
    expect(link).to_be_focused()


def test_a_pools_page_follows_the_fleet(visit: Visit, at_work: AtWork) -> None:
    page = visit.go("/pools/big")
    page.get_by_label("Note", exact=False).first.fill("half a note")
    numbers = page.locator("#live .numbers")
    before = numbers.inner_text()
    at_work.job(9997, pool="big", waits_s=1, reason=Reason.AT_CEILING)
    expect(numbers).not_to_have_text(before)
    expect(page.get_by_label("Note", exact=False).first).to_have_value("half a note")


def test_many_tabs_share_one_stream(visit: Visit, at_work: AtWork, board: Board) -> None:
    pages = [visit.page, *(visit.page.context.new_page() for _ in range(8))]
    for page in pages:  # more than the six connections that a browser gives to a host
        page.goto(visit.address + "/")
    at_work.job(9996, pool="big", waits_s=1, reason=Reason.AT_CEILING)
    for page in pages:
        expect(page.get_by_text("job-9996")).to_be_visible()
    assert board.streams == 1
    pages[0].goto("about:blank")  # it had the stream; another page takes it over
    at_work.job(9995, pool="big", waits_s=1, reason=Reason.AT_CEILING)
    for page in pages[1:]:
        expect(page.get_by_text("job-9995")).to_be_visible()
    for page in pages:
        page.close()
    eventually(lambda: board.streams == 0)


def test_an_open_page_says_when_the_dashboard_has_ended(visit: Visit, at_work: AtWork) -> None:
    with served(at_work) as address:
        visit.page.goto(address)
        banner = visit.page.get_by_role("alert")
        expect(banner).to_have_count(0)
    expect(banner).to_contain_text("does not answer")
    reads_well(visit)
    visit.complaints.clear()  # the browser itself notes that it could not connect


def test_the_box_finds_a_job_by_keyboard(visit: Visit) -> None:
    page = visit.go("/")
    page.keyboard.press("/")
    page.keyboard.type("https://gitlab.example.com/acme/demo/-/jobs/8002")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("8002")


def test_the_first_stop_of_the_keyboard_leads_to_the_content(visit: Visit) -> None:
    page = visit.go("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_every_action_is_reached_by_keyboard_and_seen_to_be(visit: Visit) -> None:
    page = visit.go("/pools/big")
    focused = "(({outlineStyle}, text) => [text.trim(), outlineStyle])"
    reached = set()
    for _ in range(page.locator("a, button, input, select").count()):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(
            f"{focused}(getComputedStyle(document.activeElement), document.activeElement.innerText)"
        )
        if page.evaluate("document.activeElement === document.body"):
            break  # after the last one
        assert outline == "solid", text
        reached.add(text)
    assert reached >= {"Pause", "Set", "End after its job", "Explain", "its jobs", "Limits"}


def test_the_theme_turns_and_stays(visit: Visit) -> None:
    page = visit.go("/waits?span=month")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("Theme"))
    button.click()
    button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate(ground)
    assert dark != light
    visit.go("/")
    assert page.evaluate(ground) == dark
    page.keyboard.press("t")
    assert page.evaluate(ground) == light


def test_the_chart_is_drawn_and_its_numbers_open(visit: Visit) -> None:
    page = visit.go("/waits?span=month")
    expect(page.locator("#chart canvas")).to_be_visible()
    page.get_by_text("The numbers").click()
    expect(page.get_by_role("region", name="Waits over time")).to_be_visible()
    reads_well(visit)


@pytest.mark.parametrize(
    ("path", "choices", "ends"),
    [
        ("/waits", {"span": "week", "over": "30.0"}, "span=week&over=30.0"),
        ("/jobs", {"since": "7d", "project": "acme/platform", "pool": "node"}, "pool=node"),
        ("/projects", {"since": "7d", "by": "pool"}, "since=7d&by=pool"),
    ],
)
def test_a_choice_is_shown(path: str, choices: dict[str, str], ends: str, visit: Visit) -> None:
    page = visit.go(path)
    form = page.locator("form.choices")
    for name, value in choices.items():
        control = form.locator(f"[name={name}]")
        is_list = control.evaluate("one => one.tagName") == "SELECT"
        control.select_option(value) if is_list else control.fill(value)
    form.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(re.escape(ends)))
    expect(page.locator("h1")).to_be_visible()


def test_the_cost_is_downloaded_as_csv(visit: Visit) -> None:
    page = visit.go("/projects?since=30d")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    text = download.value.path().read_text(encoding="utf-8")
    assert text.startswith("project,jobs,")
    assert len(text.splitlines()) == 41


def test_a_pool_is_paused_and_resumed(visit: Visit) -> None:
    page = visit.go("/pools/docker")
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    page.get_by_role("button", name="Pause").click()  # without its note it is not sent
    expect(page.locator(".paused")).to_have_count(0)
    page.locator("form[action$=pause]").get_by_label("Note").fill("AWS is slow today")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live .paused")).to_be_visible()
    expect(page.get_by_text("AWS is slow today")).to_be_visible()
    reads_well(visit)
    visit.keep("pool-paused-light")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#live .paused")).to_have_count(0)


def test_a_ceiling_is_set_for_a_time_and_reset(visit: Visit) -> None:
    page = visit.go("/pools/docker")
    page.get_by_label("Ceiling", exact=True).fill("3")
    page.get_by_role("button", name="Set").click()
    expect(page.locator(".result")).to_contain_text("ceiling 3")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_role("button", name="Reset")).to_have_count(0)


def test_a_runner_is_ended_after_its_job(visit: Visit) -> None:
    page = visit.go("/pools/node")
    button = page.get_by_role("button", name="End after its job: rf-node-000000000013")
    button.click()
    expect(page.locator(".result")).to_contain_text("ends after its job")
    expect(button).to_have_count(0)
