"""What a job uses, by the kernel and by the engine."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.guest.usage import Meter
from tests.integration.runs import eventually


def container(cpu_ns: int, memory: int, received: int) -> Mapping[str, Any]:
    return {
        "cpu_stats": {"cpu_usage": {"total_usage": cpu_ns}},
        "memory_stats": {"usage": memory},
        "networks": {"eth0": {"rx_bytes": received, "tx_bytes": 1}},
    }


def test_containers_count_with_the_most_that_was_seen_of_each(tmp_path: Path) -> None:
    looks: list[Mapping[str, Mapping[str, Any]]] = [
        {"build": container(1_000_000_000, 100, 10)},
        {"build": container(3_000_000_000, 70, 30), "service": container(500_000_000, 50, 0)},
        {"service": {}},
    ]
    answers = iter([*looks, {}])
    looks_left = len(looks) + 1

    def look() -> Mapping[str, Mapping[str, Any]]:
        nonlocal looks_left
        looks_left = max(0, looks_left - 1)
        return next(answers, {})

    with Meter(tmp_path, containers=look, every_s=0.01) as meter:
        eventually(lambda: looks_left == 0)
    usage = meter.usage()
    assert (usage.cpu_s, usage.memory_peak) == (3.5, 120)
    assert (usage.received, usage.sent) == (30, 2)
    assert usage.disk_left


def test_a_shell_job_is_what_its_processes_used(tmp_path: Path) -> None:
    with Meter(tmp_path) as meter:
        subprocess.run(
            [sys.executable, "-c", "b = bytearray(64 << 20); sum(range(10**6))"], check=True
        )
    usage = meter.usage()
    assert usage.cpu_s is not None
    assert usage.cpu_s > 0.02
    assert usage.memory_peak is not None
    assert usage.memory_peak >= 64 << 20
