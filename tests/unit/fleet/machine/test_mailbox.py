"""Everything left in a mailbox is read back as it was, and holds no secret in print."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from fleet.errors import Refused
from fleet.machine.mailbox import (
    STEPS_READ,
    CacheBucket,
    Credential,
    Docker,
    MachineState,
    Order,
    Report,
)
from fleet.steps import LONGEST, NUMBER_BELOW, Outcome, Step, StepName
from tests.fakes import FakeCipher
from tests.unit.fleet.facts import credential

CIPHER = FakeCipher()
AT = datetime(2026, 8, 20, 9, 15, 1, 250_000, tzinfo=UTC)
PLAIN = credential(expires_at=AT, wait_timeout_s=300)
FULL = replace(
    PLAIN,
    tls_ca="-----BEGIN CERTIFICATE-----\n",
    proxy="http://proxy:3128",
    executor="docker",
    cache=CacheBucket(
        bucket="cache",
        region="eu-central-1",
        prefix="docker",
        server="127.0.0.1:9000",
        insecure=True,
        access_key="AKIA",
        secret_key="cache-secret",
        session_token="cache-session",
        keys_end_at=AT,
    ),
    docker=Docker(
        image="debian:12",
        pull_policy=("always", "if-not-present"),
        volumes=("/cache", "/var/run/docker.sock:/var/run/docker.sock"),
        helper_image="helper:1",
        registry_mirror="http://mirror.example.com",
    ),
)
STEPS = (
    Step(at=AT, name=StepName.CALLED_HOME),
    Step(at=AT + timedelta(seconds=1), name=StepName.JOB_TAKEN, job_id=42),
    Step(at=AT + timedelta(seconds=2), name=StepName.RUNNER_EXITED, job_id=42, detail="failed: x"),
)
REPORT = Report(
    heartbeat_at=AT,
    state=MachineState.DONE,
    runner_id="rf-1",
    job_id=42,
    outcome=Outcome.FAILED,
    detail="exit status 3",
    steps=STEPS,
)
WRITTEN: dict[str, object] = {"heartbeat_at": "2026-08-20T09:15:01Z", "state": "busy"}


def through_dynamodb(item: dict[str, object]) -> dict[str, object]:
    """As DynamoDB gives it back: whole numbers become decimals, and a float would be refused."""
    write, read = TypeSerializer().serialize, TypeDeserializer().deserialize
    return {key: read(write(value)) for key, value in item.items()}


@pytest.mark.parametrize("credential", [PLAIN, FULL], ids=["plain", "with cache and docker"])
def test_a_credential_survives_the_ledger(credential: Credential) -> None:
    item = through_dynamodb(credential.item("AROA:i-1", CIPHER))
    read = Credential.of_item(item, CIPHER)
    assert read == credential
    assert type(read.wait_timeout_s) is int


def test_a_credential_lies_under_the_machines_own_key_until_the_machine_has_expired() -> None:
    item = PLAIN.item("AROA:i-1", CIPHER)
    assert (item["pk"], item["sk"]) == ("AROA:i-1", "credential")
    assert item["ttl"] == int(AT.timestamp())
    assert not {"cache", "docker"} & item.keys(), "what is absent is not written"


@pytest.mark.parametrize("secret", ["glrt-secret", "cache-secret", "cache-session", "AKIA"])
def test_no_secret_is_printed_or_lies_open_in_the_table(secret: str) -> None:
    assert secret not in repr(FULL)
    item = FULL.item("m", CIPHER)
    assert secret not in str(item)
    assert secret in CIPHER.open(item["sealed"], "m")


def test_a_credential_is_sealed_for_one_mailbox() -> None:
    item = FULL.item("m", CIPHER)
    with pytest.raises(Refused):
        Credential.of_item(item | {"pk": "another"}, CIPHER)


@pytest.mark.parametrize(
    "report",
    [REPORT, Report(heartbeat_at=AT, state=MachineState.BOOTED)],
    ids=["full", "first sign of life, nameless"],
)
def test_a_report_survives_the_ledger_and_its_machine_for_a_week(report: Report) -> None:
    read = Report.of_item(through_dynamodb(report.item()))
    assert read == report
    assert type(read.job_id) is type(report.job_id)
    assert report.item()["ttl"] == int(AT.timestamp()) + 7 * 24 * 3600


def test_an_order_survives_the_ledger() -> None:
    order = Order(reason="surplus", at=AT)
    item = through_dynamodb(order.item("m", expires_at=AT + timedelta(hours=1)))
    assert Order.of_item(item) == order
    assert (item["pk"], item["sk"], item["order"]) == ("m", "order", "drain")
    assert item["ttl"] == int(AT.timestamp()) + 3600


def test_times_are_written_in_utc() -> None:
    berlin = AT.astimezone(timezone(timedelta(hours=2)))
    item = Step(at=berlin, name=StepName.ENDED).item()
    assert item["at"] == "2026-08-20T09:15:01.250000+00:00"
    assert Step.of_report(item).at == AT


@pytest.mark.parametrize("item", [{"state": "asleep"}, {"heartbeat_at": "yesterday"}])
def test_an_unknown_word_is_an_error(item: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is not a valid|Invalid isoformat"):
        Report.of_item(WRITTEN | item)


LONG = "x" * 400_000


def test_a_report_is_read_within_bounds_whatever_a_machine_writes() -> None:
    step = {"at": "2026-08-20T09:15:01Z", "step": "stopped", "detail": LONG}
    report = Report.of_item(
        {**WRITTEN, "runner_id": LONG, "detail": LONG, "steps": [step] * 10_000, "more": LONG}
    )
    assert len(report.steps) == STEPS_READ
    texts = [report.runner_id, report.detail, *(step.detail for step in report.steps)]
    assert {len(text or "") for text in texts} == {LONGEST}
    assert len(repr(report)) < 4 * STEPS_READ * LONGEST


def test_a_machine_s_words_are_one_line_and_move_no_cursor() -> None:
    report = Report.of_item({**WRITTEN, "detail": "a\nb\x1b[2Jc\u202ed\u2028e"})
    assert report.detail == "a b [2Jc d e"


@pytest.mark.parametrize("other", [7, ["x"], {"a": 1}, {"x"}, b"x", True])
def test_words_that_are_no_text_are_absent(other: object) -> None:
    report = Report.of_item({**WRITTEN, "detail": other, "runner_id": other})
    assert (report.detail, report.runner_id) == (None, None)


@pytest.mark.parametrize("number", [-1, NUMBER_BELOW, 10**125, "7", "9" * 5000, True, [7], {7}])
@pytest.mark.parametrize("name", ["job_id", "beats"])
def test_a_number_that_is_none_of_ours_makes_a_report_unreadable(name: str, number: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Report.of_item({**WRITTEN, name: number})
