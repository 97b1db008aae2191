"""The scaling rule against a small world in which anything happens, in any order."""

from collections import Counter
from dataclasses import replace

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fleet.model import Runner, RunnerState, ScalePlan
from fleet.rules.scale import decide_scale
from tests.unit.fleet.scale_checks import check_plan
from tests.unit.fleet.small_world import World

REQUESTED, IN_FLIGHT, IDLE, BUSY, DRAINING, DONE = RunnerState
PICK = st.integers(0, 30)
PROJECTS = st.integers(1, 3)


class ScaleModel(RuleBasedStateMachine):
    """Any order of arrivals, cancels, boots, losses, dry spells and changed limits."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.late: ScalePlan | None = None

    @initialize(per_project=st.booleans(), ceiling=st.integers(2, 7), idle_target=st.integers(0, 2))
    def a_pool(self, per_project: bool, ceiling: int, idle_target: int) -> None:
        self.world.per_project = per_project
        self.world.limits = replace(self.world.limits, ceiling=ceiling, idle_target=idle_target)

    @invariant()
    def the_plan_is_right(self) -> None:
        check_plan(self.world.snapshot(), self.world.limits)

    @rule(project=PROJECTS, count=st.integers(1, 4))
    def jobs_arrive(self, project: int, count: int) -> None:
        for _ in range(count):
            self.world.arrive(project)

    @precondition(lambda self: self.world.backlog)
    @rule(pick=PICK)
    def a_job_is_cancelled(self, pick: int) -> None:
        keys = sorted(self.world.backlog)
        del self.world.backlog[keys[pick % len(keys)]]

    @precondition(lambda self: self.world.in_state(IDLE) and self.world.backlog)
    @rule(pick=PICK, which=PICK)
    def any_runner_takes_any_job_that_it_may(self, pick: int, which: int) -> None:
        runner = self._pick(pick, IDLE)
        if takeable := self.world.takeable(runner):
            self.world.take(runner, takeable[which % len(takeable)])

    @precondition(lambda self: self.world.in_state(IN_FLIGHT))
    @rule()
    def runners_boot(self) -> None:
        for runner in self.world.in_state(IN_FLIGHT):
            self.world.boot(runner)

    @precondition(lambda self: self.world.in_state(BUSY))
    @rule(pick=PICK)
    def a_job_ends(self, pick: int) -> None:
        self.world.finish(self._pick(pick, BUSY))

    @precondition(lambda self: self.world.in_state(DONE, DRAINING))
    @rule(pick=PICK)
    def a_machine_ends(self, pick: int) -> None:
        self.world.lose(self._pick(pick, DONE, DRAINING))

    @precondition(lambda self: self.world.in_state(IN_FLIGHT, IDLE, BUSY))
    @rule(pick=PICK)
    def a_machine_is_lost(self, pick: int) -> None:
        self.world.lose(self._pick(pick, IN_FLIGHT, IDLE, BUSY))

    @precondition(lambda self: self.world.in_state(IN_FLIGHT, IDLE, BUSY))
    @rule(pick=PICK)
    def a_machine_falls_silent(self, pick: int) -> None:
        self.world.silent |= {self._pick(pick, IN_FLIGHT, IDLE, BUSY).id}

    @rule(seconds=st.sampled_from([1, 60, 299, 300, 1800]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(dry_s=st.sampled_from([0, 30, 600]), refused=st.sampled_from([None, None, "no image"]))
    def the_cloud_changes_its_mind(self, dry_s: int, refused: str | None) -> None:
        self.world.dry_s, self.world.refused = dry_s, refused

    @rule(ceiling=st.integers(0, 7))
    def the_ceiling_changes(self, ceiling: int) -> None:
        self.world.limits = replace(self.world.limits, ceiling=ceiling)

    @rule(idle_target=st.integers(0, 3), launch_at_most=st.integers(1, 4))
    def the_hour_changes(self, idle_target: int, launch_at_most: int) -> None:
        self.world.limits = replace(
            self.world.limits, idle_target=idle_target, launch_at_most=launch_at_most
        )

    @rule()
    def runners_become_the_project_s_own_or_shared(self) -> None:
        self.world.per_project = not self.world.per_project

    @rule(minutes=st.integers(1, 3))
    def all_goes_well_for_a_while(self, minutes: int) -> None:
        self.world.live_on(minutes)

    @rule(fails=st.integers(0, 2), unanswered=st.integers(0, 1))
    def decides(self, fails: int, unanswered: int) -> None:
        plan = decide_scale(self.world.snapshot(), self.world.limits)
        self._apply(plan, fails=fails, unanswered=unanswered)

    @rule()
    def decides_twice_at_once(self) -> None:
        """The second of two autoscalers saw the same; no job gets two runners by that."""
        snapshot = self.world.snapshot()
        for plan in [decide_scale(snapshot, self.world.limits) for _ in range(2)]:
            self._apply(plan)
        meant = Counter(runner.for_job for runner in self.world.runners.values() if runner.covers)
        assert all(count == 1 for key, count in meant.items() if key in self.world.backlog)

    @rule()
    def decides_and_is_slow_to_act(self) -> None:
        self.late = decide_scale(self.world.snapshot(), self.world.limits)

    @precondition(lambda self: self.late is not None)
    @rule()
    def acts_late(self) -> None:
        assert self.late is not None
        self._apply(self.late)
        self.late = None

    @rule()
    def in_fair_weather_every_job_is_served_and_the_pool_drains_to_zero(self) -> None:
        """With a ceiling of one and more; what hangs holds its room until it expires."""
        after = self.world.copy()
        after.dry_s, after.refused = 0, None
        after.limits = replace(after.limits, ceiling=max(1, after.limits.ceiling))
        after.live_on(45 + 5 * len(after.backlog), until=lambda: not after.waiting)
        assert not after.waiting
        after.backlog.clear()
        after.limits = replace(after.limits, idle_target=0)
        after.live_on(45, until=lambda: not after.runners)
        assert not after.runners

    def _pick(self, pick: int, *states: RunnerState) -> Runner:
        runners = self.world.in_state(*states)
        return runners[pick % len(runners)]

    def _apply(self, plan: ScalePlan, *, fails: int = 0, unanswered: int = 0) -> None:
        most = max(self.world.limits.ceiling, len(self.world.runners))
        self.world.apply(plan, fails=fails, unanswered=unanswered)
        assert len(self.world.runners) <= most


ScaleModel.TestCase.settings = settings(
    derandomize=True, max_examples=60, stateful_step_count=40, deadline=None
)
TestScaleModel = ScaleModel.TestCase
