"""Task `Route`: where does this pending job go?"""

from dataclasses import asdict
from typing import Any

from fleet.job_event import JobEvent
from orchestrator.route import route_event
from orchestrator.wiring import wiring


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Look the tags up, decide, record, send the demand; the state machine wakes scaling."""
    return asdict(route_event(wiring("route"), JobEvent.from_detail(event["detail"])))
