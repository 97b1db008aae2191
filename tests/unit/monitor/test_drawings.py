"""Drawings: their parts, their words, and what of them stays within bounds."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from fleet.model import RunnerState
from fleet.past import WaitHop
from fleet.steps import Step, StepName
from monitor.drawings import KINDS, LANE_SPANS, WAITING, gauge, lane, lanes_start, pool_bar, stacked
from monitor.page import TEMPLATES
from operations.lanes import Lane, Phase, Stretch, stretches_of
from tests.unit.cli.fleet_at_work import AT, ago
from tests.unit.cli.test_status import MACHINE, POOL
from tests.unit.fleet.rules.standings import runner

WIDTH = re.compile(r'<rect class="fill (\w+)" x="([\d.]+)%" y="0" width="([\d.]+)%"')


def parts(drawing: str) -> dict[str, tuple[float, float]]:
    """By kind: where it starts and how wide it is, in percent."""
    return {kind: (float(start), float(width)) for kind, start, width in WIDTH.findall(drawing)}


@pytest.mark.parametrize(
    ("ceiling", "counts", "backlog", "shown"),
    [
        (10, {"busy": 4, "idle": 1}, 0, {"busy": (0, 40), "idle": (40, 10)}),
        (10, {"busy": 4}, 2, {"busy": (0, 40), "waiting": (40, 20)}),
        (4, {"busy": 4}, 4, {"busy": (0, 50), "waiting": (50, 50)}),
        (4, {"busy": 4}, 10_000, {"busy": (0, 50), "waiting": (50, 50)}),
        (0, {"ending": 2}, 0, {"ending": (0, 100)}),
        (0, {}, 0, {}),
    ],
)
def test_a_pool_bar_shares_its_width(
    ceiling: int, counts: dict[str, int], backlog: int, shown: dict[str, tuple[float, float]]
) -> None:
    pool = replace(POOL, ceiling=ceiling, backlog=backlog)
    assert parts(pool_bar(pool, counts)) == shown


@pytest.mark.parametrize(
    "kinds",
    [[*KINDS, WAITING], list(WaitHop), ["used", "high", "full"]],
    ids=lambda kinds: kinds[0],
)
def test_kinds_of_a_drawing_differ_without_colour(kinds: list[str]) -> None:
    page = (TEMPLATES / "parts" / "patterns.html").read_text(encoding="utf-8")
    patterns = dict(re.findall(r'<pattern id="pattern-(\w+)" ([^\n]*)</pattern>', page))
    assert len({patterns[kind] for kind in kinds}) == len(kinds)


def test_a_drawing_escapes_its_words() -> None:
    bar = pool_bar(replace(POOL, name='"><script>'), {"busy": 1})
    assert "<script>" not in bar
    assert 'aria-label="Pool &#34;&gt;&lt;script&gt;' in bar


def test_a_lane_begins_where_the_machine_was_launched() -> None:
    stretches = (
        Stretch(phase=Phase.BOOTING, start=ago(60)),
        Stretch(phase=Phase.BUSY, start=ago(30)),
    )
    drawing = lane(Lane(machine=MACHINE, stretches=stretches), start=ago(120), at=AT)
    assert parts(drawing) == {"booting": (50, 25), "busy": (75, 25)}
    assert "booting for 30s, then busy for 30s" in drawing


def test_lanes_have_room_for_the_oldest() -> None:
    lived = (10.0, 301.0, 90_000.0)
    lanes = [
        Lane(machine=MACHINE, stretches=(Stretch(phase=Phase.BUSY, start=ago(age_s)),))
        for age_s in lived
    ]
    spans = [AT - lanes_start([lane], AT) for lane in lanes]
    assert spans == [timedelta(minutes=5), timedelta(minutes=15), LANE_SPANS[-1]]


def test_a_stack_and_a_gauge_stay_within_their_width() -> None:
    shares = [("boot", 30.0), ("take", 10.0), ("route", 0.0)]
    assert parts(stacked(shares, whole=80, label="")) == {"boot": (0, 37.5), "take": (37.5, 12.5)}
    assert parts(gauge(7.0, label="")) == {"full": (0, 100)}
    assert parts(gauge(0.5, label="")) == {"used": (0, 50)}
    assert parts(gauge(None, label="")) == {}


# Stretches


STEPS = {
    StepName.CALLED_HOME: 90,
    StepName.CREDENTIAL_READ: 80,
    StepName.JOB_TAKEN: 60,
    StepName.JOB_FINISHED: 10,
}


@pytest.mark.parametrize(
    ("state", "since_s", "steps", "expected"),
    [
        ("in_flight", 100, [], {"booting": 100}),
        ("booted", 90, [StepName.CALLED_HOME], {"booting": 100}),
        ("idle", 80, [StepName.CREDENTIAL_READ], {"booting": 100, "idle": 80}),
        ("busy", 60, list(STEPS)[:3], {"booting": 100, "idle": 80, "busy": 60}),
        ("busy", 60, [], {"booting": 100, "busy": 60}),  # the machine has not reported it yet
        ("done", 10, list(STEPS), {"booting": 100, "idle": 80, "busy": 60, "ending": 10}),
        ("draining", 5, [StepName.CREDENTIAL_READ], {"booting": 100, "idle": 80, "ending": 5}),
    ],
)
def test_stretches_follow_the_machines_steps(
    state: str, since_s: int, steps: list[StepName], expected: dict[str, int]
) -> None:
    machine = runner(RunnerState.BUSY, launched_at=ago(100), changed_at=ago(since_s))
    made = stretches_of(machine, state, [Step(at=ago(STEPS[name]), name=name) for name in steps])
    assert {stretch.phase: (AT - stretch.start).total_seconds() for stretch in made} == expected
