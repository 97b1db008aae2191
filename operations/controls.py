"""An operator's orders: pause and resume pools, other ceilings for a time, ends of runners.

An order is a row of the ledger; scaling reads it in its next round, within a minute. The same order
twice changes nothing. Who gave it, when and why is kept for 90 days.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from adapters.ledger.controls import Act
from adapters.ledger.runners import RunnerRows
from fleet.errors import Refused
from fleet.job_event import instance_of
from fleet.model import Job, JobKey, JobStatus, Runner
from fleet.reasons import Reason
from fleet.rules.controls import ALL, END_KEPT, Control, ControlKind, in_force, pause_of
from fleet.steps import Step, StepName
from operations.explain import JobReference, check_host, no_such_job
from operations.fleet_handle import Deployed, check_pool
from operations.periods import Period

CEILING_AT_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """The result of an order. `is_change` is False where it was in force already."""

    says: str  # the result in words
    is_change: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """One order in force, as `status` shows it."""

    kind: str  # pause, ceiling, end
    about: str  # a pool, `*` for all pools, or a runner
    says: str
    who: str
    since: datetime
    until: datetime | None
    note: str
    ceiling: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActsView:
    """The audit of a period, newest first."""

    acts: tuple[Act, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {"acts": [asdict(act) | {"at": act.at.isoformat()} for act in self.acts]}


def pause(
    deployed: Deployed, pool: str | None, *, note: str = "", until: datetime | None = None
) -> Ordered:
    """Launch nothing in a pool, or in any; jobs that run go on, and jobs that wait stay so.

    Raises `Refused` for a pool that fleet.toml lacks.
    """
    if pool is not None:
        check_pool(deployed.config(), pool)
    control = _new(deployed, ControlKind.PAUSE, pool or ALL, note=note, until=until)
    return _give(deployed, control)


def resume(deployed: Deployed, pool: str | None) -> Ordered:
    """Launch again in a pool that was paused by name; without one take every pause back.

    Raises `Refused` for a pool that a pause of every pool holds, or that fleet.toml lacks.
    """
    pauses = [control for control in _in_force(deployed) if control.kind is ControlKind.PAUSE]
    resumed = [control for control in pauses if pool in (None, control.about)]
    for control in resumed:
        deployed.fleet.take_back(control, _act(deployed, f"resume {_named(control.about)}"))
    rest = [control for control in pauses if control not in resumed]
    general = pause_of(rest, pool) if pool is not None else None
    if general is not None:
        raise Refused(f"every pool is paused, {pool} too: `runner-fleet pool resume` resumes all")
    if not resumed:
        if pool is not None:
            check_pool(deployed.config(), pool)
        what = f"pool {pool} was not" if pool else "no pool was"
        return Ordered(says=f"{what} paused", is_change=False)
    return Ordered(says=f"{', '.join(_named(control.about) for control in resumed)}: resumed")


def set_ceiling(
    deployed: Deployed, pool: str, ceiling: int, *, lasts: timedelta, note: str = ""
) -> Ordered:
    """Give a pool another ceiling for a time. 0: nothing is launched.

    Raises `Refused` beyond `CEILING_AT_MOST`, and for a pool that fleet.toml lacks.
    """
    config = deployed.config()
    check_pool(config, pool)
    if not 0 <= ceiling <= CEILING_AT_MOST:
        raise Refused(f"a ceiling is from 0 to {CEILING_AT_MOST}")
    until = deployed.clock() + lasts
    control = _new(deployed, ControlKind.CEILING, pool, note=note, until=until, ceiling=ceiling)
    return _give(deployed, control)


def reset_ceiling(deployed: Deployed, pool: str) -> Ordered:
    """Give a pool the ceiling of fleet.toml back."""
    check_pool(deployed.config(), pool)
    for control in _in_force(deployed):
        if control.kind is ControlKind.CEILING and control.about == pool:
            deployed.fleet.take_back(control, _act(deployed, f"reset the ceiling of pool {pool}"))
            return Ordered(says=f"pool {pool}: the ceiling of fleet.toml again")
    return Ordered(says=f"pool {pool} has the ceiling of fleet.toml", is_change=False)


def end_runner(deployed: Deployed, runner_id: str, *, now: bool = False, note: str = "") -> Ordered:
    """End a runner after its job, or at once: the job is then run again as after a lost machine.

    Raises `Refused` for a runner that does not live, and at once for one on Lambda.
    """
    runner = _living(deployed, runner_id)
    if now and runner.backend == "lambda":
        job = f"job {runner.job.job_id}" if runner.job else "its job"
        raise Refused(
            f"nothing ends a Lambda invocation from outside: cancel {job} in GitLab, or leave"
            " --now out and it ends after it"
        )
    until = deployed.clock() + END_KEPT
    control = _new(deployed, ControlKind.END, runner_id, note=note, until=until, at_once=now)
    return _give(deployed, control)


def interrupt(deployed: Deployed, reference: JobReference) -> Ordered:
    """End the machine of a running job as if AWS had taken it back, to see what follows.

    Raises `Refused` for a job that does not run on a machine of the fleet.
    """
    job = _job(deployed, reference)
    if job.status is not JobStatus.RUNNING or job.runner_id is None:
        raise Refused(f"job {job.job_id} does not run on a machine of this fleet")
    return end_runner(deployed, job.runner_id, now=True, note=f"interrupt job {job.job_id}")


def relaunch(deployed: Deployed, reference: JobReference) -> Ordered:
    """Give a job that was given up all attempts again.

    Scaling looks at each waiting job once a minute, with a demand or without: only the fleet's own
    functions may send one. Raises `Refused` for a job that does not wait, or has no pool.
    """
    job = _job(deployed, reference)
    if job.status is not JobStatus.PENDING:
        raise Refused(f"job {job.job_id} does not wait: retry it in GitLab")
    pool = deployed.config().pool(job.pool or "")
    if pool is None:
        raise Refused(f"job {job.job_id} has no pool: `runner-fleet explain {job.job_id}`")
    if job.reason is Reason.COVERED and not job.given_up:
        return Ordered(says=f"job {job.job_id}: a runner boots for it", is_change=False)
    step = Step(at=deployed.clock(), name=StepName.WAITS, reason=Reason.FORGIVEN, pool=pool.name)
    if job.given_up and deployed.jobs.renew(job, step):
        return Ordered(
            says=f"job {job.job_id} has all attempts again; a runner is launched within a minute"
        )
    return Ordered(
        says=f"job {job.job_id} waits with attempts left, and is looked at once a minute:"
        f" `runner-fleet explain {job.job_id}` says what for",
        is_change=False,
    )


def shown_controls(controls: Iterable[Control], living: frozenset[str]) -> tuple[ControlView, ...]:
    """The orders as `status` shows them; those to end a runner while it is among the `living`."""
    return tuple(
        ControlView(
            kind=control.kind.value,
            about=control.about,
            says=sentence_of(control),
            who=control.who,
            since=control.at,
            until=control.until,
            note=control.note,
            ceiling=control.ceiling,
        )
        for control in controls
        if control.kind is not ControlKind.END or control.about in living
    )


def acts(deployed: Deployed, period: Period) -> ActsView:
    """Who gave and took back which orders."""
    return ActsView(acts=deployed.fleet.acts(period.since, period.until)[::-1])


def sentence_of(control: Control) -> str:
    """An order in words."""
    until = f" until {control.until:%F %R} UTC" if control.until else ""
    match control.kind:
        case ControlKind.PAUSE:
            return f"{_named(control.about)} paused{until}"
        case ControlKind.CEILING:
            return f"pool {control.about}: ceiling {control.ceiling}{until}"
        case ControlKind.END:
            when = "at once" if control.at_once else "after its job"
            return f"{control.about} ends {when}"


def _give(deployed: Deployed, control: Control) -> Ordered:
    """Give an order, unless the same is in force."""
    standing = next(
        (
            order
            for order in _in_force(deployed)
            if (order.kind, order.about) == (control.kind, control.about)
        ),
        None,
    )
    if standing is not None and control.same_order(standing):
        since = f"by {standing.who} since {standing.at:%F %R} UTC"
        return Ordered(says=f"{sentence_of(standing)}, {since} already", is_change=False)
    deployed.fleet.order(control, _act(deployed, sentence_of(control), note=control.note))
    return Ordered(says=f"{sentence_of(control)}; in force within a minute")


def _new(deployed: Deployed, kind: ControlKind, about: str, **facts: Any) -> Control:
    return Control(kind=kind, about=about, at=deployed.clock(), who=deployed.who(), **facts)


def _act(deployed: Deployed, what: str, *, note: str = "") -> Act:
    return Act(at=deployed.clock(), who=deployed.who(), what=what, note=note)


def _in_force(deployed: Deployed) -> tuple[Control, ...]:
    return in_force(deployed.fleet.controls(), deployed.clock())


def _living(deployed: Deployed, runner_id: str) -> Runner:
    instance = instance_of(deployed.config().gitlab.url)
    runner = RunnerRows(deployed.table, deployed.mailboxes, instance).find(runner_id)
    if runner is None:
        raise Refused(f"no runner {runner_id} lives: `runner-fleet runners` lists those that do")
    return runner


def _job(deployed: Deployed, reference: JobReference) -> Job:
    instance = instance_of(deployed.config().gitlab.url)
    check_host(reference, instance)
    job = deployed.jobs.job(JobKey(instance=instance, job_id=reference.job_id))
    if job is None:
        raise no_such_job(reference, instance)
    return job


def _named(about: str) -> str:
    return "every pool" if about == ALL else f"pool {about}"
