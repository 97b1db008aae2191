"""The fleet for Prometheus: what the last picture shows, as gauges."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleet.rules.problems.jobs import STUCK
from fleet.rules.problems.kinds import ProblemKind
from monitor.board import Board
from monitor.questions import Recent
from operations.fleet_view import FleetView, PoolView
from operations.lanes import Phase, phases_of

PREFIX = "runner_fleet_"
LEAKED = ProblemKind.LEAKED


class FleetCollector(Collector):
    """Collects from the board; a scrape reads nothing of AWS.

    `recent`: what is known of ended machines, None before it was read for the first time.
    """

    def __init__(self, board: Board, recent: Callable[[], Recent | None]) -> None:
        self._board = board
        self._recent = recent

    def collect(self) -> Iterable[Metric]:
        """Every metric of the last picture; `up` alone before the first one."""
        picture = self._board.picture
        works = picture.view is not None and not picture.failed
        yield _gauge("up", "1 while the fleet can be read.", float(works))
        view = picture.view
        if view is None:
            return
        read_at = view.at.timestamp()
        yield _gauge("read_timestamp_seconds", "When the fleet was read.", read_at)
        yield from _pools(view.pools)
        yield _labelled(
            "dead_letters",
            "Messages that a queue gave up.",
            ("queue",),
            {(queue.name,): queue.dead for queue in view.queues},
        )
        yield _labelled(
            "queue_messages",
            "Messages on a queue.",
            ("queue",),
            {(queue.name,): queue.messages for queue in view.queues},
        )
        yield _problems(view)
        counts = Counter(dict.fromkeys((LEAKED, *STUCK), 0))
        counts.update({problem.kind: problem.count for problem in view.problems})
        yield _gauge("leaked", "What the sweep cannot end.", counts[LEAKED])
        stuck = sum(counts[kind] for kind in STUCK)
        yield _gauge("stuck_jobs", "Waiting jobs that get no runner until a person acts.", stuck)
        recent = self._recent()
        if recent is not None:
            yield from _past(recent)


def _past(recent: Recent) -> Iterable[Metric]:
    """Gauges of the last hour and of today, UTC: a scraper needs no state of ours."""
    yield _labelled(
        "wait_seconds",
        "Waits of the last hour's jobs by hop; `all`: the whole wait.",
        ("pool", "hop", "quantile"),
        {
            (line.name, hop, quantile): seconds
            for line in recent.waits
            for hop, p50_s, p95_s in (
                ("all", line.p50_s, line.p95_s),
                *((hop.hop.value, hop.p50_s, hop.p95_s) for hop in line.hops),
            )
            for quantile, seconds in (("0.5", p50_s), ("0.95", p95_s))
        },
    )
    description = "Ended machines by why they ended."
    yield _labelled("machines_ended_today", description, ("pool", "reason"), recent.ended)
    yield _labelled(
        "cost_usd_today",
        "USD of today's ended machines.",
        ("pool",),
        {(pool,): usd for pool, usd in recent.usd.items()},
    )
    description = "Calls to GitLab that the fleet has left of this minute's."
    yield _gauge("gitlab_calls_left", description, recent.calls_left)


def _pools(pools: Iterable[PoolView]) -> Iterable[Metric]:
    pools = tuple(pools)
    of_pool = ("pool",)
    yield _labelled(
        "jobs_waiting", "Jobs that wait.", of_pool, {(pool.name,): pool.backlog for pool in pools}
    )
    yield _labelled(
        "oldest_wait_seconds",
        "How long the oldest waiting job waits.",
        of_pool,
        {(pool.name,): pool.oldest_wait_s or 0.0 for pool in pools},
    )
    yield _labelled(
        "runners",
        "Live runners by phase.",
        ("pool", "phase"),
        {(pool.name, phase): phases_of(pool).get(phase, 0) for pool in pools for phase in Phase},
    )
    yield _labelled(
        "in_use",
        "Runners that count against the ceiling.",
        of_pool,
        {(pool.name,): pool.in_use for pool in pools},
    )
    yield _labelled(
        "ceiling", "Most runners at once.", of_pool, {(pool.name,): pool.ceiling for pool in pools}
    )
    yield _labelled(
        "capacity_pools_backed_off",
        "Capacity pools without machines that are left alone.",
        of_pool,
        {(pool.name,): len(pool.back_off) for pool in pools},
    )


def _problems(view: FleetView) -> Metric:
    counts: Counter[tuple[str, ...]] = Counter()
    for problem in view.problems:
        counts[str(problem.kind),] += problem.count
    return _labelled("problems", "Problems of `status` by kind.", ("kind",), counts)


def _gauge(name: str, description: str, value: float) -> Metric:
    return _labelled(name, description, (), {(): value})


def _labelled(
    name: str, description: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, description, labels=labels)
    for named, value in values.items():
        family.add_metric(named, float(value))
    return family
