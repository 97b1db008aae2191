"""One job's page, and the box that takes a job's address."""

from datetime import timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fleet.errors import Refused
from monitor.answer_page import answer_page
from monitor.page import Page, back_to
from monitor.questions import read_job
from operations.explain import UnknownJob, read_reference

KEEP = timedelta(seconds=2)


def routes(page: Page) -> APIRouter:
    """The routes over one page maker."""
    router = APIRouter()

    @router.get("/find")
    def find(request: Request, job: Annotated[str, Query(max_length=2000)] = "") -> Response:
        """From the box to the job's page."""
        try:
            reference = read_reference(job.strip())
        except Refused as error:
            return page.failure(request, str(error), status=400)
        of = quote(job.strip(), safe="") if reference.project else reference.job_id
        return back_to(f"/job?of={of}")

    @router.get("/job")
    def job(request: Request, of: Annotated[str, Query(max_length=2000)]) -> Response:
        reference = read_reference(of)  # refuse what names no job before it is read
        reading = page.readings.ask(("job", of), lambda: page.ask(read_job, of), keep=KEEP)
        if isinstance(reading.value, UnknownJob):
            return page.render(request, "unknown.html", {"answer": reading.value}, status=404)
        if reading.value is None and reading.failed:
            return page.failure(request, reading.failed, status=400)
        trail, use = reading.value or (None, None)
        total = sum(hop.after_s or 0.0 for hop in trail.hops) if trail else 0.0
        values = {"trail": trail, "use": use, "of": of, "total_s": total}
        values |= {"job_id": reference.job_id, "every_s": 0}  # the page is live
        return answer_page(page, request, "job.html", reading, values)

    return router
