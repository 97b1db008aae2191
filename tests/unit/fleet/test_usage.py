"""What a job used: its words, and its numbers in rows and reports."""

import pytest

from fleet.steps import Step, StepName, Undated
from fleet.usage import Usage
from tests.unit.fleet.facts import AT


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        (Usage(), ""),
        (Usage(cpu_s=12.34, memory_peak=0), "12.3 s of processor, 0 bytes of memory"),
        (Usage(received=1023, sent=1024), "1023 bytes in, 1.0 KB out"),
        (Usage(memory_peak=512 << 20, disk_left=31 << 30), "512 MB of memory, 31 GB of disk left"),
        (Usage(disk_left=0), "0 bytes of disk left"),
    ],
)
def test_a_line_has_what_the_machine_could_see(usage: Usage, line: str) -> None:
    assert str(usage) == line


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(cpu_s=12.3, memory_peak=512 << 20, received=100, sent=0, disk_left=31 << 30),
        Usage(memory_peak=3 << 30),
    ],
)
def test_a_row_and_a_report_keep_every_number(usage: Usage) -> None:
    item = Undated(name=StepName.USED, job_id=7, usage=usage).dated(AT).item()
    assert Step.of_item(item).usage == usage
    assert Step.of_report(item).usage == usage
    assert all(isinstance(number, int) for number in item["usage"].values())


@pytest.mark.parametrize(
    "forged", ["12 s", 7, None, {"cpu_ms": "7"}, {"sent": -1}, {"disk_left": 1e300}]
)
def test_what_a_machine_makes_up_is_no_usage(forged: object) -> None:
    item = {"at": AT.isoformat(), "step": "used", "usage": forged}
    with pytest.raises((TypeError, ValueError)):
        Step.of_report(item)
