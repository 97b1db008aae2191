import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from adapters.aws.bus import EventBus
from adapters.aws.secrets import SecretStore
from fleet.errors import FleetError, Refused, Transient
from fleet.job_event import JobEvent
from fleet.webhook_secrets import AllWebhookSecrets
from tests.unit.webhook.deliveries import (
    AT,
    OTHER_SIGNING,
    PLAIN,
    SIGNED,
    SIGNING,
    TOKEN,
    VECTOR_ID,
    encoded,
    headers,
    only,
    signed,
    with_token,
)
from webhook.app import WebhookWorld, create_app, handler, prepare, serve, wiring
from webhook.delivery import MAX_BODY

PENDING, PROVEN = encoded(), with_token()
pytestmark = pytest.mark.usefixtures("closed_event_loop")


@dataclass(eq=False)
class Secrets:
    """The copy in the cache, and what a new reading would bring."""

    cached: AllWebhookSecrets
    newest: AllWebhookSecrets | None = None
    error: FleetError | None = None
    doubts: list[bool] = field(default_factory=list)

    def webhook_secrets(self, name: str, *, doubted: bool = False) -> AllWebhookSecrets:
        assert name == "fleet/webhook"
        self.doubts.append(doubted)
        if self.error:
            raise self.error
        return self.newest or self.cached if doubted else self.cached


@dataclass(eq=False)
class Bus:
    error: FleetError | None = None
    events: list[JobEvent] = field(default_factory=list)

    def publish(self, event: JobEvent) -> None:
        if self.error:
            raise self.error
        self.events.append(event)


def world(
    secrets: AllWebhookSecrets | Secrets = PLAIN,
    bus: Bus | None = None,
    clock: Callable[[], datetime] = lambda: AT,
) -> WebhookWorld:
    return WebhookWorld(
        secrets=secrets if isinstance(secrets, Secrets) else Secrets(secrets),
        secret_name="fleet/webhook",
        bus=bus or Bus(),
        clock=clock,
    )


@dataclass
class Client:
    """Asks the app in a world, over ASGI."""

    world: WebhookWorld

    def post(
        self, path: str = "/webhook", *, content: Any = PENDING, headers: dict[str, str] = PROVEN
    ) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, content=content, headers=headers))

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("GET", path))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(self.world))
        async with httpx.AsyncClient(transport=transport, base_url="http://fleet") as client:
            return await client.request(method, path, **options)


def body_of(reason: str, *, is_accepted: bool = False) -> dict[str, object]:
    return {"accepted": is_accepted, "reason": reason}


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The log so far, line by line."""

    def read() -> list[dict[str, Any]]:
        captured = capsys.readouterr()
        assert captured.err == ""
        return [json.loads(line) for line in captured.out.splitlines()]

    return read


def set_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the template sets."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("FLEET_BUS", "fleet")
    monkeypatch.setenv("FLEET_WEBHOOK_SECRET", "fleet/webhook")
    monkeypatch.setenv("FLEET_CACHE_TTL", "60")
    monkeypatch.setenv("FLEET_ALLOWED_SOURCES", "")


class TestAnswers:
    @pytest.mark.parametrize("path", ["/webhook", "/"])
    def test_one_delivery_is_one_event_on_the_bus(self, path: str, lines: Lines) -> None:
        bus = Bus()
        answer = Client(world(bus=bus)).post(path)
        assert answer.status_code == 202
        assert answer.json() == body_of("job.pending", is_accepted=True)
        assert [(event.job_id, event.received_at) for event in bus.events] == [(90210, AT)]
        (line,) = lines()
        assert (line["event"], line["job_id"], line["took_s"]) == ("DeliveryAccepted", 90210, 0.0)

    def test_a_duplicate_is_accepted_under_the_same_id(self) -> None:
        bus = Bus()
        app = Client(world(bus=bus))
        answers = [app.post() for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert [event.delivery_id for event in bus.events] == [VECTOR_ID, VECTOR_ID]

    def test_other_events_are_answered_and_not_published(self, lines: Lines) -> None:
        bus = Bus()
        request_headers = with_token(x_gitlab_event="Push Hook")
        answer = Client(world(bus=bus)).post(content=b"{}", headers=request_headers)
        assert (answer.status_code, answer.json()) == (200, body_of("other_event"))
        assert bus.events == []
        (line,) = lines()
        assert (line["event"], line["about"]) == ("DeliveryIgnored", "Push Hook")

    @pytest.mark.parametrize(
        ("request_headers", "body", "status", "reason"),
        [
            (headers(), PENDING, 401, "not authorized"),
            (with_token("wrong"), PENDING, 401, "not authorized"),
            (with_token(content_type="text/plain"), PENDING, 415, "only application/json is read"),
            (PROVEN, b"x" * (MAX_BODY + 1), 413, "the body is too large"),
            (PROVEN, b"nonsense", 400, "the job event is not readable (field=body)"),
            (PROVEN, encoded(build_id="7"), 400, "the job event is not readable (field=build_id)"),
        ],
    )
    def test_a_bad_delivery(
        self, request_headers: dict[str, str], body: bytes, status: int, reason: str, lines: Lines
    ) -> None:
        bus = Bus()
        answer = Client(world(bus=bus)).post(content=body, headers=request_headers)
        assert (answer.status_code, answer.json()) == (status, body_of(reason))
        assert bus.events == []
        (line,) = lines()
        assert (line["event"], line["level"]) == ("DeliveryRefused", "WARNING")
        assert (line["status"], line["reason"]) == (status, reason)

    def test_a_body_without_end_is_not_read_to_the_end(self) -> None:
        sent = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 64:
                sent += 1
                yield b"x" * (MAX_BODY // 2)

        answer = Client(world()).post(content=chunks())
        assert (answer.status_code, sent) == (413, 3)

    @pytest.mark.parametrize("error", [Transient(code="Throttling"), Refused(code="AccessDenied")])
    def test_a_bus_that_refuses_is_a_503_and_its_delivery_is_named(
        self, error: FleetError, lines: Lines
    ) -> None:
        answer = Client(world(bus=Bus(error=error))).post()
        assert (answer.status_code, answer.json()) == (503, body_of("the fleet cannot take it now"))
        (line,) = lines()
        assert (line["event"], line["level"]) == ("DeliveryNotPublished", "ERROR")
        assert (line["instance"], line["project_id"]) == ("gitlab.example.com", 77)
        assert (line["job_id"], line["status"]) == (90210, "pending")
        assert (line["delivery_id"], line["error"]) == (VECTOR_ID, str(error))

    def test_secrets_out_of_reach_are_a_503_and_not_a_401(self, lines: Lines) -> None:
        secrets = Secrets(PLAIN, error=Transient(call="secretsmanager.GetSecretValue"))
        answer = Client(world(secrets)).post()
        assert answer.status_code == 503
        (line,) = lines()
        assert (line["event"], line["level"], line["status"]) == ("DeliveryRefused", "ERROR", 503)

    def test_health(self) -> None:
        answer = Client(world()).get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
    def test_unknown_paths_show_nothing_of_the_app(self, path: str) -> None:
        assert Client(world()).get(path).status_code == 404


class TestRotation:
    """A secret that changed while our copy of it is still used."""

    ROTATED = only(signing=(OTHER_SIGNING, SIGNING))
    GIVEN = signed(encoded(), secret=OTHER_SIGNING)

    def test_a_failed_proof_is_tried_once_with_the_newest(self) -> None:
        bus = Bus()
        secrets = Secrets(SIGNED, newest=self.ROTATED)
        answer = Client(world(secrets, bus)).post(headers=self.GIVEN)
        assert answer.status_code == 202
        assert secrets.doubts == [False, True]
        assert len(bus.events) == 1

    def test_nothing_newer_means_refused(self) -> None:
        secrets = Secrets(SIGNED)
        answer = Client(world(secrets)).post(headers=self.GIVEN)
        assert answer.status_code == 401

    def test_newer_secrets_do_not_help_a_forger(self) -> None:
        secrets = Secrets(PLAIN, newest=self.ROTATED)
        answer = Client(world(secrets)).post(headers=headers())
        assert answer.status_code == 401

    def test_only_a_failed_proof_causes_a_second_reading(self) -> None:
        secrets = Secrets(PLAIN, newest=self.ROTATED)
        Client(world(secrets)).post(content=b"{")
        assert secrets.doubts == [False]


@pytest.mark.parametrize(
    ("request_headers", "body"),
    [
        (with_token(), encoded()),
        (with_token("wrong-9f2c"), encoded()),
        (signed(encoded()), encoded()),
        (signed(b"{}"), encoded()),
        (with_token(), encoded(build_id="value-5d1e")),
        (with_token(), b'{"value-5d1e'),
    ],
)
@pytest.mark.parametrize("secrets", [PLAIN, SIGNED])
@pytest.mark.parametrize("error", [None, Transient(code="InternalFailure")])
def test_no_secret_and_no_value_in_any_answer_or_line(
    request_headers: dict[str, str],
    body: bytes,
    secrets: AllWebhookSecrets,
    error: FleetError | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = Client(world(secrets, Bus(error))).post(content=body, headers=request_headers)
    captured = capsys.readouterr()
    shown = answer.text + str(answer.headers) + captured.out + captured.err
    hidden = [TOKEN, SIGNING, "whsec_", "wrong-9f2c", "value-5d1e", "v1,", "Dana Roe"]
    assert [secret for secret in hidden if secret in shown] == []


class Context:
    """What Lambda tells of an invocation."""

    aws_request_id = "8f0e-request"


def http_event(path: str, body: bytes, stage: str = "$default", **more: Any) -> dict[str, Any]:
    """An event of an HTTP API, payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "POST /webhook",
        "rawPath": path,
        "rawQueryString": "",
        "headers": with_token(host="abc.execute-api.eu-central-1.amazonaws.com"),
        "requestContext": {
            "stage": stage,
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "34.74.90.65",
            },
        },
        "body": body.decode(),
        "isBase64Encoded": False,
    } | more


class TestLambda:
    """Under Mangum, as the HTTP API calls it."""

    @pytest.mark.parametrize(
        ("path", "stage"),
        [
            ("/webhook", "$default"),
            ("/live/webhook", "live"),
            ("/webhook", "live"),
            ("/", "$default"),
            ("/live/", "live"),
        ],
    )
    def test_with_and_without_a_stage(self, path: str, stage: str, lines: Lines) -> None:
        bus = Bus()
        answer = serve(world(bus=bus), http_event(path, encoded(), stage), Context())
        assert (answer["statusCode"], len(bus.events)) == (202, 1)
        assert json.loads(answer["body"]) == {"accepted": True, "reason": "job.pending"}
        assert [line["request_id"] for line in lines()] == ["8f0e-request"]

    def test_wiring_takes_everything_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_environment(monkeypatch)
        made = wiring.__wrapped__()
        assert made.secret_name == "fleet/webhook"
        assert isinstance(made.bus, EventBus)
        assert isinstance(made.secrets, SecretStore)
        assert made.clock().tzinfo is not None

    def test_the_handler_is_wired_at_its_first_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_environment(monkeypatch)
        event = http_event("/live/health", b"", "live")
        event["requestContext"]["http"]["method"] = "GET"
        wiring.cache_clear()
        try:
            assert handler(event, Context())["statusCode"] == 200
            assert wiring.cache_info().currsize == 1
        finally:
            wiring.cache_clear()

    @pytest.mark.parametrize(("kind", "is_made"), [("snap-start", 1), ("on-demand", 0), (None, 0)])
    def test_a_snapshot_has_what_requests_need(
        self, monkeypatch: pytest.MonkeyPatch, kind: str | None, is_made: int
    ) -> None:
        set_environment(monkeypatch)
        wiring.cache_clear()
        try:
            prepare({"AWS_LAMBDA_INITIALIZATION_TYPE": kind} if kind else {})
            assert wiring.cache_info().currsize == is_made
        finally:
            wiring.cache_clear()

    def test_missing_settings_fail_at_the_first_call_and_say_which(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("FLEET_BUS", raising=False)
        with pytest.raises(ValidationError, match="bus"):
            wiring.__wrapped__()
