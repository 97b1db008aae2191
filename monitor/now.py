"""The first page, live: problems, pools, machines and recent jobs; and the page of machines."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from monitor.board import Picture
from monitor.drawings import lanes_start
from monitor.page import Page
from operations.lanes import Phase, phases_of

# The first page stays readable; /machines has all of them.
LANES_SHOWN = 24
JOBS_SHOWN = 20
OF_PICTURE = "the picture alone"  # what the values of these pages follow from


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/")
    def now(request: Request) -> Response:
        return page.render(request, "now.html", live(page.board.look()), of=OF_PICTURE)

    @router.get("/machines")
    def machines(request: Request) -> Response:
        return page.render(
            request, "machines.html", live(page.board.look(), lanes_shown=None), of=OF_PICTURE
        )

    return router


def live(picture: Picture, *, lanes_shown: int | None = LANES_SHOWN) -> dict[str, object]:
    """The values of the live parts, with at most `lanes_shown` lanes; None: all."""
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
