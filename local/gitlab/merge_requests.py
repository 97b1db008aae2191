"""Merge requests inside one project, and their (detached) pipelines."""

from local.gitlab.model import NO_SHA, MergeRequest, Pipeline, Project, User
from local.gitlab.repository import keep_ref
from local.gitlab.trigger import PipelineStart, RefChange, start_pipeline
from local.gitlab.world import GitLabWorld


def open_from(project: Project, branch: str) -> list[MergeRequest]:
    """The open merge requests from this branch."""
    requests = project.merge_requests.values()
    return [
        merge_request
        for merge_request in requests
        if merge_request.source_branch == branch and merge_request.state == "opened"
    ]


def source_sha(merge_request: MergeRequest) -> str | None:
    """The newest commit of the source branch; None when the branch is deleted."""
    return merge_request.project.refs.get(f"refs/heads/{merge_request.source_branch}")


def keep_head(merge_request: MergeRequest) -> None:
    """Point the ref of the merge request at the newest commit of its source branch."""
    sha = source_sha(merge_request)
    if sha is not None:
        keep_ref(merge_request.project.repository, merge_request.ref, sha)
        merge_request.project.refs[merge_request.ref] = sha


async def start_for(
    world: GitLabWorld, merge_request: MergeRequest, *, user: User
) -> Pipeline | None:
    """A pipeline for the newest commit; None when no job runs for merge requests."""
    sha = source_sha(merge_request)
    if sha is None:
        return None
    change = RefChange(name=f"refs/heads/{merge_request.source_branch}", old=NO_SHA, new=sha)
    start = PipelineStart(
        project=merge_request.project,
        change=change,
        source="merge_request_event",
        user=user,
        merge_request=merge_request,
    )
    return await start_pipeline(world, start)


async def note_push(
    world: GitLabWorld, project: Project, branch: str, *, user: User
) -> list[Pipeline]:
    """Start and return the pipelines of the merge requests from a pushed branch."""
    started = []
    for merge_request in open_from(project, branch):
        merge_request.diffs += 1
        keep_head(merge_request)
        pipeline = await start_for(world, merge_request, user=user)
        if pipeline is not None:
            started.append(pipeline)
    return started
