"""What every page has: its template, the picture's age, and how words and numbers are shown."""

import re
import secrets
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fleet.errors import Refused
from monitor import drawings
from monitor.board import Board
from monitor.guard import TOKEN_FIELD, Guard
from monitor.questions import Ask
from monitor.readings import Readings
from operations.controls import Ordered
from operations.durations import duration
from operations.fleet_handle import Deployed
from operations.printable import escaped

TEMPLATES = Path(__file__).with_name("templates")
SEE_OTHER = 303
# The pages in the bar at the top: address, name.
SECTIONS = (
    ("/", "Now"),
    ("/machines", "Machines"),
    ("/waits", "Waits"),
    ("/jobs", "Jobs"),
    ("/projects", "Projects"),
    ("/limits", "Limits"),
)
# A picture older than this is marked as old, in seconds.
OLD_S = 60.0
RESULTS_AT_MOST = 50
_EXPLAINS = re.compile(
    r".*\brunner-fleet'? explain (?:--local )?(?:--stack [\w-]+ )?(\d+)\b", re.ASCII
)
AGES_DIFFER_S = 5.0  # between two renderings of a page of one picture


class Page:
    """Renders templates over one fleet."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        deployed: Deployed,
        board: Board,
        guard: Guard,
        *,
        readings: Readings,
        ask: Ask,
        as_called: Callable[[str], str],
    ) -> None:
        self.deployed = deployed
        self.board = board
        self.guard = guard
        self.readings = readings
        self.pages = readings.separate()  # by their address
        self.ask = ask
        self._results: dict[str, str] = {}  # of the last changes, by a random name
        self._templates = _templates(as_called)

    def render(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        of: Hashable = None,
    ) -> Response:
        """One template with the picture and these values.

        `of`: what the values follow from in addition to the picture. All readers of one address
        share one rendered page; while it is rendered again, some get the previous one.
        """
        picture = self.board.look()
        at = self.deployed.clock()
        age_s = picture.age_s(at)
        shared = {
            "stack": self.deployed.stack,
            "path": request.url.path,
            "picture": picture,
            "view": picture.view,
            "age_s": age_s,
            "is_old": age_s is not None and age_s > OLD_S,
            "at": at,
            "token": self.guard.token,
            "may_change": self.guard.may_change,
            "result": self._results.get(request.query_params.get("result", ""), ""),
        }

        def make() -> str:
            return self._templates.get_template(template).render(shared | dict(values or {}))

        if of is None or shared["result"]:
            return HTMLResponse(make(), status_code=status)
        age = int((age_s or 0) / AGES_DIFFER_S)
        rendered = self.pages.ask(
            str(request.url), make, version=(picture.number, age, of), is_first_awaited=True
        )
        return HTMLResponse(rendered.value or make(), status_code=status)

    def failure(self, request: Request, message: str, *, status: int) -> Response:
        """A page that says what is wrong."""
        return self.render(request, "failure.html", {"message": message}, status=status)

    async def change(self, request: Request) -> Mapping[str, str]:
        """The fields of a form that asks for a change. `Refused` without this page's token."""
        form = await request.form()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if not self.guard.is_ours(fields.get(TOKEN_FIELD, "")):
            raise Refused("the page is from before this dashboard began: load it again")
        return fields

    async def changed(self, address: str, order: Callable[[], Ordered]) -> Response:
        """Give an order, read the fleet again, and lead to the page with the result."""
        ordered = await run_in_threadpool(order)
        await run_in_threadpool(self.board.read_now)
        self.pages.clear()
        name = secrets.token_urlsafe(6)
        self._results[name] = ordered.says
        while len(self._results) > RESULTS_AT_MOST:
            self._results.pop(next(iter(self._results)))
        return back_to(f"{address}?result={name}")


@cache
def _templates(as_called: Callable[[str], str]) -> Environment:
    """All templates, compiled. `as_called` writes the commands in a text as the user calls them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "duration": duration,
        "clock": _clock,
        "date": _date,
        "day": _day,
        "usd": usd,
        "whole": _whole,
        "hops": _hops,
        "bytes": _bytes,
        "words": lambda text: with_code(as_called(text)),
    }
    for name in environment.list_templates():
        environment.get_template(name)
    environment.globals |= {"sections": SECTIONS, "draw": drawings, "token_field": TOKEN_FIELD}
    return environment


def back_to(address: str) -> Response:
    """After a change: show the page with what has changed."""
    return RedirectResponse(address, status_code=SEE_OTHER)


def with_code(text: str) -> Markup:
    """A text with the commands and names in it, between backticks, as code; all of it escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick is a character
        return escape(_printable(text))
    return Markup("").join(
        _code(escaped(part)) if number % 2 else escape(_printable(part))
        for number, part in enumerate(parts)
    )


def _printable(value: Any) -> Any:
    """A text from outside without what would turn the order of the page around it."""
    is_plain = isinstance(value, str) and not isinstance(value, Markup)
    return escaped(value, keep="\n\t") if is_plain else value


def _code(text: str) -> Markup:
    """A command or a name; `explain` of a job leads to the job's page."""
    code = Markup("<code>{}</code>").format(text)
    job = _EXPLAINS.match(text)
    return Markup('<a href="/job?of={}">{}</a>').format(job[1], code) if job else code


def usd(amount: Decimal | float | None) -> str:
    """An amount such as `$0.0041`, `$1.20`, `$1,250`; a dash for none."""
    if amount is None:
        return "-"
    if not amount:
        return "$0"
    if 0 < amount < Decimal("0.0001"):
        return "<$0.0001"
    if amount < Decimal("0.1"):
        return f"${amount:.4f}"
    return f"${amount:,.2f}" if amount < 1000 else f"${amount:,.0f}"


def _hops(shares: Iterable[tuple[str, float]]) -> str:
    """The parts of a wait in words, those that count."""
    return ", ".join(f"{hop} {duration(seconds)}" for hop, seconds in shares if seconds >= 0.05)


def _bytes(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _clock(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%T}"


def _date(at: datetime) -> str:
    return f"{at.astimezone(UTC):%F}"


def _day(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%F %R}"
