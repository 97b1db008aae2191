"""GitLab as the fleet uses it: jobs, runner records, projects. Source: GitLab REST API, v4."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from adapters.gitlab.api import DIRECT, Budget, GitLabApi, Way, Witness
from adapters.gitlab.ref_protection import RefProtection
from adapters.gitlab.values import (
    CreatedRunner,
    GitLabId,
    GitLabJob,
    GitLabMergeRequest,
    GitLabMergeRules,
    GitLabProject,
    GitLabRef,
    GitLabRights,
    GitLabRunner,
    GitLabToken,
    GitLabUser,
    GitLabVersion,
    NewRunner,
    VerifiedRunner,
)
from fleet.errors import Refused, Transient
from fleet.field_names import fields_at_fault

__all__ = [
    "DIRECT",
    "Budget",
    "CreatedRunner",
    "GitLab",
    "GitLabApi",
    "GitLabJob",
    "GitLabProject",
    "GitLabRunner",
    "GitLabToken",
    "NewRunner",
    "Way",
    "same",
]

CALLS_PER_MINUTE = 300  # GitLab.com allows 2,000 per user and 600 of the job lists
SYSTEM_ID = "s_runnerfleet0"  # one for all: each new one would be a runner manager more

_OWNER_KEYS = {"group_type": "group_id", "project_type": "project_id"}
ValueT = TypeVar("ValueT")


class _HasId(Protocol):
    @property
    def id(self) -> int: ...


OneT = TypeVar("OneT", bound=_HasId)


class GitLab:
    """One GitLab, called with one token and within one budget.

    Every method raises `Transient` (later: rate limit, 5xx, no answer, or one that GitLab did not
    write or that is not as we know it) or `Refused` (GitLab's own 401, 403, 404) as `GitLabApi`
    says. What is "not there" is so by GitLab's own word.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        budget: Budget,
        witness: Witness | None = None,
        way: Way = DIRECT,
    ) -> None:
        self.api = GitLabApi(url, token, budget=budget, witness=witness, way=way)
        self._protection = RefProtection(self._seen, budget.clock)

    def job(self, project_id: int, job_id: int) -> GitLabJob | None:
        """The job with its tags; None when GitLab does not have it (any more)."""
        try:
            body = self.api.get(f"/projects/{project_id}/jobs/{job_id}")
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return None
            raise
        return _job(body, project_id, job_id)

    def log(self, project_id: int, job_id: int) -> str:
        """What the job has written until now, as the runner sent it; nothing before its start."""
        return self.api.text(f"/projects/{project_id}/jobs/{job_id}/trace")

    def pending_jobs(self, project_id: int, *, at_most: int | None = None) -> list[GitLabJob]:
        """What waits in one project, oldest first; the newest where more wait than `at_most`."""
        found = self.api.pages(
            f"/projects/{project_id}/jobs",
            **{"scope[]": "pending"},
            pagination="keyset",
            order_by="id",
            sort="desc",
        )
        jobs = [_job(body, project_id) for body in islice(found, at_most)]
        return sorted(jobs, key=lambda job: job.id)

    def is_protected(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        """Whether runners for protected refs get the jobs of this one; None: it does not say."""
        return self._protection.of(project_id, ref, is_tag=is_tag)

    def _seen(self, kind: type[ValueT], path: str) -> ValueT | None:
        """What is there; None where GitLab has it no longer or does not show it to this token."""
        try:
            return _read(kind, self.api.get(path))
        except Refused as exc:
            if exc.facts.get("status") in (403, 404):
                return None
            raise

    def retry_job(self, project_id: int, job_id: int) -> GitLabJob:
        """Run it again: a new job with a new id. `Refused` where GitLab says not retryable."""
        return _job(self.api.post(f"/projects/{project_id}/jobs/{job_id}/retry"), project_id)

    def cancel_job(self, project_id: int, job_id: int) -> GitLabJob:
        """End a job whose machine is gone, which GitLab would show as running for an hour.

        A newer GitLab waits for the runner's word (`canceling`), which will not come: it is
        forced. The job as it is then; one that had ended before stays as it was.
        """
        path = f"/projects/{project_id}/jobs/{job_id}/cancel"
        body = self.api.post(path)
        if body.get("status") == "canceling":
            body = self.api.post(path, {"force": True})
        return _job(body, project_id, job_id)

    def pipeline_jobs(self, project_id: int, pipeline_id: int) -> list[GitLabJob]:
        """The newest job of each name in a pipeline: retried ones are left out by GitLab."""
        found = self.api.pages(f"/projects/{project_id}/pipelines/{pipeline_id}/jobs")
        return [_job(body, project_id) for body in found]

    def pending_in_pipeline(
        self, project_id: int, pipeline_id: int, *, at_most: int
    ) -> list[GitLabJob]:
        """What waits in one pipeline, oldest first; nothing where GitLab has no such pipeline."""
        path = f"/projects/{project_id}/pipelines/{pipeline_id}/jobs"
        try:
            found = list(islice(self.api.pages(path, **{"scope[]": "pending"}), at_most))
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return []
            raise
        return sorted((_job(body, project_id) for body in found), key=lambda job: job.id)

    def create_runner(self, new: NewRunner) -> CreatedRunner:
        """A runner record; its token is shown this once. The token needs scope create_runner."""
        body: dict[str, Any] = {"runner_type": new.kind, **new.settings()}
        if new.kind in _OWNER_KEYS:
            body[_OWNER_KEYS[new.kind]] = new.owner_id
        return _read(CreatedRunner, self.api.post("/user/runners", body))

    def runner(self, runner_id: int) -> GitLabRunner | None:
        """One runner record with its tags; None when GitLab does not have it (any more)."""
        try:
            body = self.api.get(f"/runners/{runner_id}")
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return None
            raise
        return same(_read(GitLabRunner, body), runner_id)

    def update_runner(self, runner_id: int, wanted: NewRunner) -> None:
        """Give a runner record these settings; where it belongs cannot be changed."""
        body = self.api.put(f"/runners/{runner_id}", wanted.settings())
        same(_read(GitLabRunner, body), runner_id)

    def delete_runner(self, runner_id: int) -> None:
        """No such runner record, now or before."""
        try:
            self.api.delete(f"/runners/{runner_id}")
        except Refused as exc:
            if exc.facts.get("status") != 404:
                raise

    def runners_described(
        self, prefix: str, *, kind: str | None = None, owner_id: int | None = None
    ) -> list[GitLabRunner]:
        """The runner records whose description starts so: of the instance, a group, a project,
        or, without a kind, of everything that the token's user may manage."""
        paths = {
            "instance_type": "/runners/all",
            "group_type": f"/groups/{owner_id}/runners",
            "project_type": f"/projects/{owner_id}/runners",
        }
        query = {"type": kind} if kind else {}
        found = self.api.pages(paths[kind] if kind else "/runners", **query)
        runners = (_read(GitLabRunner, body) for body in found)
        return [runner for runner in runners if runner.description.startswith(prefix)]

    def runner_jobs(self, runner_id: int, *, status: str | None = None) -> list[GitLabJob]:
        """The jobs that GitLab ever assigned to a runner, or those of a status; none when the
        runner is gone."""
        query = {"status": status} if status else {}
        try:
            found = list(self.api.pages(f"/runners/{runner_id}/jobs", **query))
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return []
            raise
        return [_read(GitLabJob, body) for body in found]

    def verify_runner(self, token: str, *, system_id: str = SYSTEM_ID) -> datetime | None:
        """Show that the pool is there: GitLab fails jobs that wait an hour where no fitting runner
        was seen for two. When the token expires, if it does; `Refused` when it is not valid (any
        more)."""
        body = self.api.post("/runners/verify", {"token": token, "system_id": system_id})
        return _read(VerifiedRunner, body).token_expires_at

    def group_projects(self, group_id: int | str) -> Iterator[GitLabProject]:
        """The living projects of a group and of its subgroups, by id."""
        path = f"/groups/{_reference(group_id)}/projects"
        query = {"include_subgroups": True, "archived": False, "simple": True}
        for body in self.api.pages(path, order_by="id", sort="asc", **query):
            yield _read(GitLabProject, body)

    def project(self, id_or_path: int | str) -> GitLabProject:
        """One project."""
        return _read(GitLabProject, self.api.get(f"/projects/{_reference(id_or_path)}"))

    def group(self, id_or_path: int | str) -> int:
        """The number of a group."""
        return _read(GitLabId, self.api.get(f"/groups/{_reference(id_or_path)}")).id

    def own_token(self) -> GitLabToken:
        """The token that we call with."""
        return _read(GitLabToken, self.api.get("/personal_access_tokens/self"))

    def is_administrator(self) -> bool:
        """Whether the token's user is one; GitLab tells nobody else."""
        return _read(GitLabUser, self.api.get("/user")).is_admin

    def has_group(self, group_id: int, *, role: int) -> bool:
        """Whether the token's user has this role in a group, its own or one from above."""
        found = self.api.pages("/groups", min_access_level=role)
        return any(_read(GitLabId, body).id == group_id for body in found)

    def role_in_project(self, id_or_path: int | str) -> int:
        """The token's user's role in a project, from 0 for none to 50 for owner."""
        return _read(GitLabRights, self.api.get(f"/projects/{_reference(id_or_path)}")).role

    def version(self) -> str:
        """GitLab's version, such as `18.2.1-ee`."""
        return _read(GitLabVersion, self.api.get("/version")).version


def _reference(id_or_path: int | str) -> str:
    return quote(str(id_or_path), safe="")


def _job(body: Mapping[str, Any], project_id: int, job_id: int | None = None) -> GitLabJob:
    """A job of this project; of this number, where it was asked for by it."""
    job = _read(GitLabJob, {**body, "project_id": project_id})
    return job if job_id is None else same(job, job_id)


def same(found: OneT, wanted: int) -> OneT:
    """What was asked for; a cache between us and GitLab may answer with something else."""
    if found.id != wanted:
        raise Transient("GitLab was asked for one thing and told of another", wanted=wanted)
    return found


def _read(kind: type[ValueT], body: object) -> ValueT:
    try:
        return cast("ValueT", _adapters()[kind].validate_python(body))
    except ValidationError as exc:
        fields = fields_at_fault(exc)
        raise Transient(f"GitLab's {kind.__name__} is not as we know it", fields=fields) from None


@cache
def _adapters() -> dict[type, TypeAdapter[Any]]:
    kinds: tuple[type, ...] = (
        CreatedRunner,
        GitLabJob,
        GitLabMergeRequest,
        GitLabMergeRules,
        GitLabProject,
        GitLabRef,
        GitLabRights,
        GitLabRunner,
        GitLabToken,
        GitLabUser,
        GitLabVersion,
        GitLabId,
        VerifiedRunner,
    )
    return {kind: TypeAdapter(kind) for kind in kinds}
