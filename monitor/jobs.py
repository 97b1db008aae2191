"""One job's page, and the box that takes a job's address."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleet.errors import Refused
from monitor.page import Page, back_to
from operations.deployed import gitlab_of
from operations.explain import Unknown, explain_job, read_asked
from operations.job_use import job_use


def routes(page: Page, token_env: str) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/find")
    def find(request: Request, job: Annotated[str, Query(max_length=2000)] = "") -> Response:
        """From the box to the job's page."""
        try:
            asked = read_asked(job.strip())
        except Refused as error:
            return page.failure(request, str(error), status=400)
        return back_to(
            f"/job?of={quote(job.strip(), safe='')}" if asked.project else f"/job?of={asked.job_id}"
        )

    @router.get("/job")
    def job(request: Request, of: Annotated[str, Query(max_length=2000)]) -> Response:
        return shown(request, of, "job.html")

    @router.get("/parts/job")
    def live_job(request: Request, of: Annotated[str, Query(max_length=2000)]) -> Response:
        return shown(request, of, "parts/job.html")

    def shown(request: Request, of: str, template: str) -> Response:
        try:
            asked = read_asked(of)
            answer = explain_job(page.deployed, asked, lambda: gitlab_of(page.deployed, token_env))
        except Refused as error:
            return page.failure(request, str(error), status=400)
        if isinstance(answer, Unknown):
            return page.render(request, "unknown.html", {"answer": answer}, status=404)
        total = sum(hop.after_s or 0.0 for hop in answer.hops)
        use = job_use(page.deployed, answer)
        values = {"trail": answer, "of": of, "total_s": total, "use": use}
        return page.render(request, template, values)

    return router
