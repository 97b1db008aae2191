"""What one job used of its machine, as its machine saw it. Pure."""

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


def _shown(size: int | None, what: str) -> str | None:
    if size is None:
        return None
    for step, unit in _STEPS:
        if size >= step:
            count = size / step
            return f"{count:.1f} {unit} {what}" if count < 10 else f"{count:.0f} {unit} {what}"
    return f"{size} bytes {what}"
