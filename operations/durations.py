"""Lengths of time as people read them."""


def duration(seconds: float | None) -> str:
    """Such as `0.4s`, `12s`, `3m 05s`, `2h 10m`; a dash for none."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
