"""How many runners a pool launches or drains now: its backlog against booting and idle ones."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from fleet.holds import Hold
from fleet.model import Job, JobKey, Limits, Runner, RunnerState, ScalePlan, Snapshot
from fleet.reasons import Reason
from fleet.rules.fairness import fair_order
from fleet.rules.holds import asks_again_in_s
from fleet.rules.outdated import is_outdated

# A runner whose job no longer waits is kept this long: the ledger may lag, other jobs may arrive.
# While other jobs wait it is kept as long as any: in a burst runners take each other's jobs.
SURPLUS_KEPT_S = 20.0
# Of the holds that are due, as many are probed in one round.
PROBES_AT_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """The backlog compared with the runners that cover it."""

    uncovered: tuple[Job, ...]  # fair order
    covered: tuple[JobKey, ...]
    spare: Counter[int | None]  # covering runners beyond the backlog, by the project they serve


def decide_scale(snapshot: Snapshot, limits: Limits) -> ScalePlan:
    """Launch for uncovered jobs, keep the idle target, drain runners that idle too long.

    A runner cannot be bound to a job, so runners are counted against the backlog: each booting or
    idle runner covers one waiting job. Busy runners are never drained. Runners whose record an
    `apply` outdated cover no job and are drained.
    """
    outdated = [runner for runner in snapshot.runners if is_outdated(runner, limits)]
    current = tuple(runner for runner in snapshot.runners if not is_outdated(runner, limits))
    # Outdated runners count against the ceiling until they end.
    left = replace(limits, ceiling=max(0, limits.ceiling - len(outdated)))
    plan = _decide(replace(snapshot, runners=current), left)
    return replace(plan, outdated=tuple(runner.id for runner in outdated if runner.mailbox))


def _decide(snapshot: Snapshot, limits: Limits) -> ScalePlan:
    """The plan for a pool without outdated runners."""
    need = _need(snapshot)
    reasons = dict.fromkeys(need.covered, Reason.COVERED)
    reasons |= {job.key: Reason.ATTEMPTS_USED for job in snapshot.backlog if job.given_up}
    warm = _warm(snapshot, limits, need)
    if need.uncovered or warm:
        return _launch(snapshot, limits, need=need, warm=warm, reasons=reasons)
    drain = _drain(snapshot, limits, spare=need.spare)
    if drain:
        return ScalePlan(reason=Reason.SURPLUS, drain=drain, waiting=reasons)
    if snapshot.why_no_launch is not None and not need.covered:
        return ScalePlan(reason=snapshot.why_no_launch, waiting=reasons)
    if limits.idle_target > need.spare[None] and snapshot.warm_at_most is not None:
        return ScalePlan(reason=snapshot.why_no_warm or Reason.WARM_FAILED, waiting=reasons)
    hopeless = Reason.ATTEMPTS_USED if reasons else Reason.BALANCED
    return ScalePlan(reason=Reason.COVERED if need.covered else hopeless, waiting=reasons)


def _warm(snapshot: Snapshot, limits: Limits, need: _Need) -> int:
    """The runners that are missing to the idle target, as far as warm launches may be made."""
    if snapshot.why_no_warm is not None or snapshot.why_no_launch is not None:
        return 0
    missing = max(0, limits.idle_target - need.spare[None])
    if snapshot.warm_at_most is None:
        return missing
    unproven = sum(
        runner.covers and runner.for_job is None and not runner.asks for runner in snapshot.runners
    )
    return min(missing, max(0, snapshot.warm_at_most - unproven))


def _launch(
    snapshot: Snapshot, limits: Limits, *, need: _Need, warm: int, reasons: dict[JobKey, Reason]
) -> ScalePlan:
    """Launch as many as ceiling and pace allow, jobs before warm runners; the rest get a reason."""
    barred = _why_nothing(snapshot)
    over = [job.key for job in need.uncovered if job.project_id in snapshot.over_budget]
    within = tuple(job for job in need.uncovered if job.key not in over)
    allowed = (
        _Allowed(go=need.uncovered, warm=warm)
        if barred
        else _within_budget(_allowed_by_holds(snapshot, within, warm), over)
    )
    room = 0 if barred else max(0, limits.ceiling - snapshot.size)
    batch = min(room, limits.launch_at_most)
    launch = allowed.go[:batch]
    warm_now = min(allowed.warm, batch - len(launch))
    later = allowed.go[len(launch) :]
    why_later = barred or (Reason.PACED if room > batch else Reason.AT_CEILING)
    reasons |= {**allowed.held, **{job.key: why_later for job in later}}
    why_none = Reason.IDLE_TARGET if warm_now else why_later
    if allowed.why and not later and not warm_now:
        why_none = allowed.why
    more = bool(later) or allowed.warm > warm_now
    return ScalePlan(
        reason=Reason.BACKLOG if launch else why_none,
        launch=launch,
        warm=warm_now,
        # Spare runners of another project are drained even now: they may hold the missing room.
        drain=_drain(snapshot, limits, spare=need.spare),
        waiting=reasons,
        again=room > batch and more,
        ask_in_s=allowed.ask_in_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Allowed:
    """The launches for which GitLab gives credentials, and why the others are held."""

    go: tuple[Job, ...]
    warm: int
    held: Mapping[JobKey, Reason] = field(default_factory=dict)
    why: Reason | None = None  # the pool as a whole is held
    ask_in_s: int | None = None  # until the first short hold may be probed


def _allowed_by_holds(snapshot: Snapshot, uncovered: tuple[Job, ...], warm: int) -> _Allowed:
    """Every launch that no hold concerns, and one launch as a probe of each hold that is due.

    The probe asks GitLab before its machine is launched, so it costs a call and no machine.
    """
    active = [hold for hold in snapshot.holds if hold.lifted_at is None]
    due = sorted(
        (hold for hold in active if hold.ask_at <= snapshot.at), key=lambda hold: hold.ask_at
    )
    unasked = {hold.scope for hold in due[:PROBES_AT_MOST]}  # whose probe is still to be made
    go: list[Job] = []
    held_by: dict[JobKey, Hold] = {}
    for job in uncovered:
        concerning = _concerning(active, snapshot, job.project_id)
        hold = _hold_on(concerning, unasked)
        if hold is None:
            go.append(job)
            unasked -= {each.scope for each in concerning}
        else:
            held_by[job.key] = hold
    general = _concerning(active, snapshot, None)
    warm_held_by = _hold_on(general, unasked) if warm else None
    if general:
        warm = 0 if warm_held_by else min(warm, 1)
    holds = [*held_by.values(), *([warm_held_by] if warm_held_by else [])]
    return _Allowed(
        go=tuple(go),
        warm=warm,
        held={key: hold.reason for key, hold in held_by.items()},
        why=holds[0].reason if holds else None,
        ask_in_s=_ask_in_s(holds, snapshot.at),
    )


def _concerning(active: Iterable[Hold], snapshot: Snapshot, project_id: int | None) -> list[Hold]:
    """The holds that concern a launch of the pool for a project."""
    return [hold for hold in active if hold.concerns(snapshot.pool, project_id)]


def _hold_on(
    concerning: Iterable[Hold], unasked: Container[tuple[str | None, int | None]]
) -> Hold | None:
    """The hold that a launch has to wait for; None where it may go, as a probe or without one."""
    return next((hold for hold in concerning if hold.scope not in unasked), None)


def _ask_in_s(holds: Iterable[Hold], at: datetime) -> int | None:
    """In how many seconds the first short hold may be probed."""
    waits = [asks_again_in_s(hold, at) for hold in holds if hold.ask_at > at]
    return min((wait for wait in waits if wait is not None), default=None)


def _within_budget(allowed: _Allowed, over: Sequence[JobKey]) -> _Allowed:
    """The same, with the jobs held whose project has used its budget up."""
    if not over:
        return allowed
    held = {**allowed.held, **dict.fromkeys(over, Reason.BUDGET)}
    return replace(allowed, held=held, why=allowed.why or Reason.BUDGET)


def _why_nothing(snapshot: Snapshot) -> Reason | None:
    """Why the pool can launch no runner at all now; None when it can."""
    if snapshot.why_no_launch is not None:
        return snapshot.why_no_launch
    if snapshot.refused:
        return Reason.CONFIGURATION
    if snapshot.dry_until is not None and snapshot.dry_until > snapshot.at:
        return Reason.NO_CAPACITY_UNTIL
    return None


def _need(snapshot: Snapshot) -> _Need:
    """Which jobs are covered, which are not, and how many covering runners are left over."""
    cover = Counter(runner.project_id for runner in snapshot.runners if runner.covers)
    waiting = [job for job in snapshot.backlog if not job.given_up]
    covered = []
    uncovered = []
    for job in _covered_first(waiting, snapshot.runners):
        scope = job.project_id if cover[job.project_id] else None
        if cover[scope]:
            cover[scope] -= 1
            covered.append(job.key)
        else:
            uncovered.append(job)
    active = Counter(r.works_for for r in snapshot.runners if r.works_for is not None)
    return _Need(
        uncovered=tuple(fair_order(uncovered, active)), covered=tuple(covered), spare=cover
    )


def _covered_first(waiting: list[Job], runners: Iterable[Runner]) -> list[Job]:
    """Jobs with a covering runner launched for them, then the others; each oldest first."""
    launched_for = {runner.for_job for runner in runners if runner.covers}
    return sorted(waiting, key=lambda job: (job.key not in launched_for, job.pending_at, job.key))


def _drain(snapshot: Snapshot, limits: Limits, *, spare: Counter[int | None]) -> tuple[str, ...]:
    """Spare runners that were idle, or booting, for longer than the idle time; longest first."""
    unneeded = spare.copy()
    kept = 0 if snapshot.why_no_launch else limits.idle_target
    unneeded[None] = max(0, unneeded[None] - kept)
    since = {
        runner.id: runner.since
        for runner in snapshot.runners
        if runner.state in {RunnerState.IDLE, RunnerState.IN_FLIGHT} and runner.mailbox
    }
    waiting = {job.key for job in snapshot.backlog}
    wanting = {job.project_id for job in snapshot.backlog if not job.given_up}
    drained = []
    for runner in sorted(
        snapshot.runners, key=lambda runner: (since.get(runner.id, snapshot.at), runner.id)
    ):
        if runner.id not in since or not unneeded[runner.project_id]:
            continue
        kept_s = limits.idle_time_s
        may_serve = wanting if runner.project_id is None else wanting & {runner.project_id}
        if runner.for_job is not None and runner.for_job not in waiting and not may_serve:
            kept_s = min(kept_s, SURPLUS_KEPT_S)  # its job was canceled, or another runner took it
        if (snapshot.at - since[runner.id]).total_seconds() >= kept_s:
            unneeded[runner.project_id] -= 1
            drained.append(runner.id)
    return tuple(drained)


def wants_room(plan: ScalePlan) -> bool:
    """Whether the next runner that ends makes room for a waiting job.

    GitLab's limit of runner records is room, too.
    """
    room = {Reason.AT_CEILING, Reason.GITLAB_REFUSES}
    return plan.reason in room or not room.isdisjoint(plan.waiting.values())


def looks_again(
    plan: ScalePlan, *, machines: int, held: int, was_full: bool, was_held: bool
) -> bool:
    """Whether a pool needs another round at once, after a round that launched `machines`.

    `held`: launches that GitLab gave no credential for; `was_full`, `was_held`: before the round
    the pool's row had a job that waits for room, a job that waits for a credential.
    """
    # A runner that ended during the round could not know yet that a job waits for its room.
    just_full = wants_room(plan) and not was_full
    missing = machines + held < plan.launches
    # GitLab gives credentials again: the other held launches follow at once.
    is_lifted = was_held and machines > 0 and not held
    # A refused launch leaves room for a job that waits for it.
    is_room_left = held > 0 and Reason.AT_CEILING in plan.waiting.values()
    return plan.again or missing or just_full or is_lifted or is_room_left
