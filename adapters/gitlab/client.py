"""GitLab as the fleet uses it: jobs, runner records, projects. Source: GitLab REST API, v4."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from adapters.gitlab.api import GitLabApi, Witness
from adapters.gitlab.call_allowance import CallAllowance
from adapters.gitlab.ref_protection import RefProtection
from adapters.gitlab.values import (
    CreatedRunner,
    GitLabGroup,
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
from adapters.gitlab.way import DIRECT, Way
from fleet.errors import Refused, Transient
from fleet.field_names import fields_at_fault

CALLS_PER_MINUTE = 300  # GitLab.com allows 2,000 per user and 600 of the job lists
SYSTEM_ID = "s_runnerfleet0"  # one for all: each new one would be a runner manager more

_OWNER_KEYS = {"group_type": "group_id", "project_type": "project_id"}
ValueT = TypeVar("ValueT")


class _HasId(Protocol):
    @property
    def id(self) -> int: ...


ObjectT = TypeVar("ObjectT", bound=_HasId)


class GitLab:
    """One GitLab, called with one token and within one call allowance.

    Every method raises `Transient` (rate limit, 5xx, no answer, or an answer of another sender or
    form) or `Refused` (GitLab's own 401, 403, 404) as `GitLabApi` does. A method returns None
    for an absent object only when GitLab itself says so.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        allowance: CallAllowance,
        witness: Witness | None = None,
        way: Way = DIRECT,
    ) -> None:
        self.api = GitLabApi(url, token, allowance=allowance, witness=witness, way=way)
        self._protection = RefProtection(self._visible, allowance.clock)

    def job(self, project_id: int, job_id: int) -> GitLabJob | None:
        """The job with its tags; None when GitLab does not have it."""
        try:
            body = self.api.get(f"/projects/{project_id}/jobs/{job_id}")
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return None
            raise
        return _job(body, project_id, job_id)

    def log(self, project_id: int, job_id: int) -> str:
        """The job's log so far, as the runner sent it; empty before its start."""
        return self.api.text(f"/projects/{project_id}/jobs/{job_id}/trace")

    def pending_jobs(self, project_id: int, *, at_most: int | None = None) -> list[GitLabJob]:
        """The pending jobs of a project, oldest first; the newest `at_most` of them."""
        listed = self.api.pages(
            f"/projects/{project_id}/jobs",
            **{"scope[]": "pending"},
            pagination="keyset",
            order_by="id",
            sort="desc",
        )
        jobs = [_job(body, project_id) for body in islice(listed, at_most)]
        return sorted(jobs, key=lambda job: job.id)

    def is_protected(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        """Whether GitLab protects the ref; None: GitLab does not say."""
        return self._protection.of(project_id, ref, is_tag=is_tag)

    def _visible(self, kind: type[ValueT], path: str) -> ValueT | None:
        """The object at a path; None when GitLab lacks it or hides it from this token."""
        try:
            return _read(kind, self.api.get(path))
        except Refused as exc:
            if exc.facts.get("status") in (403, 404):
                return None
            raise

    def retry_job(self, project_id: int, job_id: int) -> GitLabJob:
        """Run it again, as a new job. `Refused` when GitLab cannot retry it."""
        return _job(self.api.post(f"/projects/{project_id}/jobs/{job_id}/retry"), project_id)

    def cancel_job(self, project_id: int, job_id: int) -> GitLabJob:
        """Cancel a job whose machine is gone; the job after it. An ended job stays as it is.

        GitLab would show it as running for an hour. A newer GitLab waits for the runner
        (`canceling`), which is gone: the second call forces the end.
        """
        path = f"/projects/{project_id}/jobs/{job_id}/cancel"
        body = self.api.post(path)
        if body.get("status") == "canceling":
            body = self.api.post(path, {"force": True})
        return _job(body, project_id, job_id)

    def pipeline_jobs(self, project_id: int, pipeline_id: int) -> list[GitLabJob]:
        """The newest job of each name in a pipeline: GitLab leaves retried jobs out."""
        listed = self.api.pages(f"/projects/{project_id}/pipelines/{pipeline_id}/jobs")
        return [_job(body, project_id) for body in listed]

    def pending_in_pipeline(
        self, project_id: int, pipeline_id: int, *, at_most: int
    ) -> list[GitLabJob]:
        """The pending jobs of a pipeline, oldest first; none when GitLab has no such pipeline."""
        path = f"/projects/{project_id}/pipelines/{pipeline_id}/jobs"
        try:
            listed = list(islice(self.api.pages(path, **{"scope[]": "pending"}), at_most))
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return []
            raise
        return sorted((_job(body, project_id) for body in listed), key=lambda job: job.id)

    def create_runner(self, new: NewRunner) -> CreatedRunner:
        """Make a runner record. GitLab shows its token once. Needs the scope create_runner."""
        body: dict[str, Any] = {"runner_type": new.kind, **new.settings()}
        if new.kind in _OWNER_KEYS:
            body[_OWNER_KEYS[new.kind]] = new.owner_id
        return _read(CreatedRunner, self.api.post("/user/runners", body))

    def runner(self, runner_id: int) -> GitLabRunner | None:
        """A runner record with its tags; None when GitLab does not have it."""
        try:
            body = self.api.get(f"/runners/{runner_id}")
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return None
            raise
        return with_id(_read(GitLabRunner, body), runner_id)

    def update_runner(self, runner_id: int, wanted: NewRunner) -> None:
        """Change the settings of a runner record; its owner cannot change."""
        body = self.api.put(f"/runners/{runner_id}", wanted.settings())
        with_id(_read(GitLabRunner, body), runner_id)

    def delete_runner(self, runner_id: int) -> None:
        """Delete a runner record, which may not exist."""
        try:
            self.api.delete(f"/runners/{runner_id}")
        except Refused as exc:
            if exc.facts.get("status") != 404:
                raise

    def runners_described(
        self, prefix: str, *, kind: str | None = None, owner_id: int | None = None
    ) -> list[GitLabRunner]:
        """The runner records whose description has this prefix.

        Of the instance, a group or a project; without a kind, of all that the token's user manages.
        """
        paths = {
            "instance_type": "/runners/all",
            "group_type": f"/groups/{owner_id}/runners",
            "project_type": f"/projects/{owner_id}/runners",
        }
        query = {"type": kind} if kind else {}
        listed = self.api.pages(paths[kind] if kind else "/runners", **query)
        runners = (_read(GitLabRunner, body) for body in listed)
        return [runner for runner in runners if runner.description.startswith(prefix)]

    def runner_jobs(self, runner_id: int, *, status: str | None = None) -> list[GitLabJob]:
        """The jobs that GitLab ever assigned to a runner, all or those of a status; none for a
        deleted runner."""
        query = {"status": status} if status else {}
        try:
            listed = list(self.api.pages(f"/runners/{runner_id}/jobs", **query))
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return []
            raise
        return [_read(GitLabJob, body) for body in listed]

    def verify_runner(self, token: str, *, system_id: str = SYSTEM_ID) -> datetime | None:
        """Verify a runner token; when it expires, None for never. `Refused` for an invalid token.

        GitLab fails jobs that wait an hour when no fitting runner has called for two.
        """
        body = self.api.post("/runners/verify", {"token": token, "system_id": system_id})
        return _read(VerifiedRunner, body).token_expires_at

    def group_projects(self, group_id: int | str) -> Iterator[GitLabProject]:
        """The projects of a group and of its subgroups that are not archived, by id."""
        path = f"/groups/{_reference(group_id)}/projects"
        query = {"include_subgroups": True, "archived": False, "simple": True}
        for body in self.api.pages(path, order_by="id", sort="asc", **query):
            yield _read(GitLabProject, body)

    def groups_above(self, project_id: int) -> tuple[int, ...]:
        """The groups that a project is in, from its own to the top; none for one without a group.

        None either where GitLab has no such project, or hides it from this token. Source: GitLab
        REST API, "List all groups of a project"; groups that it is shared with are left out.
        """
        try:
            listed = list(self.api.pages(f"/projects/{project_id}/groups"))
        except Refused as exc:
            if exc.facts.get("status") == 404:
                return ()
            raise
        return tuple(_read(GitLabId, body).id for body in listed)

    def groups_over(self, group_id: int) -> tuple[int, ...]:
        """The groups that a group is in, from the one above it to the top, as far as GitLab says.

        Source: GitLab REST API, "Retrieve a group": `parent_id`.
        """
        above: list[int] = []
        try:
            while (id_ := self._parent(above[-1] if above else group_id)) is not None:
                above.append(id_)
        except Refused as exc:
            if exc.facts.get("status") != 404:
                raise
        return tuple(above)

    def _parent(self, group_id: int) -> int | None:
        return with_id(_read(GitLabGroup, self.api.get(f"/groups/{group_id}")), group_id).parent_id

    def project(self, id_or_path: int | str) -> GitLabProject:
        """One project."""
        return _read(GitLabProject, self.api.get(f"/projects/{_reference(id_or_path)}"))

    def group(self, id_or_path: int | str) -> int:
        """The number of a group."""
        return _read(GitLabId, self.api.get(f"/groups/{_reference(id_or_path)}")).id

    def own_token(self) -> GitLabToken:
        """The token of this client."""
        return _read(GitLabToken, self.api.get("/personal_access_tokens/self"))

    def is_administrator(self) -> bool:
        """Whether the token's user is an administrator; GitLab says so only to administrators."""
        return _read(GitLabUser, self.api.get("/user")).is_admin

    def user_name(self) -> str:
        """The token's user. Raises `Refused` where the token may not ask who it is."""
        return _read(GitLabUser, self.api.get("/user")).username

    def has_group(self, group_id: int, *, role: int) -> bool:
        """Whether the token's user has this role in a group, its own or one from above."""
        groups = self.api.pages("/groups", min_access_level=role)
        return any(_read(GitLabId, body).id == group_id for body in groups)

    def role_in_project(self, id_or_path: int | str) -> int:
        """The token's user's role in a project, from 0 for none to 50 for owner."""
        return _read(GitLabRights, self.api.get(f"/projects/{_reference(id_or_path)}")).role

    def version(self) -> str:
        """GitLab's version, such as `18.2.1-ee`."""
        return _read(GitLabVersion, self.api.get("/version")).version


def _reference(id_or_path: int | str) -> str:
    return quote(str(id_or_path), safe="")


def _job(body: Mapping[str, Any], project_id: int, job_id: int | None = None) -> GitLabJob:
    """A job of this project. Raises `Transient` when its number is not `job_id`."""
    job = _read(GitLabJob, {**body, "project_id": project_id})
    return job if job_id is None else with_id(job, job_id)


def with_id(value: ObjectT, wanted: int) -> ObjectT:
    """The value, if it has the wanted id: a cache before GitLab may answer with another."""
    if value.id != wanted:
        raise Transient(
            "GitLab answered about another object than the request named", wanted=wanted
        )
    return value


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
        GitLabGroup,
        GitLabId,
        VerifiedRunner,
    )
    return {kind: TypeAdapter(kind) for kind in kinds}
