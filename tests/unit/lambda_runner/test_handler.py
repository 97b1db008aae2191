"""An invocation that Lambda held back for too long does nothing at all."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.errors import Refused
from lambda_runner.handler import handler


class Context:
    def get_remaining_time_in_millis(self) -> int:
        """All of Lambda's fifteen minutes."""
        return 900_000


def event(until: datetime) -> dict[str, str]:
    return {"runner_id": "rf-1", "mailbox": "lambda:rf-1", "until": until.isoformat()}


@pytest.fixture(autouse=True)
def no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLEET_MAILBOX_TABLE", raising=False)


def test_a_late_event_ends_before_any_call() -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    assert handler(event(late), Context()) == {
        "runner_id": "rf-1",
        "outcome": "late",
        "job_id": None,
    }


def test_an_event_in_time_reads_the_settings() -> None:
    with pytest.raises(Refused, match="MAILBOX_TABLE"):  # the first thing that it looks for
        handler(event(datetime.now(UTC) + timedelta(minutes=1)), Context())
