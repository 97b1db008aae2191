"""Artifacts: uploaded and downloaded by runners, downloaded by people."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.model import Job, Role
from local.gitlab.states import FINISHED, Status


async def upload(call: Call) -> Response:
    """POST /jobs/:id/artifacts: the archive is kept, reports are taken and dropped."""
    job = call.world.ci.jobs.get(call.number("job"))
    token = call.request.headers.get("job-token", "")
    async with call.request.form() as form:
        given = form.get("token")
        if job is None or job is not call.world.ci.job_by_token(token or str(given)):
            raise forbidden()
        if job.status in FINISHED:
            raise ApiError(
                403, "403 Forbidden - Job is not running", headers={"Job-Status": job.status}
            )
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError(400, "400 Bad request - Missing artifacts file!")
        if call.request.query_params.get("artifact_type", "archive") == "archive":
            _keep(call, job, file)
    return JSONResponse({"message": "201 Created"}, status_code=201)


def _keep(call: Call, job: Job, file: UploadFile) -> None:
    path: Path = call.world.data_dir / "artifacts" / f"{job.id}.zip"
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    job.artifacts = path
    job.artifacts_name = file.filename or "artifacts.zip"
    job.heard_at = call.world.clock.now()


async def download_as_job(call: Call) -> Response:
    """GET /jobs/:id/artifacts: with the job's own token, or one of a running job beside it."""
    job = call.world.ci.jobs.get(call.number("job"))
    asking = call.world.ci.job_by_token(call.request.headers.get("job-token", ""))
    if asking is None:
        raise ApiError(401, "401 Unauthorized")
    if job is None or asking.project is not job.project:
        raise not_found("Job")
    if asking is not job and asking.status is not Status.RUNNING:
        raise forbidden()
    return _file(job)


async def download(call: Call) -> Response:
    """GET /projects/:id/jobs/:job_id/artifacts."""
    return _file(call.job())


async def download_member(call: Call) -> Response:
    """GET /projects/:id/jobs/:job_id/artifacts/*path: one file out of the archive."""
    job = call.job()
    if job.artifacts is None:
        raise not_found("File")
    try:
        with zipfile.ZipFile(job.artifacts) as archive:
            content = archive.read(call.path("member"))
    except KeyError as exc:
        raise not_found("File") from exc
    return Response(content, media_type="application/octet-stream")


async def delete(call: Call) -> Response:
    """DELETE /projects/:id/jobs/:job_id/artifacts."""
    job = call.job(role=Role.MAINTAINER)
    job.artifacts = None
    return Response(status_code=204)


def _file(job: Job) -> Response:
    if job.artifacts is None:
        raise not_found("File")
    return FileResponse(
        job.artifacts, media_type="application/octet-stream", filename=job.artifacts_name
    )


_OF_PROJECT = "/projects/{project}/jobs/{job}/artifacts"

ENDPOINTS = (
    Endpoint(method="POST", path="/jobs/{job}/artifacts", handler=upload),
    Endpoint(method="GET", path="/jobs/{job}/artifacts", handler=download_as_job),
    Endpoint(method="GET", path=_OF_PROJECT, handler=download, scopes=READ),
    Endpoint(
        method="GET", path=f"{_OF_PROJECT}/{{member:path}}", handler=download_member, scopes=READ
    ),
    Endpoint(method="DELETE", path=_OF_PROJECT, handler=delete, scopes=WRITE),
)
