"""The page of limits: what AWS and GitLab allow, and how much of it is used."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from monitor.answer_page import answer_page
from monitor.page import Page
from monitor.questions import read_limits

KEEP = timedelta(minutes=1)


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/limits")
    def limits(request: Request) -> Response:
        def read() -> Any:
            picture = page.board.picture
            picture = picture if picture.view else page.board.read_now()
            if picture.view is None:
                return ()
            return page.ask(read_limits, picture.view, picture.lanes)

        reading = page.readings.ask("limits", read, keep=KEEP)
        values = {"every_s": int(KEEP.total_seconds())}
        return answer_page(page, request, "limits.html", reading, values)

    return router
