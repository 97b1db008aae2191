"""What a job uses of its machine, which serves no other one.

A shell job is this process's own descendants. A job of the docker executor is the containers that
gitlab-runner made; the engine is asked for them while they run, as it forgets what they used.
"""

import resource
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from adapters.guest.background import Background
from fleet.usage import Usage

EVERY_S = 2.0
NETWORK = Path("/proc/net/dev")
# Interfaces of the machine's own containers: what passes there passes the machine's own one, too.
INNER = ("lo", "docker", "veth", "br-")

Stats = Mapping[str, Any]  # one container's, as the engine's API gives them
Looks = Callable[[], Mapping[str, Stats]]  # by container; raises nothing


@dataclass(slots=True)
class _Peak:
    """The highest figures of one container."""

    cpu_ns: int = 0
    received: int = 0
    sent: int = 0


class Meter(Background):
    """A context around one job; `usage` afterwards. Without `containers` it is a shell job."""

    def __init__(
        self, home: Path, *, containers: Looks | None = None, every_s: float = EVERY_S
    ) -> None:
        """`home`: a folder on the disk that the job fills."""
        super().__init__(self._follow)
        self._home = home
        self._looks = containers
        self._every_s = every_s
        self._peaks: dict[str, _Peak] = {}
        self._peak = 0

    def __enter__(self) -> Self:
        self._cpu_s, self._network = _children_cpu_s(), _network()
        return super().__enter__()

    def usage(self) -> Usage:
        """The job's totals until now."""
        disk_left = None
        with suppress(OSError):
            disk_left = shutil.disk_usage(self._home).free
        if self._looks is None:
            received, sent = _network()
            return Usage(
                cpu_s=_children_cpu_s() - self._cpu_s,
                # Of the largest process; the kernel counts kilobytes.
                memory_peak=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
                received=max(0, received - self._network[0]),
                sent=max(0, sent - self._network[1]),
                disk_left=disk_left,
            )
        peaks = tuple(self._peaks.values())
        if not peaks:
            return Usage(disk_left=disk_left)
        return Usage(
            cpu_s=sum(peak.cpu_ns for peak in peaks) / 1e9,
            memory_peak=self._peak,
            received=sum(peak.received for peak in peaks),
            sent=sum(peak.sent for peak in peaks),
            disk_left=disk_left,
        )

    def _follow(self) -> None:
        while self._looks is not None and not self.is_closing:
            self._look(self._looks())
            self.wait(self._every_s)

    def _look(self, containers: Mapping[str, Stats]) -> None:
        memory = 0
        for name, stats in containers.items():
            peak = self._peaks.setdefault(name, _Peak())
            networks: Iterable[Stats] = (stats.get("networks") or {}).values()
            received = sum(network.get("rx_bytes", 0) for network in networks)
            sent = sum(network.get("tx_bytes", 0) for network in networks)
            cpu_ns = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
            peak.cpu_ns = max(peak.cpu_ns, cpu_ns)
            peak.received, peak.sent = max(peak.received, received), max(peak.sent, sent)
            memory += stats.get("memory_stats", {}).get("usage", 0)
        self._peak = max(self._peak, memory)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _network() -> tuple[int, int]:
    """Bytes in and out of the machine, by the kernel. Source: proc(5), /proc/net/dev."""
    received = sent = 0
    with suppress(OSError):
        for line in NETWORK.read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            if not name.strip().startswith(INNER):
                columns = numbers.split()
                received, sent = received + int(columns[0]), sent + int(columns[8])
    return received, sent
