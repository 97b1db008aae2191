"""The pages over the history: jobs, and projects with their cost, also as CSV."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleet.rules.costs import By
from monitor.answer_page import answer_page, keep_for, refresh_s
from monitor.page import Page
from monitor.questions import read_costs, read_costs_csv, read_jobs
from operations.periods import read_period

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
            keep=keep_for(since),
        )
        values = {"since": since, "project": project, "pool": pool, "failed": failed}
        values |= {"periods": PERIODS, "every_s": refresh_s(since)}
        return answer_page(page, request, "jobs.html", reading, values)

    @router.get("/projects")
    def projects(request: Request, since: str = "24h", by: By = By.PROJECT) -> Response:
        read_period(since, page.deployed.clock())
        reading = page.readings.ask(
            ("cost", since, by), lambda: page.ask(read_costs, since, by), keep=keep_for(since)
        )
        values = {"since": since, "by": by, "periods": PERIODS, "kinds": list(By)}
        more = {"every_s": refresh_s(since)}
        return answer_page(page, request, "projects.html", reading, values | more)

    @router.get("/projects.csv")
    def projects_csv(since: str = "24h", by: By = By.PROJECT) -> Response:
        name = f"cost-by-{by}-{since}.csv".replace(":", "")
        read_period(since, page.deployed.clock())
        text = page.ask(read_costs_csv, since, by)
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return router
