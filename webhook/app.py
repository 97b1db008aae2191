"""The webhook function: verify a delivery, publish it, answer."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from mangum import Mangum
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.exceptions import HTTPException

from adapters.aws.bus import EventBus
from adapters.aws.clients import clients, quick
from adapters.aws.secrets import SecretStore
from fleet.errors import BadDelivery, FleetError
from fleet.events import (
    ERROR,
    WARNING,
    DeliveryAccepted,
    DeliveryIgnored,
    DeliveryNotPublished,
    DeliveryRefused,
    begin_request,
    emit,
)
from fleet.job_event import NOT_PUBLISHED, JobEvent
from fleet.rules.door import networks
from fleet.webhook_secrets import AllWebhookSecrets
from webhook.delivery import MAX_BODY, Ignored, read_delivery
from webhook.door import Door
from webhook.request import HttpRequest


class SecretsPort(Protocol):
    """Reads the secrets."""

    def webhook_secrets(self, name: str, *, doubted: bool = False) -> AllWebhookSecrets:
        """See `SecretStore`."""


class BusPort(Protocol):
    """Publishes events."""

    def publish(self, event: JobEvent) -> None:
        """See `EventBus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWorld:
    """The collaborators of the app."""

    secrets: SecretsPort
    secret_name: str
    bus: BusPort
    clock: Callable[[], datetime]
    door: Door = field(default_factory=Door)


class WebhookSettings(BaseSettings):
    """The environment of the webhook function; the template sets all of it."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="FLEET_")
    bus: str
    webhook_secret: str  # its name in Secrets Manager
    cache_ttl: float  # seconds
    allowed_sources: str  # networks with commas between; empty: any


class Receipt(BaseModel):
    """The answer, which GitLab shows beside the delivery."""

    accepted: bool
    reason: str


def create_app(world: WebhookWorld) -> FastAPI:
    """The app: `POST /webhook` (202 accepted, 200 ignored, 4xx refused, 503 try later)."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.post("/", status_code=202)
    @app.post("/webhook", status_code=202)
    def receive(
        request: Request, response: Response, body: Annotated[bytes, Depends(_body)]
    ) -> Receipt:
        at, source = world.clock(), request.client.host if request.client else ""
        world.door.admit(source, at)
        delivery = _read(world, request.headers, body, at)
        world.door.proved(source, at)
        if isinstance(delivery, Ignored):
            emit(DeliveryIgnored(reason=delivery.reason, about=delivery.about))
            response.status_code = 200
            return Receipt(accepted=False, reason=delivery.reason)
        request.state.event = delivery
        world.bus.publish(delivery)
        took_s = (world.clock() - at).total_seconds()
        emit(DeliveryAccepted(**_identity(delivery), took_s=took_s))
        return Receipt(accepted=True, reason=delivery.detail_type)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    app.add_exception_handler(FleetError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_route)
    return app


def _read(
    world: WebhookWorld, headers: Mapping[str, str], body: bytes, at: datetime
) -> JobEvent | Ignored:
    secrets = world.secrets.webhook_secrets(world.secret_name)
    try:
        return read_delivery(headers, body, secrets=secrets, at=at)
    except BadDelivery as exc:
        if exc.status != 401:
            raise
        newer = world.secrets.webhook_secrets(world.secret_name, doubted=True)
        if newer == secrets:
            raise
        return read_delivery(headers, body, secrets=newer, at=at)


async def _body(request: Request) -> bytes:
    """The body, or enough of it to exceed `MAX_BODY`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            break
    return bytes(body)


def _refuse(request: Request, exc: Exception) -> JSONResponse:
    """A `FleetError` as an HTTP answer and a log line."""
    if isinstance(exc, BadDelivery):
        emit(DeliveryRefused(status=exc.status, reason=str(exc)), level=WARNING)
        return _answer(exc.status, str(exc))
    event: JobEvent | None = getattr(request.state, "event", None)
    if event:
        emit(DeliveryNotPublished(**_identity(event), error=str(exc)), level=ERROR)
    else:
        emit(DeliveryRefused(status=503, reason=str(exc)), level=ERROR)
    return _answer(503, NOT_PUBLISHED)


def _refuse_route(_request: Request, exc: Exception) -> JSONResponse:
    """No such path or method, in the form of the other answers."""
    assert isinstance(exc, HTTPException)
    return _answer(exc.status_code, exc.detail)


def _answer(status: int, reason: str) -> JSONResponse:
    return JSONResponse(Receipt(accepted=False, reason=reason).model_dump(), status)


def _identity(event: JobEvent) -> dict[str, Any]:
    """The fields that identify a delivery in the log."""
    return {
        "instance": event.instance,
        "project_id": event.project_id,
        "job_id": event.job_id,
        "status": event.status,
        "delivery_id": event.delivery_id,
    }


@cache
def wiring() -> WebhookWorld:
    """The world of the deployed function, made at the first call."""
    settings = WebhookSettings()
    aws = clients(quick())

    def clock() -> datetime:
        return datetime.now(UTC)

    ttl = timedelta(seconds=settings.cache_ttl)
    return WebhookWorld(
        secrets=SecretStore(aws.secrets, ttl, clock),
        secret_name=settings.webhook_secret,
        bus=EventBus(aws.events, settings.bus),
        clock=clock,
        door=Door(networks(settings.allowed_sources)),
    )


def handler(event: object, context: object) -> dict[str, Any]:
    """Lambda entry: one request of the HTTP API."""
    return serve(wiring(), event, context)


def serve(world: WebhookWorld, event: object, context: object) -> dict[str, Any]:
    """The answer to one request, in a form that every kind of gateway takes.

    `event` may be anything: anything but a request is refused as a bad request.
    """
    begin_request(getattr(context, "aws_request_id", None))
    try:
        request = HttpRequest.read(event)
    except BadDelivery as exc:
        emit(DeliveryRefused(status=exc.status, reason=str(exc)), level=WARNING)
        answer = _answer(exc.status, str(exc))
        return {
            "statusCode": exc.status,
            "headers": {"content-type": "application/json"},
            "body": bytes(answer.body).decode(),
            "isBase64Encoded": False,
        }
    return _asgi(world)(request.to_event(), context)  # type: ignore[arg-type]


@cache
def _asgi(world: WebhookWorld) -> Mangum:
    return Mangum(create_app(world), lifespan="off")


def prepare(environment: Mapping[str, str]) -> None:
    """Make the app now if Lambda takes a snapshot of this process; else the first request does.

    Making it reads no secret, no clock and no random number.
    """
    if environment.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _asgi(wiring())


prepare(os.environ)
