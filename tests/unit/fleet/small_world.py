"""A pool with its jobs and machines, in memory, with a clock that moves only by `pass_time`.

It stands for everything around the rules: GitLab that hands any job to any runner that may take
it, a cloud that fails, and the way in which plans are applied (repeatable, counted against the
ceiling). It shares no code with the rules but their nouns and `decide_reap`.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import timedelta

from fleet.model import Job, JobKey, Runner, RunnerState, ScalePlan, Snapshot
from fleet.rules.reap import Fate, Suspect, decide_reap
from fleet.rules.scale import decide_scale
from tests.unit.fleet.facts import AT, LIMITS, job, runner

LIFETIME = timedelta(minutes=30)
WAITING_STATES = (RunnerState.IN_FLIGHT, RunnerState.IDLE)


class World:
    """One pool, its backlog, and what is alive for it."""

    def __init__(self) -> None:
        self.at = AT
        self.limits = replace(LIMITS, launch_at_most=3)
        self.per_project = False
        self.backlog: dict[JobKey, Job] = {}
        self.runners: dict[str, Runner] = {}
        self.silent: frozenset[str] = frozenset()  # no more heartbeats
        self.dry_s = 0.0
        self.refused: str | None = None
        self.count = 0  # of jobs and runners, for their ids

    def copy(self) -> "World":
        """The same world, to see what would become of it."""
        other = copy(self)
        other.backlog, other.runners = dict(self.backlog), dict(self.runners)
        return other

    def snapshot(self) -> Snapshot:
        return Snapshot(
            at=self.at,
            pool="docker",
            backlog=tuple(sorted(self.backlog.values(), key=lambda job: job.pending_at)),
            runners=tuple(self.runners.values()),
            dry_until=self.at + timedelta(seconds=self.dry_s) if self.dry_s else None,
            refused=self.refused,
        )

    @property
    def waiting(self) -> list[Job]:
        """The jobs that a runner may still be launched for."""
        return [job for job in self.backlog.values() if not job.given_up]

    def in_state(self, *states: RunnerState) -> list[Runner]:
        return [runner for runner in self.runners.values() if runner.state in states]

    # What GitLab and its users do.

    def arrive(self, project: int) -> None:
        self.count += 1
        arrived = job(self.count, project=project, pending_at=self.at)
        self.backlog[arrived.key] = arrived

    def takeable(self, runner: Runner) -> list[Job]:
        """The jobs that GitLab may hand to a runner, the youngest first: it owes us no order."""
        mine = {None, runner.project_id}
        fits = [job for job in self.backlog.values() if mine == {None} or job.project_id in mine]
        return sorted(fits, key=lambda job: (job.pending_at, job.key), reverse=True)

    def take(self, runner: Runner, taken: Job) -> None:
        """The runner got the job, for whichever job it was launched."""
        del self.backlog[taken.key]
        self._change(runner, RunnerState.BUSY, job=taken.key, works_for=taken.project_id)

    # What machines do.

    def boot(self, runner: Runner) -> None:
        """It called home."""
        self._change(runner, RunnerState.IDLE, heartbeat_at=self.at)

    def finish(self, runner: Runner) -> None:
        """Its job ended, and it says goodbye."""
        self._change(runner, RunnerState.DONE)

    def lose(self, runner: Runner) -> None:
        """It is gone, and with it what it ran."""
        del self.runners[runner.id]

    def _change(self, runner: Runner, state: RunnerState, **facts: object) -> None:
        changed = replace(runner, state=state, changed_at=self.at, **facts)  # type: ignore[arg-type]
        self.runners[runner.id] = changed

    # What the fleet does.

    def apply(self, plan: ScalePlan, *, fails: int = 0, unanswered: int = 0) -> None:
        """Launch and drain; the first launches fail, the next ones stay without an answer.

        A job that has a runner coming gets no second one, and the ceiling is counted again, as
        the ledger's conditional writes do.
        """
        coming = {runner.for_job for runner in self.runners.values() if runner.covers}
        wanted = [job for job in plan.launch if job.key in self.backlog and job.key not in coming]
        for number, for_job in enumerate([*wanted, *[None] * plan.warm]):
            if len(self.runners) >= self.limits.ceiling:
                break
            if number < fails:
                self._count_attempt(for_job.key if for_job else None)
            else:
                self._launch(for_job, answered=number >= fails + unanswered)
        for runner_id in plan.drain:
            drained = self.runners.get(runner_id)
            if drained is not None and drained.state in WAITING_STATES:
                self._change(drained, RunnerState.DRAINING)

    def _launch(self, job: Job | None, *, answered: bool) -> None:
        self.count += 1
        state = RunnerState.IN_FLIGHT if answered else RunnerState.REQUESTED
        launched = runner(
            f"r{self.count}",
            state,
            launched_at=self.at,
            changed_at=self.at,
            expires_at=self.at + LIFETIME,
            project_id=job.project_id if job and self.per_project else None,
            for_job=job.key if job else None,
            works_for=job.project_id if job else None,
            machine_id=f"i-{self.count}" if answered else None,
            gitlab_runner_id=self.count,
        )
        self.runners[launched.id] = launched

    def _count_attempt(self, for_job: JobKey | None) -> None:
        failed = self.backlog.get(for_job) if for_job else None
        if failed is not None:
            attempt = failed.attempt + 1
            given_up = attempt > self.limits.attempts
            self.backlog[failed.key] = replace(failed, attempt=attempt, given_up=given_up)

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, the living give their sign of life, the lost are reaped."""
        self.at += timedelta(seconds=seconds)
        self.dry_s = max(0.0, self.dry_s - seconds)
        for member in self.in_state(RunnerState.IDLE, RunnerState.BUSY):
            if member.id not in self.silent:
                self.runners[member.id] = replace(member, heartbeat_at=self.at)
        for member in tuple(self.runners.values()):
            self._reap(member)

    def _reap(self, runner: Runner) -> None:
        at_work = runner.state is RunnerState.BUSY
        suspect = Suspect(runner=runner, machine_alive=True)
        plan = decide_reap(suspect, self.limits, at=self.at)
        if plan.fate is Fate.ASK:
            suspect = replace(suspect, job_running=at_work)
            plan = decide_reap(suspect, self.limits, at=self.at)
        if plan.fate is Fate.KEEP:
            return
        assert plan.fate is not Fate.ASK
        assert not at_work or runner.expires_at <= self.at, "a job was killed"
        self.lose(runner)
        if plan.fate is Fate.RELAUNCH:
            self._count_attempt(runner.for_job)

    # Fair weather.

    def live_on(self, minutes: int, *, until: Callable[[], bool] = lambda: False) -> None:
        """Everything works from now on, for so long or until this holds."""
        for _ in range(minutes):
            if until():
                return
            self._machines_work()
            self._autoscaler_works()
            self.pass_time(60)

    def _machines_work(self) -> None:
        """One minute: who leaves is gone, jobs end, idle ones take jobs, booting ones come."""
        sound = [runner for runner in self.runners.values() if runner.id not in self.silent]
        for member in self.in_state(RunnerState.DONE, RunnerState.DRAINING):
            self.lose(member)
        for member in sound:
            if member.state is RunnerState.BUSY:
                self.finish(member)
            elif member.state is RunnerState.IN_FLIGHT:
                self.boot(member)
            elif member.state is RunnerState.IDLE and self.takeable(member):
                self.take(member, self.takeable(member)[0])

    def _autoscaler_works(self) -> None:
        plan = decide_scale(self.snapshot(), self.limits)
        for _ in range(self.limits.ceiling):
            self.apply(plan)
            if not plan.again:
                return
            plan = decide_scale(self.snapshot(), self.limits)
        assert not plan.again, "it goes on without end"
