"""Drawings as SVG, made here: no script draws them, and each says in words what it shows.

Kinds differ by their pattern and by words besides; colours come from the style sheet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import svg
from markupsafe import Markup, escape

from operations.durations import duration
from operations.fleet_view import PoolView
from operations.lanes import Lane, Phase

# The phases of runners as a pool's bar has them, from the left; then the jobs that wait.
KINDS = (Phase.BUSY, Phase.IDLE, Phase.BOOTING, Phase.ENDING)
WAITING = "waiting"
LANE_SPANS = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60, 180, 360, 720))
_BAR = 18  # pixels
_LANE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a drawing: from `start`, so wide, both in percent."""

    kind: str
    start: float
    width: float
    title: str


def pool_bar(pool: PoolView, counts: Mapping[str, int]) -> Markup:
    """The runners of a pool by phase, its waiting jobs behind them, and a mark at its ceiling.

    A backlog beyond the ceiling is drawn as wide as the ceiling: the number stands beside it.
    """
    used = sum(counts.get(kind, 0) for kind in KINDS)
    waiting = min(pool.backlog, max(pool.ceiling, 1))
    whole = max(pool.ceiling, used + waiting, 1)
    parts, start = [], 0.0
    for kind, count in (*((kind, counts.get(kind, 0)) for kind in KINDS), (WAITING, waiting)):
        if count:
            width = 100 * count / whole
            shown = pool.backlog if kind == WAITING else count
            parts.append(Part(kind=kind, start=start, width=width, title=f"{shown} {kind}"))
            start += width
    words = ", ".join(part.title for part in parts) or "no runner, nothing waits"
    label = f"Pool {pool.name}: {words}; ceiling {pool.ceiling}"
    elements = [*_parts(parts, _BAR)]
    if pool.ceiling:
        at = 100 * pool.ceiling / whole
        elements.append(_mark(min(at, 99.6), _BAR, "ceiling"))
    return _drawn(elements, height=_BAR, label=label, kind="bar")


def lane(drawn: Lane, *, start: datetime, at: datetime) -> Markup:
    """What one machine did between `start` and `at`."""
    whole = (at - start).total_seconds() or 1.0
    ends = [*(stretch.start for stretch in drawn.stretches[1:]), at]
    parts = []
    for stretch, end in zip(drawn.stretches, ends, strict=True):
        since, until = max(stretch.start, start), max(min(end, at), start)
        length_s = (until - since).total_seconds()
        if length_s <= 0 and stretch is not drawn.stretches[-1]:
            continue
        parts.append(
            Part(
                kind=stretch.phase,
                start=min(100 * (since - start).total_seconds() / whole, 99.5),
                width=max(100 * length_s / whole, 0.5),
                title=f"{stretch.phase} for {duration((end - stretch.start).total_seconds())}",
            )
        )
    words = ", then ".join(part.title for part in parts)
    label = f"{drawn.machine.runner_id}: {words}"
    return _drawn(_parts(parts, _LANE), height=_LANE, label=label, kind="lane")


def lanes_start(lanes: Sequence[Lane], at: datetime) -> datetime:
    """From when on lanes are drawn: such that the oldest fits, within twelve hours."""
    oldest = min((lane.stretches[0].start for lane in lanes), default=at)
    needed = at - oldest
    return at - next((span for span in LANE_SPANS if span >= needed), LANE_SPANS[-1])


def stacked(shares: Sequence[tuple[str, float]], *, whole: float, label: str) -> Markup:
    """Amounts behind each other, by kind, of a bar that is `whole` long."""
    parts, start = [], 0.0
    for kind, amount in shares:
        width = 100 * amount / whole if whole else 0.0
        if width > 0:
            parts.append(
                Part(kind=kind, start=start, width=width, title=f"{kind} {duration(amount)}")
            )
            start += width
    return _drawn(_parts(parts, _BAR), height=_BAR, label=label, kind="bar")


def gauge(share: float | None, *, label: str, kind: str = "") -> Markup:
    """How much of an allowance is used; `share` is between 0 and 1, None where it is not known.

    `kind`: for a share of a whole, which may be large.
    """
    used = min(max(share or 0.0, 0.0), 1.0)
    kind = kind or ("full" if used >= 0.9 else "high" if used >= 0.7 else "used")
    parts = [Part(kind=kind, start=0, width=max(100 * used, 0.5), title=label)]
    return _drawn(_parts(parts if used else (), 10), height=10, label=label, kind="bar")


def _parts(parts: Iterable[Part], height: int) -> list[svg.Element]:
    elements: list[svg.Element] = []
    for part in parts:
        shape = svg.Rect(
            x=svg.Length(round(part.start, 2), "%"),
            y=0,
            width=svg.Length(round(part.width, 2), "%"),
            height=height,
            class_=["fill", part.kind],
        )
        # Above the colour, of a pattern that the page declares once.
        grain = replace(
            shape,
            class_=["grain"],
            fill=f"url(#pattern-{part.kind})",
            elements=[svg.Title(text=str(escape(part.title)))],
        )
        elements += [shape, grain]
    return elements


def _mark(at: float, height: int, kind: str) -> svg.Element:
    x = svg.Length(round(at, 2), "%")
    return svg.Line(x1=x, x2=x, y1=0, y2=height, class_=["mark", kind])


def _drawn(elements: list[svg.Element], *, height: int, label: str, kind: str) -> Markup:
    image = svg.SVG(
        width=svg.Length(100, "%"),
        height=height,
        class_=["drawn", kind],
        elements=elements,
        extra={"role": "img", "aria-label": str(escape(label)), "focusable": "false"},
    )
    return Markup(image.as_str())  # noqa: S704 - svg.py escapes nothing; each text here is escaped
