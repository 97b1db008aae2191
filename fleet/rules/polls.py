"""Which watched projects are read now, where GitLab's calls do not suffice for all."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.times import HasUtcTimes

# Every watched project is read at least this often; busy ones and those without webhooks every
# minute, which is how often the projects are chosen.
ROUND_ROBIN = timedelta(minutes=10)
EVERY = timedelta(minutes=1)
RECENT = timedelta(minutes=15)
# As many quiet projects are all read every minute; more take turns.
FEW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(HasUtcTimes):
    """One project whose pending jobs the fleet reads."""

    project_id: int
    instance: str
    last_hook_at: datetime | None
    last_polled_at: datetime | None
    hook_healthy: bool = True
    path: str = ""
    is_moving: bool = False  # it has jobs in pools that the configuration no longer gives them


def decide_polls(watched: Iterable[Watched], *, at: datetime, at_most: int) -> tuple[Watched, ...]:
    """The projects to read now, most urgent first: unhealthy hook, longest unread, recent hook.

    A project whose jobs are to be routed again is as urgent as one without webhooks.

    A few quiet projects are all read every minute where the reads suffice: a small fleet that gets
    no webhook starts its jobs within that. No project starves, however small `at_most` is: the
    longest unread come before those with recent hooks, and projects with unhealthy hooks leave
    them at least a tenth of the reads.
    """
    never = datetime.min.replace(tzinfo=at.tzinfo)
    projects = sorted(watched, key=lambda project: project.last_polled_at or never)
    unheard = [project for project in projects if project.is_moving or not project.hook_healthy]
    healthy = [project for project in projects if project.hook_healthy and not project.is_moving]
    share = _rounded_up(len(healthy), ROUND_ROBIN // EVERY)
    recent = [project for project in healthy[share:] if _is_recent(project, at)]
    few = [project for project in healthy[share:FEW] if not _is_recent(project, at)]
    first = at_most - min(share, _rounded_up(at_most, 10))
    return tuple((unheard[:first] + healthy[:share] + unheard[first:] + recent + few)[:at_most])


def _is_recent(project: Watched, at: datetime) -> bool:
    """Whether the fleet got a webhook of it lately."""
    return project.last_hook_at is not None and at - project.last_hook_at <= RECENT


def _rounded_up(count: int, parts: int) -> int:
    """`count` divided by `parts`, rounded up."""
    return -(-count // parts)
