import json

import pytest

from adapters.aws.bus import EventBus, fault_of_rule
from fleet.errors import Refused, Transient
from fleet.job_event import JobEvent
from tests.unit.adapters.stubs import scripted
from tests.unit.fleet.test_job_event import EVENT

ENTRY = {
    "EventBusName": "fleet",
    "Source": "runner-fleet.webhook",
    "DetailType": "job.pending",
    "Detail": json.dumps(EVENT.to_detail()),
    "Time": EVENT.received_at,
}


def test_publishes_one_event_in_one_call() -> None:
    with scripted("events") as (client, script):
        answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
        script.add_response("put_events", answer, {"Entries": [ENTRY]})
        EventBus(client, "fleet").publish(EVENT)


def test_what_it_publishes_can_be_read_back() -> None:
    assert JobEvent.from_detail(json.loads(str(ENTRY["Detail"]))) == EVENT


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", Transient),
        ("InternalFailure", Transient),
        ("AccessDeniedException", Refused),
        ("MalformedDetail", Refused),
    ],
)
def test_a_call_that_went_well_may_have_published_nothing(code: str, kind: type[Exception]) -> None:
    with scripted("events") as (client, script):
        answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code, "ErrorMessage": "no"}]}
        script.add_response("put_events", answer)
        with pytest.raises(kind) as caught:
            EventBus(client, "fleet").publish(EVENT)
    assert f"code={code}" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [("ThrottlingException", 400, Transient), ("AccessDeniedException", 403, Refused)],
)
def test_a_call_that_failed(code: str, status: int, kind: type[Exception]) -> None:
    with scripted("events") as (client, script):
        script.add_client_error("put_events", code, http_status_code=status)
        with pytest.raises(kind):
            EventBus(client, "fleet").publish(EVENT)


@pytest.mark.parametrize(
    ("state", "targets", "fault"),
    [
        ("ENABLED", [{"Id": "route", "Arn": "arn:aws:states:eu-central-1:1:m"}], None),
        ("DISABLED", None, "is disabled"),
        ("ENABLED", None, "starts nothing"),
    ],
)
def test_what_is_wrong_with_a_rule(
    state: str, targets: list[object] | None, fault: str | None
) -> None:
    with scripted("events") as (client, script):
        request = {"EventBusName": "fleet"}
        script.add_response(
            "describe_rule", {"State": state}, request | {"Name": "fleet-JobPending"}
        )
        script.add_response(
            "list_targets_by_rule",
            {"Targets": targets} if targets else {},
            request | {"Rule": "fleet-JobPending"},
        )
        found_fault = fault_of_rule(client, "fleet", "fleet-JobPending")
    assert (found_fault or "").partition(":")[0] == (fault or "")


@pytest.mark.parametrize(
    ("code", "fault"),
    [("ResourceNotFoundException", "is not there"), ("AccessDeniedException", "")],
)
def test_a_rule_that_is_gone_and_one_that_may_not_be_seen(code: str, fault: str) -> None:
    with scripted("events") as (client, script):
        script.add_client_error("describe_rule", code)
        found_fault = fault_of_rule(client, "fleet", "fleet-JobPending")
    assert (found_fault or "").partition(":")[0] == fault
