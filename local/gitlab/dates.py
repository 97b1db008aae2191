"""The three ways GitLab writes an instant. Pure."""

from datetime import UTC, datetime


def api_date(at: datetime | None) -> str | None:
    """As the REST API writes it: `2026-08-20T09:15:01.123Z`."""
    if at is None:
        return None
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def hook_date(at: datetime | None) -> str | None:
    """As hooks write it: `2026-08-20 09:15:01 UTC`."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso_date(at: datetime | None) -> str | None:
    """As the hooks' `_iso` fields write it: `2026-08-20T09:15:01Z`."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
