"""Artifacts: uploaded and downloaded by runners, downloaded by people."""

import shutil
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.responses import FileResponse, JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, forbidden, not_found
from local.gitlab.ci.values import read_duration_s
from local.gitlab.dotenv import DotenvError, read_dotenv
from local.gitlab.model import Job, Role, UploadedReport
from local.gitlab.reports import FROM_RUNNER, REPORTS
from local.gitlab.states import FINISHED, Status

_USUAL_LIFE = "30 days"  # without `expire_in`


async def upload(call: Call) -> Response:
    """POST /jobs/:id/artifacts: archive and reports are kept, a dotenv report is read as well."""
    job = call.world.ci.jobs.get(call.number("job"))
    token = call.request.headers.get("job-token", "")
    async with call.request.form() as form:
        token = token or str(form.get("token"))
        if job is None or job is not call.world.ci.job_by_token(token):
            raise forbidden()
        if job.status in FINISHED:
            raise ApiError(
                403, "403 Forbidden - Job is not running", headers={"Job-Status": job.status}
            )
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError(400, "400 Bad request - Missing artifacts file!")
        sort = _parameter(call, form, "artifact_type", "archive")
        expire_in = _parameter(call, form, "expire_in", _USUAL_LIFE)
        call.world.ci.keep_artifacts(job, until=_expiry(call, expire_in))
        if sort == "archive":
            _store_archive(call, job, file)
        else:
            _store_report(call, job, file, sort, _parameter(call, form, "artifact_format", ""))
    job.heard_at = call.world.clock.now()
    return JSONResponse({"message": "201 Created"}, status_code=201)


def _parameter(call: Call, form: FormData, name: str, absent: str) -> str:
    return call.request.query_params.get(name) or str(form.get(name) or absent)


def _expiry(call: Call, expire_in: str) -> datetime | None:
    """When the artifacts expire; None for never. Raises 400."""
    if expire_in.lower() in ("never", "0"):
        return None
    seconds = read_duration_s(expire_in)
    if seconds is None:
        raise ApiError(400, "400 Bad request - expire_in is invalid")
    return call.world.clock.now() + timedelta(seconds=seconds)


def _store_archive(call: Call, job: Job, file: UploadFile) -> None:
    path: Path = call.world.data_dir / "artifacts" / f"{job.id}.zip"
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    job.artifacts = path
    job.artifacts_name = file.filename or "artifacts.zip"


def _store_report(call: Call, job: Job, file: UploadFile, sort: str, form: str) -> None:
    """Raises 400 for a type or a form that GitLab does not know, or variables it cannot read."""
    known = {kind: how for kind, (how, _) in REPORTS.items()} | FROM_RUNNER
    if sort not in known:
        raise ApiError(400, "artifact_type does not have a valid value")
    if form != known[sort]:
        raise ApiError(400, "400 Bad request - Invalid artifact format")
    content = file.file.read()
    if sort == "dotenv":
        try:
            job.dotenv = read_dotenv(content)
        except DotenvError as exc:
            raise ApiError(400, str(exc)) from exc
    path: Path = call.world.data_dir / "artifacts" / f"{job.id}-{sort}"
    path.write_bytes(content)
    job.reports[sort] = UploadedReport(path=path, name=file.filename or sort, form=form)


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
    job.drop_artifacts()
    job.artifacts_expire_at = None
    return Response(status_code=204)


def _file(job: Job) -> Response:
    if job.artifacts is None:
        raise not_found("File")
    return FileResponse(
        job.artifacts, media_type="application/octet-stream", filename=job.artifacts_name
    )


_OF_PROJECT = "/projects/{project}/jobs/{job}/artifacts"

ENDPOINTS = (
    Endpoint("POST", "/jobs/{job}/artifacts", upload),
    Endpoint("GET", "/jobs/{job}/artifacts", download_as_job),
    Endpoint("GET", _OF_PROJECT, download, READ),
    Endpoint("GET", f"{_OF_PROJECT}/{{member:path}}", download_member, READ),
    Endpoint("DELETE", _OF_PROJECT, delete, WRITE),
)
