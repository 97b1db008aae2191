"""Which invocation a Lambda sandbox refuses, and after which job it serves no other. Pure."""

from collections.abc import Collection
from datetime import datetime
from urllib.parse import urlsplit

FOREIGN_JOB = "a job of another project ran here"


def is_late(until: datetime | None, at: datetime) -> bool:
    """Whether Lambda held an event back until the fleet had given its runner up."""
    return until is not None and at >= until


def why_last(project: str | None, repositories: Collection[str], *, url: str) -> str | None:
    """Why a sandbox serves no other job after those of these repositories; None: it may.

    `project`: the path of the project that the sandbox is for, None for any; `url`: GitLab's.
    GitLab gives a runner that serves several projects whatever job comes first.
    """
    if project is None:
        return None
    own = f"{urlsplit(url).path.strip('/')}/{project}".strip("/")
    return None if set(repositories) <= {own} else FOREIGN_JOB
