"""The indexes of jobs by state: the queue, the lists of a project, the stages."""

from local.gitlab.model import Job
from local.gitlab.queue import PendingQueue
from local.gitlab.states import COMPLETED, Status

_SETTLED = COMPLETED | {Status.MANUAL}  # dependents may have to move


class JobIndex:
    """Jobs by state: `leave` before the state changes, `enter` after."""

    def __init__(self) -> None:
        self.queue = PendingQueue()
        self.under_way: dict[int, Job] = {}  # running and canceling
        self.scheduled: dict[int, Job] = {}

    def enter(self, job: Job) -> None:
        """Add the job under its present state."""
        status, pipeline = job.status, job.pipeline
        pipeline.count(job, 1)
        job.project.by_status.setdefault(status, {})[job.id] = job
        if status is Status.CREATED:
            self._file_created(job)
        elif status is Status.PENDING:
            self.queue.add(job)
        elif status is Status.SCHEDULED:
            self.scheduled[job.id] = job
        elif status in (Status.RUNNING, Status.CANCELING):
            self.under_way[job.id] = job
        if status in _SETTLED:
            pipeline.woken.update(dict.fromkeys(pipeline.dependents.get(job.spec.name, ())))

    @staticmethod
    def _file_created(job: Job) -> None:
        pipeline = job.pipeline
        if job.spec.needs is None:
            pipeline.created.setdefault(job.spec.stage, {})[job.id] = job
        else:
            pipeline.woken[job.spec.name] = None

    def leave(self, job: Job) -> None:
        """Remove the job from under its present state."""
        job.pipeline.count(job, -1)
        del job.project.by_status[job.status][job.id]
        job.pipeline.created.get(job.spec.stage, {}).pop(job.id, None)
        self.queue.remove(job)
        self.scheduled.pop(job.id, None)
        self.under_way.pop(job.id, None)
