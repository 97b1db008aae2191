"""What a plan of the scaling rule must be, counted in another way than the rule counts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.model import Job, Limits, Runner, RunnerState, ScalePlan, Snapshot
from fleet.reasons import Reason
from fleet.rules.scale import decide_scale

IDLE, IN_FLIGHT, REQUESTED = RunnerState.IDLE, RunnerState.IN_FLIGHT, RunnerState.REQUESTED


def check_plan(snapshot: Snapshot, limits: Limits) -> ScalePlan:
    """The plan for these facts, checked against everything that must hold of a plan."""
    plan = decide_scale(snapshot, limits)
    check_launches(snapshot, limits, plan)
    check_every_job_has_a_reason(snapshot, limits, plan)
    check_drains(snapshot, limits, plan)
    check_reason(snapshot, limits, plan)
    check_order_is_irrelevant(snapshot, limits, plan)
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
            runner.project_id for runner in runners if runner.state in {REQUESTED, IN_FLIGHT, IDLE}
        )
        wanted = Counter(job.project_id for job in backlog if not job.given_up)
        beyond = sum(max(0, count - there[project]) for project, count in wanted.items())
        uncovered = max(0, beyond - there[None])
        spare: Counter[int | None] = Counter(
            {own: max(0, count - wanted[own]) for own, count in there.items() if own is not None}
        )
        spare[None] = max(0, there[None] - beyond)
        return cls(covered=wanted.total() - uncovered, uncovered=uncovered, spare=spare)


def held(snapshot: Snapshot) -> Reason | None:
    if snapshot.refused:
        return Reason.CONFIGURATION
    dry = snapshot.dry_until is not None and snapshot.dry_until > snapshot.at
    return Reason.NO_CAPACITY_UNTIL if dry else None


def check_launches(snapshot: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """As many as are needed, allowed and paced: not one more, not one less; jobs come first."""
    need = Matching.of(snapshot.backlog, snapshot.runners)
    shortfall = max(0, limits.idle_target - need.spare[None])
    room = 0 if held(snapshot) else max(0, limits.ceiling - len(snapshot.runners))
    allowed = min(room, limits.launch_at_most)
    assert len(plan.launch) == min(need.uncovered, allowed)
    assert plan.launches == min(need.uncovered + shortfall, allowed)
    assert plan.again == (need.uncovered + shortfall > plan.launches and room > plan.launches)
    assert len({job.key for job in plan.launch}) == len(plan.launch)
    assert all(job in snapshot.backlog and not job.given_up for job in plan.launch)


def check_every_job_has_a_reason(snapshot: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """A plan launches for each job or gives the reason why not, and the reason is true."""
    launched = {job.key for job in plan.launch}
    by_key = {job.key: job for job in snapshot.backlog}
    assert launched.isdisjoint(plan.waiting)
    assert launched | set(plan.waiting) == set(by_key)
    size = len(snapshot.runners) + plan.launches
    truths = {
        Reason.AT_CEILING: size >= limits.ceiling,
        Reason.PACED: plan.launches == limits.launch_at_most and size < limits.ceiling,
        Reason.CONFIGURATION: held(snapshot) is Reason.CONFIGURATION,
        Reason.NO_CAPACITY_UNTIL: held(snapshot) is Reason.NO_CAPACITY_UNTIL,
        Reason.COVERED: True,
        Reason.ATTEMPTS_USED: True,
    }
    for key, reason in plan.waiting.items():
        assert truths[reason]
        assert by_key[key].given_up == (reason is Reason.ATTEMPTS_USED)
    covered = [by_key[key] for key, why in plan.waiting.items() if why is Reason.COVERED]
    assert len(covered) == Matching.of(snapshot.backlog, snapshot.runners).covered
    assert Matching.of(covered, snapshot.runners).uncovered == 0
    meant = {
        runner.for_job for runner in snapshot.runners if runner.covers and runner.project_id is None
    }
    if all(runner.project_id is None for runner in snapshot.runners if runner.covers):
        left_out = meant & set(by_key) - {job.key for job in covered}
        assert all(by_key[key].given_up for key in left_out if key)


def check_drains(snapshot: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """All that is idle for too long and not needed: none that a job needs, longest first."""
    before = Matching.of(snapshot.backlog, snapshot.runners)
    staying = [runner for runner in snapshot.runners if runner.id not in plan.drain]
    after = Matching.of(snapshot.backlog, staying)
    assert after.covered == before.covered
    assert after.spare[None] >= min(limits.idle_target, before.spare[None])
    waited = {
        runner.id: (snapshot.at - (runner.changed_at or runner.launched_at))
        for runner in snapshot.runners
    }
    waiting = {job.key for job in snapshot.backlog}

    def kept_s(runner: Runner) -> float:
        served = [
            j
            for j in snapshot.backlog
            if not j.given_up and runner.project_id in (None, j.project_id)
        ]
        jobless = runner.for_job is not None and runner.for_job not in waiting and not served
        return min(limits.idle_time_s, 20) if jobless else limits.idle_time_s

    can_go = [
        runner
        for runner in snapshot.runners
        if runner.state in {IN_FLIGHT, IDLE}
        and runner.mailbox
        and waited[runner.id].total_seconds() >= kept_s(runner)
    ]
    assert set(plan.drain) <= {runner.id for runner in can_go}
    for scope in {runner.project_id for runner in can_go}:
        idle = limits.idle_target if scope is None else 0
        longest = sorted(
            (runner.id for runner in can_go if runner.project_id == scope),
            key=lambda name: (-waited[name], name),
        )
        surplus = max(0, before.spare[scope] - idle)
        assert {name for name in longest if name in plan.drain} == set(longest[:surplus])


def check_reason(snapshot: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """The one thing that matters most, doing nothing included."""
    need = Matching.of(snapshot.backlog, snapshot.runners)
    wanted = need.uncovered or limits.idle_target > need.spare[None]
    expected = (
        (bool(plan.launch), Reason.BACKLOG),
        (plan.warm > 0, Reason.IDLE_TARGET),
        (bool(wanted), held(snapshot) or Reason.AT_CEILING),
        (bool(plan.drain), Reason.SURPLUS),
        (need.covered > 0, Reason.COVERED),
        (bool(snapshot.backlog), Reason.ATTEMPTS_USED),
        (True, Reason.BALANCED),
    )
    assert plan.reason is next(reason for holds, reason in expected if holds)


def check_order_is_irrelevant(snapshot: Snapshot, limits: Limits, plan: ScalePlan) -> None:
    """Same facts, same plan: whatever order the ledger lists them in."""
    shuffled = replace(snapshot, runners=snapshot.runners[::-1], backlog=snapshot.backlog[::-1])
    assert decide_scale(shuffled, limits) == plan
    turned = replace(snapshot, runners=snapshot.runners[1:] + snapshot.runners[:1])
    assert decide_scale(turned, limits) == plan
