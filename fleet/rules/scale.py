"""How many runners a pool launches or drains now: backlog against what is booting or idle."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fleet.model import Job, JobKey, JobStatus, Limits, Runner, RunnerState, ScalePlan, Snapshot
from fleet.reasons import Reason
from fleet.rules.fairness import fair_order
from fleet.rules.fit import is_outdated
from fleet.rules.holds import Hold, asks_again_in_s

# A runner whose job waits no longer is kept this long: the ledger may lag, other jobs may come.
# While others wait it is kept as any: in a burst each runner takes another's job, and is not spare.
SURPLUS_KEPT_S = 20.0
# Of the projects that GitLab refuses records for, so many are asked about in one round.
PROBES_AT_MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """The backlog held against the runners that are there for it."""

    uncovered: tuple[Job, ...]  # fair order
    covered: tuple[JobKey, ...]
    spare: Counter[int | None]  # covering runners beyond the backlog, by the project they serve


def decide_scale(seen: Snapshot, limits: Limits) -> ScalePlan:
    """Launch for jobs that nobody covers, keep the warm target, drain what stayed idle too long.

    A runner cannot be bound to a job, so runners are counted against the backlog: whatever is
    booting or idle covers one waiting job each. Busy runners are never drained. Those that an
    `apply` left with another record than the pool's cover nobody and are drained.
    """
    outdated = [one for one in seen.runners if is_outdated(one, limits)]
    fit = tuple(one for one in seen.runners if not is_outdated(one, limits))
    # They keep their places until they are gone.
    left = replace(limits, ceiling=max(0, limits.ceiling - len(outdated)))
    plan = _decide(replace(seen, runners=fit), left)
    return replace(plan, outdated=tuple(one.id for one in outdated if one.mailbox))


def _decide(seen: Snapshot, limits: Limits) -> ScalePlan:
    """The plan for a pool whose runners all fit."""
    need = _need(seen)
    told = dict.fromkeys(need.covered, Reason.COVERED)
    told |= {job.key: Reason.ATTEMPTS_USED for job in seen.backlog if job.given_up}
    warm = max(0, limits.idle_target - need.spare[None])
    if need.uncovered or warm:
        return _launch(seen, limits, need=need, warm=warm, told=told)
    drain = _drain(seen, limits, spare=need.spare)
    if drain:
        return ScalePlan(reason=Reason.SURPLUS, drain=drain, waiting=told)
    hopeless = Reason.ATTEMPTS_USED if told else Reason.BALANCED
    return ScalePlan(reason=Reason.COVERED if need.covered else hopeless, waiting=told)


def _launch(
    seen: Snapshot, limits: Limits, *, need: _Need, warm: int, told: dict[JobKey, Reason]
) -> ScalePlan:
    """As many as ceiling and pace allow, jobs before warm ones; everyone left is told why."""
    held = _held(seen)
    may = _Asked(go=need.uncovered, warm=warm) if held else _let_through(seen, need.uncovered, warm)
    room = 0 if held else max(0, limits.ceiling - seen.size)
    batch = min(room, limits.launch_at_most)
    launch = may.go[:batch]
    warm_now = min(may.warm, batch - len(launch))
    left = may.go[len(launch) :]
    why_left = held or (Reason.PACED if room > batch else Reason.AT_CEILING)
    told |= {**may.held, **{job.key: why_left for job in left}}
    why_none = Reason.IDLE_TARGET if warm_now else why_left
    if may.why and not left and not warm_now:
        why_none = may.why
    more = bool(left) or may.warm > warm_now
    return ScalePlan(
        reason=Reason.BACKLOG if launch else why_none,
        launch=launch,
        warm=warm_now,
        # Spare ones of another project go even now: they may hold the room that is missing.
        drain=_drain(seen, limits, spare=need.spare),
        waiting=told,
        again=room > batch and more,
        ask_in_s=may.ask_in_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What may be launched as far as GitLab's credentials go, and why the rest is held."""

    go: tuple[Job, ...]
    warm: int
    held: Mapping[JobKey, Reason] = field(default_factory=dict)
    why: Reason | None = None  # the pool as a whole is held
    ask_in_s: int | None = None  # until the first hold that is short lets somebody ask


def _let_through(seen: Snapshot, uncovered: tuple[Job, ...], warm: int) -> _Asked:
    """Every launch that no hold concerns, and one of each hold whose time to ask has come.

    That one asks GitLab before its machine is launched, so a probe costs a call and no machine.
    """
    active = [hold for hold in seen.holds if hold.lifted_at is None]
    due = sorted((hold for hold in active if hold.ask_at <= seen.at), key=lambda one: one.ask_at)
    to_ask = {hold.scope for hold in due[:PROBES_AT_MOST]}
    waits: list[int] = []

    def blocking(project_id: int | None) -> Hold | None:
        mine = [hold for hold in active if hold.concerns(seen.pool, project_id)]
        found = next((hold for hold in mine if hold.scope not in to_ask), None)
        if found is None:
            to_ask.difference_update(hold.scope for hold in mine)
        elif found.ask_at > seen.at and (wait := asks_again_in_s(found, seen.at)) is not None:
            waits.append(wait)
        return found

    go: list[Job] = []
    held: dict[JobKey, Reason] = {}
    for job in uncovered:
        hold = blocking(job.project_id)
        if hold is None:
            go.append(job)
        else:
            held[job.key] = hold.reason
    is_general = any(hold.concerns(seen.pool, None) for hold in active)
    blocked = blocking(None) if warm else None
    if is_general:
        warm = 0 if blocked else min(warm, 1)
    why = next(iter(held.values()), blocked.reason if blocked else None)
    ask_in_s = min(waits, default=None)
    return _Asked(go=tuple(go), warm=warm, held=held, why=why, ask_in_s=ask_in_s)


def _held(seen: Snapshot) -> Reason | None:
    """Why nothing can be launched at all at this time, if so."""
    if seen.refused:
        return Reason.CONFIGURATION
    if seen.dry_until is not None and seen.dry_until > seen.at:
        return Reason.NO_CAPACITY_UNTIL
    return None


def _need(seen: Snapshot) -> _Need:
    """Who is covered, who is not, and how many covering runners are left over."""
    cover = Counter(runner.project_id for runner in seen.runners if runner.covers)
    waiting = [job for job in seen.backlog if not job.given_up]
    covered = []
    uncovered = []
    for job in _covered_first(waiting, seen.runners):
        scope = job.project_id if cover[job.project_id] else None
        if cover[scope]:
            cover[scope] -= 1
            covered.append(job.key)
        else:
            uncovered.append(job)
    active = Counter(r.works_for for r in seen.runners if r.works_for is not None)
    return _Need(
        uncovered=tuple(fair_order(uncovered, active)), covered=tuple(covered), spare=cover
    )


def _covered_first(waiting: list[Job], runners: Iterable[Runner]) -> list[Job]:
    """Jobs that a covering runner was launched for, then the others; each oldest first."""
    launched_for = {runner.for_job for runner in runners if runner.covers}
    return sorted(waiting, key=lambda job: (job.key not in launched_for, job.pending_at, job.key))


def _drain(seen: Snapshot, limits: Limits, *, spare: Counter[int | None]) -> tuple[str, ...]:
    """Spare runners that were idle, or booting, for longer than the idle time; longest first."""
    left = spare.copy()
    left[None] = max(0, left[None] - limits.idle_target)
    since = {
        runner.id: runner.since
        for runner in seen.runners
        if runner.state in {RunnerState.IDLE, RunnerState.IN_FLIGHT} and runner.mailbox
    }
    waiting = {job.key for job in seen.backlog}
    wanting = {job.project_id for job in seen.backlog if not job.given_up}
    drained = []
    for runner in sorted(seen.runners, key=lambda one: (since.get(one.id, seen.at), one.id)):
        if runner.id not in since or not left[runner.project_id]:
            continue
        kept_s = limits.idle_time_s
        may_serve = wanting if runner.project_id is None else wanting & {runner.project_id}
        if runner.for_job is not None and runner.for_job not in waiting and not may_serve:
            kept_s = min(kept_s, SURPLUS_KEPT_S)  # its job was cancelled, or another served it
        if (seen.at - since[runner.id]).total_seconds() >= kept_s:
            left[runner.project_id] -= 1
            drained.append(runner.id)
    return tuple(drained)


def untaken(backlog: Iterable[Job], runners: Iterable[Runner]) -> tuple[Job, ...]:
    """The jobs that no runner says it has: a machine may say so before GitLab's webhook does."""
    taken = {runner.job for runner in runners}
    return tuple(job for job in backlog if job.key not in taken)


def wants_room(plan: ScalePlan) -> bool:
    """Whether the next runner that ends makes room for a job that waits.

    GitLab's limit of runner records is room as well.
    """
    room = {Reason.AT_CEILING, Reason.GITLAB_REFUSES}
    return plan.reason in room or not room.isdisjoint(plan.waiting.values())


def looks_again(
    plan: ScalePlan, *, machines: int, held: int, was_full: bool, was_held: bool
) -> bool:
    """Whether a pool has more to do at once, after a round got it so many machines.

    `held`: launches that GitLab gave no credential for; `was_full`, `was_held`: the pool's row
    said before the round that a job waits for room, that GitLab gives no credential.
    """
    # A runner that ended during the round did not know yet that a job waits for its place.
    just_full = wants_room(plan) and not was_full
    missing = machines + held < plan.launches
    # GitLab gives credentials again: what else was held goes at once.
    is_lifted = was_held and machines > 0 and not held
    # What was refused leaves the room that others were said to lack.
    is_room_left = held > 0 and Reason.AT_CEILING in plan.waiting.values()
    return plan.again or missing or just_full or is_lifted or is_room_left


def waits_in(job: Job | None, pool: str) -> bool:
    """Whether the job of a message still needs a launch, in the pool that the message is for."""
    return job is not None and job.wants_runner and job.pool == pool


def is_behind(job: Job, listed: Mapping[str, frozenset[JobKey]]) -> bool:
    """Whether a job wants a runner that the index of waiting jobs, by pool, does not show yet."""
    return job.wants_runner and job.key not in listed.get(job.pool or "", {job.key})


def is_letter_settled(job: Job | None) -> bool:
    """Whether a dead letter may go: its job is over, or is not given up any more."""
    return job is None or job.status is not JobStatus.PENDING or not job.given_up
