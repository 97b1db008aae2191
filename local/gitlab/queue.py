"""Pending jobs, indexed so that a runner's question costs a look per kind of job. Pure."""

import heapq

from local.gitlab.model import Job, Project, Runner

Kind = tuple[int, frozenset[str], bool]  # project id, tags, on a protected ref


def may_run(runner: Runner, project: Project, tags: frozenset[str], *, protected: bool) -> bool:
    """GitLab's matching rule: scope, tags, untagged, protected. The caller checks `paused`."""
    if not _reaches(runner, project):
        return False
    if runner.access_level == "ref_protected" and not protected:
        return False
    return tags <= runner.tags if tags else runner.run_untagged


def _reaches(runner: Runner, project: Project) -> bool:
    if runner.runner_type == "instance_type":
        return project.shared_runners_enabled
    if runner.runner_type == "group_type":
        return runner.group in project.group.lineage
    return project.id in runner.projects


def kind_of(job: Job) -> Kind:
    """The facts that decide which runners may run the job."""
    return job.project.id, frozenset(job.spec.tags), job.pipeline.is_protected


class PendingQueue:
    """Pending jobs by kind, each kind oldest first."""

    def __init__(self) -> None:
        self._jobs: dict[Kind, dict[int, Job]] = {}
        self._order: dict[Kind, list[int]] = {}  # heaps; ids no longer in _jobs are skipped
        self._changes = 0

    @property
    def version(self) -> str:
        """A value that changes when a runner without a job might get one."""
        return f"{self._changes:032x}"

    def touch(self) -> None:
        """Change the version after a change of a runner."""
        self._changes += 1

    def add(self, job: Job) -> None:
        """Offer the job to runners."""
        kind = kind_of(job)
        self._jobs.setdefault(kind, {})[job.id] = job
        heapq.heappush(self._order.setdefault(kind, []), job.id)
        self.touch()

    def remove(self, job: Job) -> None:
        """Hide the job from runners; an absent job is ignored."""
        kind = kind_of(job)
        jobs = self._jobs.get(kind)
        if jobs is None or jobs.pop(job.id, None) is None:
            return
        if not jobs:
            del self._jobs[kind], self._order[kind]

    def first_for(self, runner: Runner) -> Job | None:
        """The oldest pending job (smallest id) that the runner may run."""
        oldest: Job | None = None
        for kind, jobs in self._jobs.items():
            head = jobs[self._head(kind)]
            if oldest is not None and oldest.id < head.id:
                continue
            if may_run(runner, head.project, kind[1], protected=kind[2]):
                oldest = head
        return oldest

    def depth_for(self, runner: Runner) -> int:
        """How many pending jobs the runner may run."""
        return sum(
            len(jobs)
            for kind, jobs in self._jobs.items()
            if may_run(runner, next(iter(jobs.values())).project, kind[1], protected=kind[2])
        )

    def kinds(self) -> list[list[Job]]:
        """The waiting jobs, one list per kind."""
        return [list(jobs.values()) for jobs in self._jobs.values()]

    def _head(self, kind: Kind) -> int:
        order, jobs = self._order[kind], self._jobs[kind]
        while order[0] not in jobs:
            heapq.heappop(order)
        return order[0]
