"""Whether GitLab counts the jobs of a branch, a tag or a merge request as protected.

GitLab decides it once, when it makes a pipeline, and shows it neither for a job nor for a pipeline.
So the fleet asks about the ref. GitLab answers for a branch or a tag, wildcards and the rules of
groups included. Source: GitLab's `Ci::Pipeline#protected_ref?` and
`Project#protected_for?`, and "Protected runners" in its docs.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from urllib.parse import quote

from adapters.gitlab.values import GitLabMergeRequest, GitLabMergeRules, GitLabRef
from fleet.errors import Transient

# A pipeline's jobs ask for the same ref within seconds. An answer that is older may be wrong.
KEPT = timedelta(minutes=1)
_MERGE_REQUEST = re.compile(r"refs/merge-requests/(\d+)/(head|merge|train)$")
ValueT = TypeVar("ValueT")


class Look(Protocol):
    """Reads a value at a path of the API; None where it is gone, or hidden from the token."""

    def __call__(self, kind: type[ValueT], path: str) -> ValueT | None: ...


class RefProtection:
    """Answers of one GitLab, each kept for a minute."""

    def __init__(self, look: Look, clock: Callable[[], datetime]) -> None:
        self._look = look
        self._clock = clock
        self._known: dict[tuple[int, str, bool], tuple[datetime, bool | None]] = {}

    def of(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        """Whether it is protected; None: GitLab does not say, or hides it from this token.

        Raises what `look` raises.
        """
        at = self._clock()
        key = (project_id, ref, is_tag)
        if key not in self._known or at - self._known[key][0] >= KEPT:
            answer = self._ask(project_id, ref, is_tag=is_tag)
            fresh = {k: known for k, known in self._known.items() if at - known[0] < KEPT}
            self._known = fresh | {key: (at, answer)}
        return self._known[key][1]

    def _ask(self, project_id: int, ref: str, *, is_tag: bool) -> bool | None:
        if is_tag:
            return self._named(f"/projects/{project_id}/repository/tags", ref)
        if merge_request := _MERGE_REQUEST.match(ref):
            return self._of_merge_request(project_id, int(merge_request[1]))
        if ref.startswith("refs/"):
            return None  # GitLab's own, such as refs/workloads: it keeps their protection elsewhere
        return self._named(f"/projects/{project_id}/repository/branches", ref)

    def _named(self, path: str, name: str) -> bool | None:
        ref = self._look(GitLabRef, f"{path}/{quote(name, safe='')}")
        if ref is not None and ref.name != name:
            raise Transient("GitLab answered about another ref than the request named", wanted=name)
        return None if ref is None else ref.protected

    def _of_merge_request(self, project_id: int, iid: int) -> bool | None:
        """Protected between two protected branches of a project whose setting allows it.

        Since GitLab 18.1, which shows the setting since 18.10. GitLab does not show whether the
        user of the pipeline may push to the branches.
        Source: `Ci::Pipeline#protected_for_merge_request?`
        """
        request = self._look(GitLabMergeRequest, f"/projects/{project_id}/merge_requests/{iid}")
        if request is None:
            return None
        if {request.source_project_id, request.target_project_id} != {project_id}:
            return False
        for branch in dict.fromkeys([request.source_branch, request.target_branch]):
            is_protected = self.of(project_id, branch, is_tag=False)
            if not is_protected:
                return is_protected
        rules = self._look(GitLabMergeRules, f"/projects/{project_id}")
        return None if rules is None else rules.protects
