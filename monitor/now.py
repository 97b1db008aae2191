"""The first page: problems, pools, machines and recent jobs, live; and a page for each pool."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from monitor.board import Picture
from monitor.drawings import lanes_start
from monitor.page import Page
from operations.lanes import Phase, phases_of

# The first page stays readable; /machines has all of them.
LANES_SHOWN = 24
JOBS_SHOWN = 20
ALL = "the picture alone"


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/")
    def now(request: Request) -> Response:
        return page.render(request, "now.html", live(page.board.look()), of=ALL)

    @router.get("/machines")
    def machines(request: Request) -> Response:
        return page.render(
            request, "machines.html", live(page.board.look(), lanes_shown=None), of=ALL
        )

    return router


def live(picture: Picture, *, lanes_shown: int | None = LANES_SHOWN) -> dict[str, object]:
    """The values of the live parts, `lanes_shown` of the machines."""
    lanes = picture.lanes
    shown = lanes[:lanes_shown]
    at = picture.view.at if picture.view else None
    return {
        "lanes": shown,
        "is_detailed": lanes_shown is None,
        "lanes_hidden": len(lanes) - len(shown),
        "lanes_from": lanes_start(shown, at) if at else None,
        "counts": {pool.name: phases_of(pool) for pool in picture.view.pools}
        if picture.view
        else {},
        "jobs": picture.view.jobs[:JOBS_SHOWN] if picture.view else (),
        "phases": list(Phase),
    }
