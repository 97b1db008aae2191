"""The pages over the history: jobs, and projects with their cost, also as CSV."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleet.errors import Refused
from fleet.rules.costs import By
from monitor.page import Page
from monitor.questions import read_costs, read_costs_csv, read_jobs
from monitor.readings import KeptAnswer
from operations.periods import read_length, read_period

MINUTE = timedelta(minutes=1)
FRESH, OF_A_MONTH = timedelta(seconds=20), timedelta(minutes=5)
JOBS_SHOWN = 200
PERIODS = ("today", "yesterday", "24h", "7d", "30d")


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/jobs")
    def jobs(
        request: Request,
        since: str = "24h",
        project: Annotated[str, Query(max_length=300)] = "",
        pool: Annotated[str, Query(max_length=100)] = "",
        failed: bool = False,
    ) -> Response:
        read_period(since, page.deployed.clock())  # refuse what is no time before it is read

        filters = {
            "project": project.strip() or None,
            "pool": pool or None,
            "failed": failed,
            "limit": JOBS_SHOWN,
        }
        reading = page.readings.ask(
            ("jobs", since, *filters.values()),
            lambda: page.ask(read_jobs, since, filters),
            keep=kept_for(since),
        )
        values = {"since": since, "project": project, "pool": pool, "failed": failed}
        values |= {"periods": PERIODS, "every_s": every_s(since)}
        return shown(page, request, "jobs.html", reading, values)

    @router.get("/projects")
    def projects(request: Request, since: str = "24h", by: By = By.PROJECT) -> Response:
        read_period(since, page.deployed.clock())
        reading = page.readings.ask(
            ("cost", since, by), lambda: page.ask(read_costs, since, by), keep=kept_for(since)
        )
        values = {"since": since, "by": by, "periods": PERIODS, "kinds": list(By)}
        more = {"every_s": every_s(since)}
        return shown(page, request, "projects.html", reading, values | more)

    @router.get("/projects.csv")
    def projects_csv(since: str = "24h", by: By = By.PROJECT) -> Response:
        name = f"cost-by-{by}-{since}.csv".replace(":", "")
        read_period(since, page.deployed.clock())
        text = page.ask(read_costs_csv, since, by)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return router


def shown(
    page: Page, request: Request, template: str, reading: KeptAnswer, values: Mapping[str, Any]
) -> Response:
    """A page with an answer, or with the word that it is being read."""
    shared = {"reading": reading, "answer": reading.value, "query": str(request.url.query)}
    of = (reading.at, reading.is_reading, reading.failed)
    return page.render(request, template, {**values, **shared}, of=of)


def kept_for(since: str) -> timedelta:
    """How long an answer of a period is kept: a month takes seconds to read, and changes less."""
    try:
        is_short = read_length(since) <= timedelta(days=1)
    except Refused:
        is_short = since == "today"
    return FRESH if is_short else OF_A_MONTH


def every_s(since: str) -> int:
    """How often an open page asks for an answer of a period again."""
    return int(max(kept_for(since), MINUTE).total_seconds())
