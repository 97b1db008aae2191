"""Waits over time: the same lines as `waits`, and a point for each step of the period."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.past import PastRun
from fleet.rules.waits import WaitLine, wait_lines
from operations.fleet_handle import Deployed
from operations.periods import Period
from operations.waits import WaitsView, waits_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartSpan:
    """A length of time until now, and its steps."""

    name: str
    since: str
    step: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPoint:
    """The jobs whose runner ended in one step of time; without any, the waits are None."""

    at: datetime  # the step's beginning
    jobs: int = 0
    over: int = 0
    p50_s: float | None = None
    p95_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitSeries:
    """The waits of a period, and how they went."""

    view: WaitsView
    step: timedelta
    points: tuple[WaitPoint, ...]


def wait_series(
    deployed: Deployed, period: Period, *, step: timedelta, over_s: float
) -> WaitSeries:
    """The waits of the jobs whose runner ended in a period; the history is read once."""
    runs = deployed.history.between(period.since, period.until)
    view = waits_of(runs, period, over_s=over_s)
    by_step: dict[int, list[PastRun]] = defaultdict(list)
    for run in runs:
        by_step[(run.ended_at - period.since) // step].append(run)
    points, number = [], 0
    while (at := period.since + number * step) < period.until:
        lines = wait_lines(by_step[number], over_s=over_s)
        points.append(_point(at, lines[0]) if lines else WaitPoint(at=at))
        number += 1
    return WaitSeries(view=view, step=step, points=tuple(points))


def _point(at: datetime, line: WaitLine) -> WaitPoint:
    return WaitPoint(at=at, jobs=line.jobs, over=line.over, p50_s=line.p50_s, p95_s=line.p95_s)
