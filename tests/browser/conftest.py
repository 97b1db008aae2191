"""A browser for the tests of the dashboard: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from monitor.app import board_of
from monitor.board import Board
from tests.browser.show import asking, fleet_on_show, served
from tests.unit.cli.fleet_at_work import AtWork

expect.set_options(timeout=15_000)
HERE = Path(__file__).parent
SCREENS = HERE.parents[1] / "build" / "screens"
AXE = HERE / "vendor" / "axe-4.14.1.min.js"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
NARROW = {"width": 380, "height": 800}
WIDE = {"width": 1280, "height": 800}


@dataclass
class Visit:
    """One page of the browser on the dashboard, and what its console said."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )

    def go(self, path: str) -> Page:
        """Open a page and wait until it is there, its history included."""
        self.page.goto(self.address + path)
        expect(self.page.get_by_text("Reading the history")).to_have_count(0)
        return self.page

    def keep(self, name: str, *, whole: bool = True) -> None:
        """Keep a picture of the page as output of the tests."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=whole)


@pytest.fixture(scope="session")
def at_work() -> AtWork:
    """The fleet that the dashboard shows."""
    return fleet_on_show()


@pytest.fixture(scope="session")
def board(at_work: AtWork) -> Board:
    """What its dashboard last read."""
    return board_of(at_work.deployed, asking(at_work))


@pytest.fixture(scope="session")
def address(at_work: AtWork, board: Board) -> Iterator[str]:
    """Its dashboard."""
    with served(at_work, board=board) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; the tests are skipped without one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH: `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Visit]:
    """A visit in a browser of its own; at its end the console must be empty.

    The parameter: `light`, `dark` or `narrow`.
    """
    look = getattr(request, "param", "light")
    context = browser.new_context(
        viewport=NARROW if look == "narrow" else WIDE,  # type: ignore[arg-type]
        color_scheme="dark" if look == "dark" else "light",
        accept_downloads=True,
    )
    context.set_default_timeout(15_000)
    visit = Visit(page=context.new_page(), address=address)
    yield visit
    context.close()
    assert visit.complaints == []
