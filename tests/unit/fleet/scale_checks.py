"""What a plan of the scaling rule must be, counted in another way than the rule counts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.model import Job, Limits, Runner, RunnerState, ScalePlan, Snapshot
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale

IDLE, IN_FLIGHT, REQUESTED = RunnerState.IDLE, RunnerState.IN_FLIGHT, RunnerState.REQUESTED


def check_plan(seen: Snapshot, limits: Limits) -> ScalePlan:
    """The plan for these facts, after everything that must hold of it was seen to hold."""
    plan = decide_scale(seen, limits)
    check_launches(seen, limits, plan)
    check_everybody_is_told(seen, limits, plan)
    check_drains(seen, limits, plan)
    check_reason(seen, limits, plan)
    check_order_is_irrelevant(seen, limits, plan)
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """How many jobs the covering runners can serve at once, and how many of them are left over.

    Counted by Hall's condition, not by handing out runners one by one as the rule does.
    """

    covered: int
    uncovered: int
    spare: Counter[int | None]

    @classmethod
    def of(cls, backlog: Sequence[Job], runners: Sequence[Runner]) -> "Matching":
        there = Counter(
            one.project_id for one in runners if one.state in {REQUESTED, IN_FLIGHT, IDLE}
        )
        wanted = Counter(one.project_id for one in backlog if not one.given_up)
        beyond = sum(max(0, count - there[project]) for project, count in wanted.items())
        uncovered = max(0, beyond - there[None])
        spare: Counter[int | None] = Counter(
            {own: max(0, count - wanted[own]) for own, count in there.items() if own is not None}
        )
        spare[None] = max(0, there[None] - beyond)
        return cls(covered=wanted.total() - uncovered, uncovered=uncovered, spare=spare)


def held(seen: Snapshot) -> Reason | None:
    if seen.refused:
        return Reason.CONFIGURATION
    dry = seen.dry_until is not None and seen.dry_until > seen.at
    return Reason.NO_CAPACITY_UNTIL if dry else None


def check_launches(seen: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """As many as are needed, allowed and paced: not one more, not one less; jobs come first."""
    need = Matching.of(seen.backlog, seen.runners)
    shortfall = max(0, limits.idle_target - need.spare[None])
    room = 0 if held(seen) else max(0, limits.ceiling - len(seen.runners))
    allowed = min(room, limits.launch_at_most)
    assert len(plan.launch) == min(need.uncovered, allowed)
    assert plan.launches == min(need.uncovered + shortfall, allowed)
    assert plan.again == (need.uncovered + shortfall > plan.launches and room > plan.launches)
    assert len({one.key for one in plan.launch}) == len(plan.launch)
    assert all(one in seen.backlog and not one.given_up for one in plan.launch)


def check_everybody_is_told(seen: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """A job is launched for or told why not; and what it is told is true."""
    launched = {one.key for one in plan.launch}
    by_key = {one.key: one for one in seen.backlog}
    assert launched.isdisjoint(plan.waiting)
    assert launched | set(plan.waiting) == set(by_key)
    size = len(seen.runners) + plan.launches
    truths = {
        Reason.AT_CEILING: size >= limits.ceiling,
        Reason.PACED: plan.launches == limits.launch_at_most and size < limits.ceiling,
        Reason.CONFIGURATION: held(seen) is Reason.CONFIGURATION,
        Reason.NO_CAPACITY_UNTIL: held(seen) is Reason.NO_CAPACITY_UNTIL,
        Reason.COVERED: True,
        Reason.ATTEMPTS_USED: True,
    }
    for key, reason in plan.waiting.items():
        assert truths[reason]
        assert by_key[key].given_up == (reason is Reason.ATTEMPTS_USED)
    covered = [by_key[key] for key, why in plan.waiting.items() if why is Reason.COVERED]
    assert len(covered) == Matching.of(seen.backlog, seen.runners).covered
    assert Matching.of(covered, seen.runners).uncovered == 0
    meant = {one.for_job for one in seen.runners if one.covers and one.project_id is None}
    if all(one.project_id is None for one in seen.runners if one.covers):
        left_out = meant & set(by_key) - {one.key for one in covered}
        assert all(by_key[key].given_up for key in left_out if key)


def check_drains(seen: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """All that is idle for too long and not needed: not one that anybody needs, longest first."""
    before = Matching.of(seen.backlog, seen.runners)
    staying = [one for one in seen.runners if one.id not in plan.drain]
    after = Matching.of(seen.backlog, staying)
    assert after.covered == before.covered
    assert after.spare[None] >= min(limits.idle_target, before.spare[None])
    waited = {one.id: (seen.at - (one.changed_at or one.launched_at)) for one in seen.runners}
    waiting = {job.key for job in seen.backlog}

    def kept_s(one: Runner) -> float:
        served = [
            j for j in seen.backlog if not j.given_up and one.project_id in (None, j.project_id)
        ]
        jobless = one.for_job is not None and one.for_job not in waiting and not served
        return min(limits.idle_time_s, 20) if jobless else limits.idle_time_s

    can_go = [
        one
        for one in seen.runners
        if one.state in {IN_FLIGHT, IDLE}
        and one.mailbox
        and waited[one.id].total_seconds() >= kept_s(one)
    ]
    assert set(plan.drain) <= {one.id for one in can_go}
    for scope in {one.project_id for one in can_go}:
        kept = limits.idle_target if scope is None else 0
        longest = sorted(
            (one.id for one in can_go if one.project_id == scope),
            key=lambda name: (-waited[name], name),
        )
        surplus = max(0, before.spare[scope] - kept)
        assert {name for name in longest if name in plan.drain} == set(longest[:surplus])


def check_reason(seen: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """The one thing that matters most, doing nothing included."""
    need = Matching.of(seen.backlog, seen.runners)
    wanted = need.uncovered or limits.idle_target > need.spare[None]
    expected = (
        (bool(plan.launch), Reason.BACKLOG),
        (plan.warm > 0, Reason.IDLE_TARGET),
        (bool(wanted), held(seen) or Reason.AT_CEILING),
        (bool(plan.drain), Reason.SURPLUS),
        (need.covered > 0, Reason.COVERED),
        (bool(seen.backlog), Reason.ATTEMPTS_USED),
        (True, Reason.BALANCED),
    )
    assert plan.reason is next(reason for holds, reason in expected if holds)


def check_order_is_irrelevant(seen: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """Same facts, same plan: whatever order the ledger lists them in."""
    shuffled = replace(seen, runners=seen.runners[::-1], backlog=seen.backlog[::-1])
    assert decide_scale(shuffled, limits) == plan
    turned = replace(seen, runners=seen.runners[1:] + seen.runners[:1])
    assert decide_scale(turned, limits) == plan
