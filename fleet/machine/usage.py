"""What one job used of its machine: numbers into the one line of its history. Pure."""

import re
from dataclasses import dataclass

_STEPS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Totals of one job, in seconds and bytes. None: its machine could not see that."""

    cpu_s: float | None = None
    memory_peak: int | None = None
    received: int | None = None
    sent: int | None = None
    disk_left: int | None = None

    def __str__(self) -> str:
        """`12.3 s of processor, 512 MB of memory, 1.2 MB in, 310 KB out, 31 GB of disk left`."""
        parts = (
            None if self.cpu_s is None else f"{self.cpu_s:.1f} s of processor",
            _shown(self.memory_peak, "of memory"),
            _shown(self.received, "in"),
            _shown(self.sent, "out"),
            _shown(self.disk_left, "of disk left"),
        )
        return ", ".join(part for part in parts if part)


_SECONDS = re.compile(r"([\d.]+) s of processor")
_SIZE = re.compile(r"([\d.]+) (GB|MB|KB|bytes) (of memory|in|out|of disk left)")
_FIELDS = {
    "of memory": "memory_peak",
    "in": "received",
    "out": "sent",
    "of disk left": "disk_left",
}


def read_usage(text: str) -> Usage:
    """The numbers in the text of a `Usage`, as exact as the text; a machine may write anything."""
    sizes = {unit: step for step, unit in _STEPS} | {"bytes": 1}
    seconds, sizes_read = _SECONDS.search(text), {}
    for number, unit, what in _SIZE.findall(text):
        if number.count(".") <= 1 and number.strip("."):
            sizes_read[_FIELDS[what]] = int(float(number) * sizes[unit])
    spent = seconds[1] if seconds and seconds[1].count(".") <= 1 and seconds[1].strip(".") else None
    return Usage(cpu_s=float(spent) if spent else None, **sizes_read)


def _shown(size: int | None, what: str) -> str | None:
    if size is None:
        return None
    for step, unit in _STEPS:
        if size >= step:
            count = size / step
            return f"{count:.1f} {unit} {what}" if count < 10 else f"{count:.0f} {unit} {what}"
    return f"{size} bytes {what}"
