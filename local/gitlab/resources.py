"""Resource groups: of all jobs that name one, one at a time may be queued or run."""

from local.gitlab.model import Job

Key = tuple[int, str]  # project id, group name


class ResourceGroups:
    """The holder of each group, and the jobs that wait for it in order of arrival."""

    def __init__(self) -> None:
        self._holders: dict[Key, Job] = {}
        self._waiting: dict[Key, dict[int, Job]] = {}

    def acquire(self, job: Job) -> bool:
        """Whether the job holds its group now; otherwise it waits in line."""
        key = _key(job)
        holder = self._holders.setdefault(key, job)
        if holder is job:
            return True
        self._waiting.setdefault(key, {})[job.id] = job
        return False

    def release(self, job: Job) -> Job | None:
        """Free the group or leave the line; the next holder, or None."""
        if not job.spec.resource_group:
            return None
        key = _key(job)
        waiting = self._waiting.get(key, {})
        waiting.pop(job.id, None)
        if self._holders.get(key) is not job:
            return None
        del self._holders[key]
        if not waiting:
            return None
        successor = waiting.pop(next(iter(waiting)))
        self._holders[key] = successor
        return successor


def _key(job: Job) -> Key:
    return job.project.id, job.spec.resource_group or ""
