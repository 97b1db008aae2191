"""One HTTP request in, whatever kind of gateway invoked the function: read without trust."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleet.errors import BadDelivery
from fleet.job_event import DELIVERY_HEADERS
from webhook.delivery import MAX_BODY

MAX_HEADERS = 16 * 1024  # characters of those that are read; an HTTP API lets 10 KiB through


def _whole(text: str) -> str:
    """The text. Raises `ValueError` for half a character, which JSON can write."""
    text.encode()
    return text


_Text = Annotated[str, AfterValidator(_whole)]
_Method = Annotated[_Text, Field(max_length=32)]
_Path = Annotated[_Text, Field(max_length=2048)]


class _GatewayPart(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Http(_GatewayPart):
    method: _Method
    path: _Path
    source: _Text = Field(alias="sourceIp", default="")


class _Identity(_GatewayPart):
    source: _Text | None = Field(alias="sourceIp", default=None)


class _Context(_GatewayPart):
    """Source: API Gateway, "Payload format version"; a load balancer names no stage."""

    stage: str | None = None
    http: _Http | None = None  # format 2.0
    identity: _Identity | None = None  # format 1.0


class _GatewayEvent(_GatewayPart):
    context: _Context = Field(alias="requestContext")
    # A method and a path here: format 1.0, or a load balancer.
    method: _Method | None = Field(alias="httpMethod", default=None)
    path: _Path | None = None
    headers: Mapping[str, _Text] | None = None
    multi_headers: Mapping[str, list[_Text]] | None = Field(alias="multiValueHeaders", default=None)
    body: str | None = None
    is_base64: bool | None = Field(alias="isBase64Encoded", default=None)


_GATEWAY_EVENT = TypeAdapter(_GatewayEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """The part of a request that the app reads."""

    method: str
    path: str  # without the stage
    headers: Mapping[str, str]  # those of `DELIVERY_HEADERS`; one given twice is joined
    body: bytes
    source: str  # address as the gateway saw it; empty behind a load balancer

    @classmethod
    def read(cls, event: object) -> "HttpRequest":
        """Any event of Lambda as a request.

        Raises `BadDelivery`: 400 no request, 413 a body that is too large (not decoded), 431
        headers that are too long. Source: API Gateway, "Payload format version" 1.0 and 2.0;
        Elastic Load Balancing, "Lambda functions as targets".
        """
        try:
            request = _GATEWAY_EVENT.validate_python(event)
        except ValidationError:
            raise BadDelivery("not an HTTP request") from None
        http, stage = request.context.http, request.context.stage
        method, path = (http.method, http.path) if http else (request.method, request.path)
        if method is None or path is None:
            raise BadDelivery("not an HTTP request")
        identity = request.context.identity
        source = http.source if http else identity.source if identity else ""
        return cls(
            method=method,
            path=_without(stage, path),
            headers=_headers(request),
            body=_body(request),
            source=source or "",
        )

    def to_event(self) -> dict[str, Any]:
        """The same as an event of an HTTP API, format 2.0, with nothing else in it."""
        http = {"method": self.method, "path": self.path, "sourceIp": self.source}
        return {
            "version": "2.0",
            "requestContext": {"http": http},
            "headers": dict(self.headers),
            "body": self.body,
            "isBase64Encoded": False,
        }


def _without(stage: str | None, path: str) -> str:
    """The path without the stage, which an HTTP API puts before it unless it is the default."""
    first, slash, rest = path.removeprefix("/").partition("/")
    return f"/{rest}" if slash and first == stage else path or "/"


def _headers(request: _GatewayEvent) -> Mapping[str, str]:
    single = {name: [value] for name, value in (request.headers or {}).items()}
    joined: dict[str, list[str]] = {}
    for name, values in (request.multi_headers or single).items():
        if name.lower() in DELIVERY_HEADERS:  # another cannot fail the request
            joined.setdefault(name.lower(), []).extend(values)
    headers = {name: ",".join(values) for name, values in joined.items()}
    if sum(map(len, headers.values())) > MAX_HEADERS:
        raise BadDelivery("the headers are too long", status=431)
    return headers


def _body(request: _GatewayEvent) -> bytes:
    text = request.body or ""
    if len(text) > (MAX_BODY + 2) // 3 * 4 if request.is_base64 else len(text) > MAX_BODY:
        raise BadDelivery("the body is too large", status=413)
    try:
        return base64.b64decode(text, validate=True) if request.is_base64 else text.encode()
    except ValueError:
        raise BadDelivery("the body is neither text nor base64") from None
