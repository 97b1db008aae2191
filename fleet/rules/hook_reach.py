"""For which projects the webhook of a group may speak: those that GitLab has in the group."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.hook_scope import HookScope
from fleet.times import HasUtcTimes

# Until then a project that moved away still counts as inside.
INSIDE_KEPT = timedelta(minutes=10)
# Until then a project that is new, or moved in, does not: reconcile has its jobs.
OUTSIDE_KEPT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectGroups(HasUtcTimes):
    """The groups that a project is in, by number: renaming one changes nothing."""

    ids: tuple[int, ...]  # from its own to the top; none where GitLab shows no such project
    asked_at: datetime


def may_speak(
    scope: HookScope, project_id: int, known: ProjectGroups | None, at: datetime
) -> bool | None:
    """Whether a webhook may speak for a project; None: GitLab is to be asked for its groups.

    A project's path in a delivery proves nothing: its sender writes it.
    """
    if scope.kind == "project":
        return scope.id == project_id
    if known is None:
        return None
    is_inside = scope.id in known.ids
    kept = INSIDE_KEPT if is_inside else OUTSIDE_KEPT
    return is_inside if at - known.asked_at < kept else None
