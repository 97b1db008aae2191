"""From counts to calls per job and their price."""

from collections.abc import Mapping
from typing import Any

import pytest

from fleet.prices import control_plane_usd_per_1000
from local.burst.tally import Tally, tally

ENGINE: Mapping[str, Mapping[str, float]] = {
    "api": {"requests": 40},
    "calls fleet-ScaleRole-1": {
        "ec2.CreateFleet": 1,
        "dynamodb.Query": 6,
        "scheduler.CreateSchedule": 1,
        "kms.Encrypt": 3,
    },
    "calls fleet-WebhookRole-1": {"events.PutEvents": 40, "secretsmanager.GetSecretValue": 2},
    "calls fleet-MachineRole-1": {"dynamodb.GetItem": 30},
    "calls root": {"ec2.DescribeInstances": 99},
    "calls states": {"sqs.SendMessage": 1, "states.StartExecution": 5, "lambda.Throttled": 3},
    "units fleet-ScaleRole-1": {"dynamodb_reads": 20.5, "dynamodb_writes": 40},
    "units fleet-WebhookRole-1": {"eventbridge_events": 40},
    "units fleet-MachineRole-1": {"dynamodb_reads": 30, "dynamodb_writes": 1000},
    "units root": {"dynamodb_reads": 7000},
    "invocations": {"fleet-scale": 5, "fleet-webhook": 40},
    "function_seconds": {"fleet-scale": 10.0, "fleet-webhook": 4.0},
    "function_gb_seconds": {"fleet-scale": 10.0, "fleet-webhook": 2.0},
    "executions": {"fleet-scale": 4, "fleet-route": 10},
    "execution_seconds": {"fleet-scale": 900.0, "fleet-route": 32.0},
    "entered": {"fleet-scale": 19, "fleet-route": 50},
    "tasks": {"fleet-scale": 5, "fleet-route": 30},
    "attempts": {"fleet-scale": 6, "fleet-route": 37},
    "partitions": {"fleet-Ledger-1/open pool": 412.04},
}
GITLAB = {
    "POST /jobs/request": 12,
    "PATCH /jobs/{job}/trace": 10,
    "PUT /jobs/{job}": 10,
    "POST /user/runners": 10,
    "DELETE /runners/{runner}": 11,
    "GET /projects/{project}/jobs/{job}": 4,
    "POST /runners/verify": 1,
}


@pytest.fixture(scope="module")
def counts() -> Tally:
    return tally(ENGINE, GITLAB, stack="fleet", jobs=10)


def test_the_fleet_s_calls_have_their_names(counts: Tally) -> None:
    expected = {
        "ec2.CreateFleet": 1,
        "sqs.SendMessage": 1,  # of a state machine
        "lambda.webhook": 40,
        "states.route": 10,
        "states.transitions": 20,  # 19 states entered, one attempt again
        "gitlab.POST /user/runners": 10,
    }
    assert {name: counts.calls[name] for name in expected} == expected


def test_calls_of_machines_and_of_their_runners_stand_apart(counts: Tally) -> None:
    assert counts.guest_calls == {
        "dynamodb.GetItem": 30,
        "gitlab.PATCH /jobs/{job}/trace": 10,
        "gitlab.POST /jobs/request": 12,
        "gitlab.PUT /jobs/{job}": 10,
    }
    assert not set(counts.guest_calls) & set(counts.calls)


def test_the_price_is_that_of_the_fleet_without_its_machines(counts: Tally) -> None:
    units: dict[str, Any] = {
        "http_api_requests": 40,
        "lambda_requests": 45,
        "lambda_gb_seconds": 12,
        "eventbridge_events": 40,
        "schedules": 1,
        "standard_transitions": 20,
        "express_requests": 10,
        "express_gb_seconds": 2,  # 32 s of 64 MB; the standard machine is not billed by time
        "sqs_requests": 1,
        "dynamodb_writes": 40,
        "dynamodb_reads": 20.5,
        "secrets_calls": 2,
        "kms_requests": 3,
    }
    assert counts.units == units
    whole = {name: round(number) for name, number in units.items()}
    assert counts.usd_per_1000 == control_plane_usd_per_1000(whole, 10)


def test_the_worst_second_of_a_key_is_named_by_its_table_and_index(counts: Tally) -> None:
    assert counts.partitions == {"Ledger-1/open pool": 412.0}


def test_every_service_has_its_calls_per_job(counts: Tally) -> None:
    assert counts.per_job == {
        "ec2": 0.1,
        "sqs": 0.1,
        "dynamodb": 0.6,  # those of the fleet
        "lambda": 4.5,  # runs, not throttled invocations
        "events": 4.0,
        "secretsmanager": 0.2,
        "kms": 0.3,
        "scheduler": 0.1,
        "states.executions": 1.4,  # of all machines
        "states.transitions": 2.0,  # of the standard machine only
        "gitlab": 0.5,  # beyond making and deleting records
        "gitlab.records": 2.1,
        "http_api": 4.0,  # deliveries
    }
