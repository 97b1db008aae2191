"""A pool's page with an operator's orders: pause, resume, another ceiling for a time, ends."""

from collections.abc import Mapping
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.responses import Response

from fleet.errors import Refused
from monitor.drawings import lanes_start
from monitor.page import Page
from operations.controls import Ordered, end_runner, pause, reset_ceiling, resume, set_ceiling
from operations.lanes import phases_of
from operations.periods import read_length

DEFAULT_LENGTH = "2h"


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/pools/{name}")
    def pool(request: Request, name: str) -> Response:
        values = _values(page, name)
        if values is None:
            return page.failure(request, f"the fleet has no pool {name}", status=404)
        return page.render(request, "pool.html", values, of=name)

    @router.post("/pools/{name}/{kind}")
    async def order(request: Request, name: str, kind: str) -> Response:
        fields = await page.change(request)
        return await page.changed(f"/pools/{name}", lambda: _ordered(page, name, kind, fields))

    return router


def _ordered(page: Page, name: str, kind: str, fields: Mapping[str, str]) -> Ordered:
    deployed, note = page.deployed, fields.get("note", "").strip()[:300]
    match kind:
        case "pause":
            return pause(deployed, name, note=note, until=_until(page, fields.get("lasts", "")))
        case "resume":
            return resume(deployed, name)
        case "ceiling":
            lasts = read_length(fields.get("lasts", "").strip() or DEFAULT_LENGTH)
            ceiling = _whole_number(fields.get("ceiling", ""))
            return set_ceiling(deployed, name, ceiling, lasts=lasts, note=note)
        case "reset-ceiling":
            return reset_ceiling(deployed, name)
        case "end":
            return end_runner(deployed, fields.get("runner", ""), note=note)
        case _:
            raise Refused("a pool can be paused, resumed, and given another ceiling")


def _until(page: Page, lasts: str) -> datetime | None:
    """The end of a pause; None: until it is taken back."""
    return page.deployed.clock() + read_length(lasts.strip()) if lasts.strip() else None


def _whole_number(text: str) -> int:
    if not text.strip().isdecimal():
        raise Refused("a ceiling is a whole number, such as 0 or 25")
    return int(text)


def _values(page: Page, name: str) -> dict[str, object] | None:
    """The values of a pool's page; without a pool before the fleet was read first.

    None: the fleet has no such pool.
    """
    picture = page.board.look()
    view = picture.view
    if view is None:
        return {"name": name, "pool": None}
    pool = next((pool for pool in view.pools if pool.name == name), None)
    if pool is None:
        return None
    lanes = [lane for lane in picture.lanes if lane.machine.pool == name]
    orders = [control for control in view.controls if control.about in {name, "*"}]
    ends = {control.about: control for control in view.controls if control.kind == "end"}
    return {
        "name": name,
        "pool": pool,
        "counts": phases_of(pool),
        "lanes": lanes,
        "lanes_from": lanes_start(lanes, view.at),
        "is_detailed": True,
        "orders": orders,
        "is_paused": any(order.kind == "pause" for order in orders),
        "has_ceiling": any(order.kind == "ceiling" for order in orders),
        "ends": ends,
        "length": DEFAULT_LENGTH,
    }
