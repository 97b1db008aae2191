"""The line that says what a job used."""

import pytest

from fleet.machine.usage import Usage


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
