"""The page of limits: what AWS and GitLab allow, and how much of it is used."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters.aws.clients import Clients
from monitor.page import Page
from operations.deployed import gitlab_of
from operations.quotas import QuotaSources, read_quotas

KEEP = timedelta(minutes=1)


def routes(page: Page, aws: Clients | None, token_env: str) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/limits")
    def limits(request: Request) -> Response:
        def read() -> Any:
            picture = page.board.picture
            picture = picture if picture.view else page.board.read_now()
            if picture.view is None:
                return ()
            gitlab = gitlab_of(page.deployed, token_env)
            sources = QuotaSources(deployed=page.deployed, aws=aws, gitlab=gitlab)
            return read_quotas(sources, picture.view, picture.lanes)

        reading = page.readings.ask("limits", read, keep=KEEP)
        values = {"reading": reading, "answer": reading.value, "asked": ""}
        return page.render(request, "limits.html", values)

    return router
