"""A pool with its jobs and machines, in memory, with a clock that moves only when it is told.

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
        self.silent: frozenset[str] = frozenset()  # no heartbeat any more
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
            backlog=tuple(sorted(self.backlog.values(), key=lambda one: one.pending_at)),
            runners=tuple(self.runners.values()),
            dry_until=self.at + timedelta(seconds=self.dry_s) if self.dry_s else None,
            refused=self.refused,
        )

    @property
    def waiting(self) -> list[Job]:
        """The jobs that a runner may still be launched for."""
        return [one for one in self.backlog.values() if not one.given_up]

    def in_state(self, *states: RunnerState) -> list[Runner]:
        return [one for one in self.runners.values() if one.state in states]

    # What GitLab and its users do.

    def arrive(self, project: int) -> None:
        self.count += 1
        arrived = job(self.count, project=project, pending_at=self.at)
        self.backlog[arrived.key] = arrived

    def takeable(self, one: Runner) -> list[Job]:
        """The jobs that GitLab may hand to a runner, the youngest first: it owes us no order."""
        mine = {None, one.project_id}
        fits = [job for job in self.backlog.values() if mine == {None} or job.project_id in mine]
        return sorted(fits, key=lambda job: (job.pending_at, job.key), reverse=True)

    def take(self, one: Runner, taken: Job) -> None:
        """The runner got the job, whoever it was launched for."""
        del self.backlog[taken.key]
        self._change(one, RunnerState.BUSY, job=taken.key, works_for=taken.project_id)

    # What machines do.

    def boot(self, one: Runner) -> None:
        """It called home."""
        self._change(one, RunnerState.IDLE, heartbeat_at=self.at)

    def finish(self, one: Runner) -> None:
        """Its job ended, and it says goodbye."""
        self._change(one, RunnerState.DONE)

    def lose(self, one: Runner) -> None:
        """It is gone, and with it what it ran."""
        del self.runners[one.id]

    def _change(self, one: Runner, state: RunnerState, **facts: object) -> None:
        changed = replace(one, state=state, changed_at=self.at, **facts)  # type: ignore[arg-type]
        self.runners[one.id] = changed

    # What the fleet does.

    def apply(self, plan: ScalePlan, *, fails: int = 0, unanswered: int = 0) -> None:
        """Launch and drain; the first launches fail, the next ones stay without an answer.

        A job that has a runner coming gets no second one, and the ceiling is counted again, as
        the ledger's conditional writes do.
        """
        coming = {one.for_job for one in self.runners.values() if one.covers}
        wanted = [one for one in plan.launch if one.key in self.backlog and one.key not in coming]
        for number, one in enumerate([*wanted, *[None] * plan.warm]):
            if len(self.runners) >= self.limits.ceiling:
                break
            if number < fails:
                self._count_attempt(one.key if one else None)
            else:
                self._launch(one, answered=number >= fails + unanswered)
        for runner_id in plan.drain:
            drained = self.runners.get(runner_id)
            if drained is not None and drained.state in WAITING_STATES:
                self._change(drained, RunnerState.DRAINING)

    def _launch(self, one: Job | None, *, answered: bool) -> None:
        self.count += 1
        state = RunnerState.IN_FLIGHT if answered else RunnerState.REQUESTED
        launched = runner(
            f"r{self.count}",
            state,
            launched_at=self.at,
            changed_at=self.at,
            expires_at=self.at + LIFETIME,
            project_id=one.project_id if one and self.per_project else None,
            for_job=one.key if one else None,
            works_for=one.project_id if one else None,
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
        for one in self.in_state(RunnerState.IDLE, RunnerState.BUSY):
            if one.id not in self.silent:
                self.runners[one.id] = replace(one, heartbeat_at=self.at)
        for one in tuple(self.runners.values()):
            self._reap(one)

    def _reap(self, one: Runner) -> None:
        at_work = one.state is RunnerState.BUSY
        suspect = Suspect(runner=one, machine_alive=True)
        verdict = decide_reap(suspect, self.limits, at=self.at)
        if verdict.fate is Fate.ASK:
            suspect = replace(suspect, job_running=at_work)
            verdict = decide_reap(suspect, self.limits, at=self.at)
        if verdict.fate is Fate.KEEP:
            return
        assert verdict.fate is not Fate.ASK
        assert not at_work or one.expires_at <= self.at, "a job was killed"
        self.lose(one)
        if verdict.fate is Fate.RELAUNCH:
            self._count_attempt(one.for_job)

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
        sound = [one for one in self.runners.values() if one.id not in self.silent]
        for one in self.in_state(RunnerState.DONE, RunnerState.DRAINING):
            self.lose(one)
        for one in sound:
            if one.state is RunnerState.BUSY:
                self.finish(one)
            elif one.state is RunnerState.IN_FLIGHT:
                self.boot(one)
            elif one.state is RunnerState.IDLE and self.takeable(one):
                self.take(one, self.takeable(one)[0])

    def _autoscaler_works(self) -> None:
        plan = decide_scale(self.snapshot(), self.limits)
        for _ in range(self.limits.ceiling):
            self.apply(plan)
            if not plan.again:
                return
            plan = decide_scale(self.snapshot(), self.limits)
        assert not plan.again, "it goes on without end"
