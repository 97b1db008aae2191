"""Merge requests inside one project, and their (detached) pipelines."""

from __future__ import annotations

from local.gitlab.model import NO_SHA, MergeRequest, Pipeline, Project, User
from local.gitlab.repository import keep_ref
from local.gitlab.trigger import RefChange, Wish, start_pipeline
from local.gitlab.world import GitLabWorld


def open_from(project: Project, branch: str) -> list[MergeRequest]:
    """The open ones that would merge this branch."""
    found = project.merge_requests.values()
    return [one for one in found if one.source_branch == branch and one.state == "opened"]


def source_sha(one: MergeRequest) -> str | None:
    """The newest commit of its source branch; None when that is gone."""
    return one.project.refs.get(f"refs/heads/{one.source_branch}")


def keep_head(one: MergeRequest) -> None:
    """Let its own ref be its source branch's newest commit, which may be fetched by it."""
    sha = source_sha(one)
    if sha is not None:
        keep_ref(one.project.repository, one.ref, sha)
        one.project.refs[one.ref] = sha


async def start_for(world: GitLabWorld, one: MergeRequest, *, user: User) -> Pipeline | None:
    """Its pipeline for the newest commit; None when no job wants merge requests."""
    sha = source_sha(one)
    if sha is None:
        return None
    change = RefChange(name=f"refs/heads/{one.source_branch}", old=NO_SHA, new=sha)
    wish = Wish(
        project=one.project,
        change=change,
        source="merge_request_event",
        user=user,
        merge_request=one,
    )
    return await start_pipeline(world, wish)


async def note_push(
    world: GitLabWorld, project: Project, branch: str, *, user: User
) -> list[Pipeline]:
    """A branch was pushed: the pipelines of the merge requests from it."""
    started = []
    for one in open_from(project, branch):
        one.diffs += 1
        keep_head(one)
        pipeline = await start_for(world, one, user=user)
        if pipeline is not None:
            started.append(pipeline)
    return started
