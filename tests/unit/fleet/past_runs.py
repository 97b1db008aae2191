"""Past runs for tests: one machine with its job, a moment for each hop."""

from datetime import timedelta
from typing import Any

from fleet.past import PastRun
from tests.unit.fleet.facts import AT


def past(number: int, *, ended_s: float = 0, **facts: Any) -> PastRun:
    """A job that waited 60 s in all and ran 100 s; its machine ended `ended_s` after `AT`.

    Heard after 1 s, routed after 3, launched after 10, at home after 50, taken after 60.
    """
    end = AT + timedelta(seconds=ended_s)

    def before(seconds: float) -> Any:
        return end - timedelta(seconds=seconds)

    fields: dict[str, Any] = {
        "pool": "docker",
        "job_id": number,
        "name": "test",
        "project_id": 7,
        "project": "acme/demo",
        "outcome": "success",
        "pending_at": before(180),
        "heard_at": before(179),
        "heard_by": "webhook_received",
        "routed_at": before(177),
        "launched_at": before(170),
        "called_home_at": before(130),
        "taken_at": before(120),
        "finished_at": before(20),
        "backend": "ec2",
        "machine": f"i-{number}",
        "capacity": "m7i.large/subnet-1/spot",
        "for_job": number,
        "reason": "finished",
        "usd_nano": 2_000_000,
    }
    return PastRun(id=f"rf-docker-{number:012x}", ended_at=end, **(fields | facts))


def jobless(number: int, **facts: Any) -> PastRun:
    names = ("job_id", "project_id", "outcome", "pending_at", "heard_at", "heard_by", "routed_at")
    none: dict[str, Any] = dict.fromkeys((*names, "taken_at", "finished_at"))
    return past(number, **(none | {"name": "", "project": "", "for_job": None} | facts))
