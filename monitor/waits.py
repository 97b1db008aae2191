"""The page of waits: p50 and p95 stacked by hop, jobs over a threshold, and how they went."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

from fastapi import APIRouter, Request
from starlette.responses import Response

from fleet.errors import Refused
from fleet.past import WaitHop
from fleet.rules.waits import WaitLine
from monitor.answer_page import answer_page, keep_for, refresh_s
from monitor.page import Page
from monitor.questions import read_waits
from monitor.readings import KeptAnswer
from operations.wait_series import ChartSpan

OVER_S = (10.0, 30.0, 60.0, 120.0, 300.0, 900.0)


SPANS = {
    "day": ChartSpan(name="day", since="24h", step=timedelta(hours=1)),
    "week": ChartSpan(name="week", since="7d", step=timedelta(hours=6)),
    "month": ChartSpan(name="month", since="30d", step=timedelta(days=1)),
}


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/waits")
    def waits(request: Request, span: str = "day", over: float = 60.0) -> Response:
        chosen = SPANS.get(span)
        if chosen is None:
            raise Refused(f"no span {span}: write {', '.join(SPANS)}")
        over_s = min(max(over, 0.0), 86_400.0)

        reading = page.readings.ask(
            ("waits", chosen.name, over_s),
            lambda: page.ask(read_waits, chosen, over_s),
            keep=keep_for(chosen.since),
        )
        values = {"span": chosen, "spans": SPANS.values(), "over_s": over_s, "overs": OVER_S}
        more = _of_waits(reading) if reading.value else {}
        more |= {"every_s": refresh_s(chosen.since)}
        return answer_page(page, request, "waits.html", reading, values | more)

    return router


def _of_waits(reading: KeptAnswer) -> dict[str, object]:
    """The stacks of each line, and the chart's columns as JSON: seconds of Unix time, then rows."""
    lines: Sequence[WaitLine] = reading.value.view.lines
    points = reading.value.points
    columns = [
        [point.at.timestamp() for point in points],
        [point.over for point in points],
        [point.p50_s for point in points],
        [point.p95_s for point in points],
    ]
    longest = max((line.p95_s for line in lines), default=0.0)
    return {
        "lines": [(line, _typical(line), _slow(line)) for line in lines],
        "longest_s": longest,
        "columns": json.dumps(columns),
        "hops": list(WaitHop),
    }


def _typical(line: WaitLine) -> list[tuple[str, float]]:
    """The median wait, shared by what the hops of all jobs took."""
    return _shares(line.p50_s, {hop.hop: hop.mean_s for hop in line.hops})


def _slow(line: WaitLine) -> list[tuple[str, float]]:
    """The p95 wait, shared by what the hops of the slowest jobs took."""
    return _shares(line.p95_s, {hop.hop: hop.at_p95_s for hop in line.hops})


def _shares(whole: float, weights: Mapping[WaitHop, float]) -> list[tuple[str, float]]:
    total = sum(weights.values())
    return [
        (hop.value, whole * weight / total if total else 0.0) for hop, weight in weights.items()
    ]
