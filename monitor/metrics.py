"""The fleet for Prometheus: what the last picture shows, as gauges."""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitor.board import Board
from operations.lanes import Phase, phases_of
from operations.status import FleetView, PoolView

PREFIX = "runner_fleet_"


class FleetCollector(Collector):
    """Collects from the board; a scrape reads nothing of AWS."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        """Every metric of the last picture; `up` alone before the first one."""
        picture = self._board.picture
        works = picture.view is not None and not picture.failed
        yield _one("up", "1 while the fleet can be read.", float(works))
        view = picture.view
        if view is None:
            return
        read_at = view.at.timestamp()
        yield _one("read_timestamp_seconds", "When the fleet was read.", read_at)
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
        "Live runners by what they are at.",
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


def _one(name: str, says: str, value: float) -> Metric:
    return _labelled(name, says, (), {(): value})


def _labelled(
    name: str, says: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, says, labels=labels)
    for named, value in values.items():
        family.add_metric(named, float(value))
    return family
