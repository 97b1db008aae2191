"""A burst on a laptop of its own: push, wait until every job has run, count."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from local.aws.engine import EngineOptions
from local.aws.stack import StackOptions
from local.burst import counters, project
from local.burst.memory import PeakMemory
from local.burst.result import BurstOptions, BurstResult, Progress, over_limits
from local.burst.tally import Tally, tally
from local.burst.thread_guests import ThreadGuestOptions, ThreadGuests
from local.gitlab.options import Options as GitLabOptions
from local.gitlab.seed import create_project, push_files
from local.gitlab.world import GitLabWorld
from local.laptop import Laptop, LaptopOptions

LOOK_EVERY_S = 1.0
# Invocations of one function that may wait for a process; on AWS they would run and soon end.
AT_ONCE = 100_000
UNBOUNDED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The simulated GitLab at one time."""

    statuses: dict[str, int]
    waited_s: tuple[float, ...]
    records: int
    calls: dict[str, int]


def burst(
    data: Path, options: BurstOptions, *, on_progress: Callable[[Progress], None] = lambda _: None
) -> BurstResult:
    """Bring everything up, run the burst, bring everything down; report every second."""
    laptop_options = LaptopOptions(
        # What waits here for a processor would not wait on AWS. Counted as executions it
        # used up an account's thousand, and the webhook was refused.
        engine=EngineOptions(concurrency=UNBOUNDED),
        gitlab=GitLabOptions(hook_lanes=8),
        stack=StackOptions(at_once=AT_ONCE),
        boots_guests=False,
    )
    with ExitStack() as closing:
        memory = closing.enter_context(PeakMemory())
        laptop = closing.enter_context(Laptop(data, laptop_options))
        run = _BurstRun(laptop, options, memory, on_progress)
        guests = closing.enter_context(ThreadGuests(laptop.engine, _guest_options(laptop, options)))
        return run.result(guests)


def _guest_options(laptop: Laptop, options: BurstOptions) -> ThreadGuestOptions:
    stack = laptop.stack
    return ThreadGuestOptions(
        stack=stack.name,
        machine_role=stack.machine_role,
        machine_role_id=stack.machine_role_id,
        mailbox_table=stack.mailbox_table,
        mailbox_key=stack.mailbox_key,
        at_once=options.ceiling,
        job_s=options.job_s,
    )


class _BurstRun:
    """One burst on a laptop that is up."""

    def __init__(
        self,
        laptop: Laptop,
        options: BurstOptions,
        memory: PeakMemory,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._laptop = laptop
        self._options = options
        self._memory = memory
        self._on_progress = on_progress
        self._began_at = 0.0
        self._last_counts: tuple[float, ...] = ()

    def result(self, guests: ThreadGuests) -> BurstResult:
        """Push, wait, count."""
        clones = self._prepare()
        self._reset()
        self._began_at = time.monotonic()
        for clone_url, jobs in clones:
            push_files(clone_url, {".gitlab-ci.yml": project.pipeline(jobs)}, message="Burst")
        ended = self._wait(lambda view: view.statuses.get("success", 0) >= self._options.jobs)
        seconds = time.monotonic() - self._began_at
        closed = ended and self._wait(lambda view: view.records == 0 and not self._machines())
        closed_s = time.monotonic() - self._began_at
        self._wait(lambda _: self._is_quiet())
        view = self._look()
        counts = tally(
            counters.counted(self._laptop.engine.url),
            view.calls,
            stack=self._laptop.stack.name,
            jobs=self._options.jobs,
        )
        finished = view.statuses.get("success", 0)
        return BurstResult(
            jobs=self._options.jobs,
            finished=finished,
            seconds=seconds,
            closed_s=closed_s,
            waited_s=_quantiles(view.waited_s),
            peak_memory_mb=self._memory.peak_mb,
            tally=counts,
            guests=dict(guests.outcomes),
            problems=tuple(self._problems(finished, closed, counts, view)),
        )

    def _prepare(self) -> list[tuple[str, int]]:
        """Pools, projects, one webhook for all; each project's clone URL and how many jobs."""
        laptop, options = self._laptop, self._options
        laptop.apply(
            project.config(
                url=laptop.gitlab_url, credentials=options.credentials, ceiling=options.ceiling
            )
        )
        laptop.warm()
        readme = {"README.md": "# Burst\n"}
        clones = []
        for number, jobs in enumerate(project.shares(options.jobs, options.projects), start=1):
            path = f"{project.GROUP}/project-{number}"
            made = create_project(laptop.gitlab_url, laptop.gitlab_token, path, readme)
            clones.append((made.clone_url, jobs))
        laptop.register_webhook(group=project.GROUP)
        return clones

    def _reset(self) -> None:
        """Count from here on."""
        self._laptop.simulator.ask(lambda world: world.calls.clear())
        counters.clear(self._laptop.engine.url)

    def _wait(self, holds: Callable[[_View], bool]) -> bool:
        deadline = self._began_at + self._options.timeout_s
        while time.monotonic() < deadline:
            view = self._look()
            self._on_progress(
                Progress(
                    seconds=time.monotonic() - self._began_at,
                    jobs=view.statuses,
                    machines=view.records,
                )
            )
            if holds(view):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def _look(self) -> _View:
        return self._laptop.simulator.ask(_view_of)

    def _machines(self) -> int:
        """Instances that run and rows of runners that live."""
        return len(self._laptop.runner_rows.live(project.POOL)) + self._laptop.instances()

    def _is_quiet(self) -> bool:
        """Whether GitLab has no event left to send and no state machine runs."""
        counts = counters.counted(self._laptop.engine.url)
        now = tuple(sum(counts.get(kind, {}).values()) for kind in ("api", "started", "executions"))
        before, self._last_counts = self._last_counts, now
        return now == before and now[1] <= now[2]  # one that began before the count ends in it

    def _problems(self, finished: int, closed: bool, counts: Tally, view: _View) -> Iterator[str]:
        missing = self._options.jobs - finished
        if missing:
            yield f"{missing} jobs did not run: {view.statuses}"
        elif not closed:
            yield f"{view.records} runner records, {self._machines()} machines are left"
        yield from over_limits(counts, self._options)


def _view_of(world: GitLabWorld) -> _View:
    jobs = world.ci.jobs.values()
    waited = (job.queued_s(world.clock.now()) for job in jobs if job.started_at)
    return _View(
        statuses=dict(Counter(str(job.status) for job in jobs)),
        waited_s=tuple(seconds for seconds in waited if seconds is not None),
        records=sum(
            runner.description.startswith("rf-") for runner in world.runners.by_id.values()
        ),
        calls=dict(world.calls),
    )


def _quantiles(waited_s: tuple[float, ...]) -> dict[str, float]:
    ordered = sorted(waited_s) or [0.0]
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("max", 1.0))
    }
