"""Plain pages behind every `web_url`: users, groups, branches, pipelines, jobs, logs.

A page of a private project needs a login like git's: any name, and a token as password.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from html import escape
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from adapters.gitlab.job_log import plain
from local.gitlab.api.call import READ
from local.gitlab.api.login import SAFE, NotAdmitted, access_token, basic_login
from local.gitlab.dates import api_date
from local.gitlab.model import Job, Pipeline, Project, Role, User
from local.gitlab.world import GitLabWorld

_STYLE = (
    "body{font-family:sans-serif;margin:2em}"
    "pre{background:#f4f4f4;padding:1em}"
    "td{padding:.2em 1em .2em 0}"
)
_T = TypeVar("_T")


Page = Callable[[Request, Project], Response]
Serve = Callable[[Request], Awaitable[Response]]


def page_routes(world: GitLabWorld) -> list[Route]:
    """The addresses of every project's pages."""
    pages = _Pages(world)
    base = "/{path:path}/-"
    job = f"{base}/jobs/{{number:int}}"
    shown: dict[str, Page] = {
        f"{base}/pipelines": pages.project,
        f"{base}/tree/{{branch:path}}": pages.branch,
        f"{base}/pipelines/{{number:int}}": pages.pipeline,
        f"{base}/merge_requests/{{number:int}}": pages.merge_request,
        job: pages.job,
        f"{job}/raw": pages.raw,
        f"{job}/artifacts/download": pages.artifacts,
    }
    group = Route("/groups/{path:path}", pages.endpoint(pages.group), methods=["GET"])
    return [
        group,
        *(Route(p, pages.of_project(page), methods=["GET"]) for p, page in shown.items()),
    ]


def last_routes(world: GitLabWorld) -> list[Route]:
    """The addresses of users and projects; they match every path and come last."""
    pages = _Pages(world)
    return [
        Route("/{username}", pages.endpoint(pages.user), methods=["GET"]),
        Route("/{path:path}", pages.of_project(pages.project), methods=["GET"]),
    ]


class _Pages:
    def __init__(self, world: GitLabWorld) -> None:
        self._world = world

    def of_project(self, page: Page) -> Serve:
        """The page for visitors who may read its project."""
        return self.endpoint(lambda request: page(request, self._admit(request)))

    def endpoint(self, page: Callable[[Request], Response]) -> Serve:
        """The page as an endpoint that runs on the event loop."""

        async def serve(request: Request) -> Response:
            return page(request)

        return serve

    def _admit(self, request: Request) -> Project:
        """The project. Raises `NotAdmitted`: 401 first, which hides whether it exists."""
        project = self._world.accounts.project(request.path_params["path"])
        if project is not None and project.is_public:
            return project
        user = self._visitor(request)
        if project is None or (project.role_of(user) < Role.REPORTER and not user.is_admin):
            raise NotAdmitted(404, "404 Not Found")
        return project

    def _visitor(self, request: Request) -> User:
        """The user whose token the request carries. Raises `NotAdmitted`: 401 or 403."""
        _, password = basic_login(request) or ("", "")
        token = self._world.accounts.tokens.get(access_token(request) or password)
        if token is None:
            raise NotAdmitted(
                401,
                "401 Unauthorized: log in with any name and an access token as password, "
                "or send the token as PRIVATE-TOKEN",
            )
        if not token.scopes & READ:
            raise NotAdmitted(403, "403 Forbidden: the token has neither api nor read_api")
        return token.user

    def user(self, request: Request) -> Response:
        """The name of a user."""
        self._visitor(request)
        for user in self._world.accounts.users.values():
            if user.username == request.path_params["username"]:
                return _page(user.username, user.name, _facts([("username", user.username)]))
        raise NotAdmitted(404, "404 Not Found")

    def group(self, request: Request) -> Response:
        """The projects of a group and its subgroups."""
        user, accounts = self._visitor(request), self._world.accounts
        group = accounts.group(request.path_params["path"])
        if group is None or (group.role_of(user) is Role.NONE and not user.is_admin):
            raise NotAdmitted(404, "404 Not Found")
        rows = [(_link(f"/{p.full_path}", p.full_path),) for p in accounts.projects_of(group)]
        return _page(f"groups/{group.full_path}", group.full_name, _table(rows))

    def branch(self, request: Request, project: Project) -> Response:
        """The pipelines of a branch, newest first."""
        name = request.path_params["branch"]
        if f"refs/heads/{name}" not in project.refs:
            raise NotAdmitted(404, "404 Not Found")
        pipelines = [
            pipeline
            for pipeline in project.pipelines.values()
            if pipeline.ref == name and not pipeline.is_tag
        ]
        return self._pipelines(project, f"Pipelines of {name}", pipelines)

    def project(self, _request: Request, project: Project) -> Response:
        """The pipelines of a project, newest first."""
        return self._pipelines(project, "Pipelines", project.pipelines.values())

    @staticmethod
    def _pipelines(project: Project, title: str, pipelines: Iterable[Pipeline]) -> Response:
        rows = [
            (
                _link(_path(pipeline), f"#{pipeline.id}"),
                escape(pipeline.status),
                escape(pipeline.ref),
                escape(pipeline.source),
                escape(api_date(pipeline.created_at) or ""),
            )
            for pipeline in sorted(pipelines, key=lambda pipeline: -pipeline.id)
        ]
        return _page(project.full_path, title, _table(rows))

    def pipeline(self, request: Request, project: Project) -> Response:
        """The jobs of a pipeline by stage, the errors of its file, and its warnings."""
        pipeline = _record(project.pipelines, request)
        facts = [
            ("status", pipeline.status),
            ("ref", pipeline.ref),
            ("commit", f"{pipeline.commit.sha} {pipeline.commit.message.splitlines()[0]}"),
            ("source", pipeline.source),
            ("started by", pipeline.user.username),
            ("created", api_date(pipeline.created_at) or ""),
        ]
        parts = [
            _facts(facts),
            _section("Errors", pipeline.yaml_errors),
            _section("Warnings", pipeline.warnings),
        ]
        jobs = sorted(
            pipeline.jobs.values(), key=lambda job: (pipeline.stages.index(job.spec.stage), job.id)
        )
        rows = [
            (
                _link(_path(job), f"#{job.id}"),
                escape(job.spec.stage),
                escape(job.spec.name),
                escape(job.status + (" (retried)" if job.is_retried else "")),
                escape(" ".join(job.spec.tags)),
                escape(job.failure_reason or ""),
            )
            for job in jobs
        ]
        name = f" {pipeline.name}" if pipeline.name else ""
        return _page(project.full_path, f"Pipeline #{pipeline.id}{name}", *parts, _table(rows))

    def job(self, request: Request, project: Project) -> Response:
        """The state and the log of a job."""
        job = _record(project.jobs, request)
        runner = f"#{job.runner.id} {job.runner.description}" if job.runner else ""
        facts = [
            ("status", job.status),
            ("failure", job.failure_reason or ""),
            ("stage", job.spec.stage),
            ("tags", " ".join(job.spec.tags)),
            ("runner", runner),
            ("created", api_date(job.created_at) or ""),
            ("started", api_date(job.started_at) or ""),
            ("finished", api_date(job.finished_at) or ""),
            ("erased", api_date(job.erased_at) or ""),
        ]
        types = [*(["archive"] if job.artifacts else []), *job.reports]
        links = [_link(f"{_path(job)}/artifacts/download?file_type={kind}", kind) for kind in types]
        log = plain(bytes(job.trace).decode("utf-8", "replace"))
        return _page(
            project.full_path,
            f"Job #{job.id} {job.spec.name}",
            f"<p>of {_link(_path(job.pipeline), f'pipeline #{job.pipeline.id}')}, "
            f"{_link(f'{_path(job)}/raw', 'raw log')}</p>",
            _facts(facts),
            f"<p>Artifacts: {', '.join(links)}</p>" if links else "",
            f"<pre>{escape(log) or 'There is no log.'}</pre>",
        )

    def raw(self, request: Request, project: Project) -> Response:
        """The log as the runner sent it."""
        trace = bytes(_record(project.jobs, request).trace)
        return Response(trace, media_type="text/plain; charset=utf-8", headers=SAFE)

    def artifacts(self, request: Request, project: Project) -> Response:
        """The archive, or the report of `file_type`."""
        job = _record(project.jobs, request)
        sort = request.query_params.get("file_type", "archive")
        report = job.reports.get(sort)
        path = job.artifacts if sort == "archive" else report.path if report else None
        name = job.artifacts_name if sort == "archive" else report.name if report else ""
        if path is None:
            raise NotAdmitted(404, "404 Not Found")
        kind = "application/octet-stream"
        return FileResponse(path, media_type=kind, filename=name, headers=SAFE)

    def merge_request(self, request: Request, project: Project) -> Response:
        """The branches and the pipelines of a merge request."""
        merge_request = _record(project.merge_requests, request)
        facts = [
            ("state", merge_request.state),
            ("from", merge_request.source_branch),
            ("into", merge_request.target_branch),
            ("by", merge_request.author.username),
            ("description", merge_request.description),
        ]
        pipelines = [p for p in project.pipelines.values() if p.merge_request is merge_request]
        rows = [(_link(_path(p), f"#{p.id}"), escape(p.status)) for p in pipelines]
        return _page(
            project.full_path,
            f"!{merge_request.iid} {merge_request.title}",
            _facts(facts),
            _table(rows),
        )


def _record(records: Mapping[int, _T], request: Request) -> _T:
    number = request.path_params["number"]
    if number not in records:
        raise NotAdmitted(404, "404 Not Found")
    return records[number]


def _path(record: Pipeline | Job) -> str:
    kind = "jobs" if isinstance(record, Job) else "pipelines"
    return f"/{record.project.full_path}/-/{kind}/{record.id}"


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(path)}">{escape(text)}</a>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return _table((escape(name), escape(text)) for name, text in facts if text)


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    """A table of cells that are HTML already."""
    lines = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _section(title: str, text: str | Iterable[str] | None) -> str:
    lines = [text] if isinstance(text, str) else list(text or ())
    if not lines:
        return ""
    return f"<h2>{title}</h2><pre>{escape(chr(10).join(lines))}</pre>"


def _page(home: str, title: str, *parts: str) -> Response:
    """A page below `home`, which is the path of a project, group or user."""
    body = f"<p>{_link(f'/{home}', home)}</p><h1>{escape(title)}</h1>{''.join(parts)}"
    head = f"<meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
    return HTMLResponse(f"<!doctype html>{head}{body}\n", headers=SAFE)
