"""The pages over the history: jobs, and projects with their cost, also as CSV."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleet.errors import Refused
from fleet.rules.costs import By
from monitor.page import Page
from monitor.readings import KeptAnswer
from operations.cost import cost
from operations.jobs import JobsAsked, list_jobs
from operations.periods import read_length, read_period

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

        def read() -> Any:
            period = read_period(since, page.deployed.clock())
            asked = JobsAsked(
                period=period,
                project=project.strip() or None,
                pool=pool or None,
                failed=failed,
                limit=JOBS_SHOWN,
            )
            return list_jobs(page.deployed, asked)

        question = ("jobs", since, project.strip(), pool, failed)
        reading = page.readings.ask(question, read, keep=keep_of(since))
        values = {"since": since, "project": project, "pool": pool, "failed": failed}
        return shown(page, request, "jobs.html", reading, values | {"periods": PERIODS})

    @router.get("/projects")
    def projects(request: Request, since: str = "24h", by: By = By.PROJECT) -> Response:
        read_period(since, page.deployed.clock())
        reading = page.readings.ask(
            ("cost", since, by), lambda: _cost(page, since, by), keep=keep_of(since)
        )
        values = {"since": since, "by": by, "periods": PERIODS, "kinds": list(By)}
        return shown(page, request, "projects.html", reading, values)

    @router.get("/projects.csv")
    def projects_csv(since: str = "24h", by: By = By.PROJECT) -> Response:
        name = f"cost-by-{by}-{since}.csv".replace(":", "")
        view = _cost(page, since, by)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(view.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _cost(page: Page, since: str, by: By) -> Any:
    return cost(page.deployed, read_period(since, page.deployed.clock()), by)


def shown(
    page: Page, request: Request, template: str, reading: KeptAnswer, values: Mapping[str, Any]
) -> Response:
    """A page with an answer, or with the word that it is being read."""
    shared = {"reading": reading, "answer": reading.value, "asked": str(request.url.query)}
    return page.render(request, template, {**values, **shared})


def keep_of(since: str) -> timedelta:
    """How long an answer of a period is kept: a month takes seconds to read, and changes less."""
    try:
        is_short = read_length(since) <= timedelta(days=1)
    except Refused:
        is_short = since == "today"
    return FRESH if is_short else OF_A_MONTH
