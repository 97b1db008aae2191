"""How long jobs waited for a runner, and for what: percentiles, stacked by hop. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.past import PastRun, WaitHop


@dataclass(frozen=True, slots=True, kw_only=True)
class HopWait:
    """One hop over all jobs of a line, in seconds."""

    hop: WaitHop
    p50_s: float
    p95_s: float
    max_s: float
    mean_s: float  # the means of the five hops add up to the mean wait
    at_p95_s: float  # mean of this hop among the jobs at or beyond the p95 of the wait


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """The waits of a pool's jobs, or of all jobs. `over`: jobs that waited longer than asked."""

    name: str
    jobs: int
    over: int
    p50_s: float
    p95_s: float
    max_s: float
    mean_s: float
    hops: tuple[HopWait, ...]  # all five, in order
    slowest: int | None  # id of the job that waited longest
    heard_late: int  # jobs without a webhook: read from GitLab's list


def wait_lines(runs: Iterable[PastRun], *, over_s: float) -> tuple[WaitLine, ...]:
    """All jobs first, under the name `all`, then each pool; empty where no job was taken."""
    by_pool: dict[str, list[tuple[PastRun, Mapping[WaitHop, float]]]] = defaultdict(list)
    everything = []
    for run in runs:
        hops = run.hops()
        if hops is not None:
            everything.append((run, hops))
            by_pool[run.pool or ""].append((run, hops))
    lines = [_line("all", everything, over_s)] if everything else []
    return (*lines, *(_line(name, by_pool[name], over_s) for name in sorted(by_pool)))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 of none."""
    if not ordered:
        return 0.0
    rank = max(1, -(-len(ordered) * round(share * 1000) // 1000))
    return ordered[rank - 1]


def _line(
    name: str, runs: Sequence[tuple[PastRun, Mapping[WaitHop, float]]], over_s: float
) -> WaitLine:
    totals = [(sum(hops.values()), run, hops) for run, hops in runs]
    waits = sorted(total for total, _, _ in totals)
    p95 = percentile(waits, 0.95)
    tail = [hops for total, _, hops in totals if total >= p95]
    slowest = max(totals, key=lambda each: (each[0], each[1].id))[1]
    return WaitLine(
        name=name,
        jobs=len(waits),
        over=sum(wait > over_s for wait in waits),
        p50_s=percentile(waits, 0.5),
        p95_s=p95,
        max_s=waits[-1],
        mean_s=sum(waits) / len(waits),
        hops=tuple(_hop(hop, [hops for _, hops in runs], tail) for hop in WaitHop),
        slowest=slowest.job_id,
        heard_late=sum(run.heard_by not in (None, "webhook_received") for run, _ in runs),
    )


def _hop(
    hop: WaitHop,
    jobs: Sequence[Mapping[WaitHop, float]],
    tail: Sequence[Mapping[WaitHop, float]],
) -> HopWait:
    ordered = sorted(hops[hop] for hops in jobs)
    return HopWait(
        hop=hop,
        p50_s=percentile(ordered, 0.5),
        p95_s=percentile(ordered, 0.95),
        max_s=ordered[-1],
        mean_s=sum(ordered) / len(ordered),
        at_p95_s=sum(hops[hop] for hops in tail) / len(tail),
    )
