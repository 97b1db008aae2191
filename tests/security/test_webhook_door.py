"""Attacks on the webhook from outside: before proof, in every event shape, and after proof."""

import base64
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fleet.job_event import JobEvent
from fleet.rules.door import networks
from fleet.webhook_secrets import AllWebhookSecrets
from tests.unit.webhook.deliveries import (
    AT,
    PLAIN,
    SIGNED,
    encoded,
    headers,
    job_hook,
    signed,
    with_token,
)
from tests.unit.webhook.test_app import Bus, Context, Secrets
from webhook.app import WebhookWorld, serve
from webhook.delivery import MAX_BODY
from webhook.door import SOURCES, Door

Event = dict[str, Any]
SOURCE = "203.0.113.7"
pytestmark = pytest.mark.usefixtures("closed_event_loop")


class Attack:
    """A webhook that only GitLab may use, its bus and its log."""

    def __init__(self, secrets: AllWebhookSecrets = SIGNED, door: Door | None = None) -> None:
        self.bus = Bus()
        self.secrets = Secrets(secrets)
        self.world = WebhookWorld(
            secrets=self.secrets,
            secret_name="fleet/webhook",
            bus=self.bus,
            clock=lambda: AT,
            door=door or Door(),
        )

    def answer(self, event: object) -> int:
        """The status of the answer, which is JSON of ours."""
        response = serve(self.world, event, Context())
        status, body = response["statusCode"], json.loads(response["body"])
        assert isinstance(status, int)
        assert isinstance(body["accepted"], bool)
        assert isinstance(body["reason"], str)
        assert not response["isBase64Encoded"]
        json.dumps(response)  # what Lambda sends on
        return status


def http_api(**changes: Any) -> Event:
    """A delivery without proof from an HTTP API, payload format 2.0."""
    context = {"stage": "$default", "http": {"method": "POST", "path": "/webhook"}}
    context["http"]["sourceIp"] = SOURCE  # type: ignore[index]
    return {
        "version": "2.0",
        "rawPath": "/webhook",
        "rawQueryString": "",
        "headers": headers(),
        "requestContext": context,
        "body": encoded().decode(),
        "isBase64Encoded": False,
    } | changes


def rest_api(**changes: Any) -> Event:
    """The same from a REST API, and from an HTTP API with payload format 1.0."""
    return {
        "version": "1.0",
        "resource": "/webhook",
        "path": "/webhook",
        "httpMethod": "POST",
        "headers": headers(),
        "multiValueHeaders": {name: [value] for name, value in headers().items()},
        "queryStringParameters": None,
        "requestContext": {"stage": "live", "identity": {"sourceIp": SOURCE}},
        "body": encoded().decode(),
        "isBase64Encoded": False,
    } | changes


def balancer(**changes: Any) -> Event:
    """The same from a load balancer."""
    return {
        "path": "/webhook",
        "httpMethod": "POST",
        "headers": headers(),
        "queryStringParameters": {},
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x"}},
        "body": encoded().decode(),
        "isBase64Encoded": False,
    } | changes


SHAPES = (http_api, rest_api, balancer)

FOREIGN: list[object] = [
    None,
    [],
    "POST",
    7,
    {},
    {"Records": []},
    {"Records": [{"cf": {"request": {}}}]},
    {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
    {"source": "aws.ec2", "detail-type": "x", "detail": {}},
    {"version": "2.0"},
    {"version": "2.0", "requestContext": None},
    {"version": "2.0", "requestContext": {"http": None}},
    {"version": "2.0", "requestContext": {"routeKey": "$connect", "connectionId": "x"}},
    {"version": [], "requestContext": {"http": {}}},
    {"resource": "/", "requestContext": {}},
    {"requestContext": {"elb": {}}},
    {"requestContext": "elb"},
    {"requestContext": ["elb"]},
    {"version": "2.0", "requestContext": {"stage": [], "http": {"method": "POST", "path": "/"}}},
]


@pytest.mark.parametrize("event", FOREIGN, ids=[str(event)[:60] for event in FOREIGN])
def test_an_event_that_is_no_request_is_refused_with_an_answer(event: object) -> None:
    attack = Attack()
    assert attack.answer(event) == 400
    assert attack.bus.events == []


STAMPS = [
    "999999999999",
    "253402300800",
    "-1",
    "1e9",
    "\uff11\uff17\uff18\uff16",
    "0",
    "",
    "\x00",
    "9" * 5000,
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stamp", STAMPS, ids=lambda stamp: stamp[:12])
def test_no_timestamp_breaks_the_proof(shape: Any, stamp: str) -> None:
    forged = headers(webhook_timestamp=stamp, webhook_signature="v1,AAAA")
    attack = Attack()
    assert attack.answer(shape(headers=forged, multiValueHeaders=None)) == 401


ODD: list[tuple[str, Event, int]] = [
    ("host with many colons", {"headers": headers(host="[::1]:x:y")}, 401),
    ("port that is no number", {"headers": headers(x_forwarded_port="many")}, 401),
    ("header without a value", {"headers": {"content-type": None}}, 400),
    ("header of a list", {"headers": {"content-type": ["application/json"]}}, 400),
    ("headers of a list", {"headers": [["content-type", "application/json"]]}, 400),
    ("half a character in a header", {"headers": headers(webhook_id="\ud800")}, 400),
    ("not ASCII in a header", {"headers": headers(x_gitlab_token="täst\u202e")}, 401),
    ("no headers", {"headers": None, "multiValueHeaders": None}, 415),
    ("long header", {"headers": headers(webhook_signature="v1,x " * 100_000)}, 431),
    ("no body", {"body": None}, 401),
    ("body of a number", {"body": 7}, 400),
    ("half a character in the body", {"body": "\udfff"}, 400),
    ("base64 that is none", {"body": "%%%", "isBase64Encoded": True}, 400),
    ("base64 of half a byte", {"body": "QQ", "isBase64Encoded": True}, 400),
    ("base64 that is not ASCII", {"body": "ü", "isBase64Encoded": True}, 400),
    ("flag that is none", {"isBase64Encoded": "perhaps"}, 400),
    ("bytes that are no text", {"body": "/w==", "isBase64Encoded": True}, 401),
    ("too large", {"body": "x" * (MAX_BODY + 1)}, 413),
    ("too large in bytes", {"body": "ü" * (MAX_BODY - 10)}, 413),
    ("query of a list", {"rawQueryString": [], "queryStringParameters": [1]}, 401),
    ("cookies of a number", {"cookies": 7}, 401),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("changes", "status"), [row[1:] for row in ODD], ids=[r[0] for r in ODD])
def test_an_odd_request_gets_an_answer(shape: Any, changes: Event, status: int) -> None:
    attack = Attack()
    assert attack.answer(shape(**{"multiValueHeaders": None} | changes)) == status
    assert attack.bus.events == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhook", 405),
        ("BREW", "/webhook", 405),
        ("", "/webhook", 405),
        ("POST", "", 401),
        ("POST", "/webhook/", 404),
        ("POST", "//evil.example/%2e%2e", 404),
        ("POST", "/%ff%00\n", 404),
        ("POST", "/\ud800", 400),
        ("POST", "/" * 100_000, 400),
        (7, "/webhook", 400),
        ("POST", ["/webhook"], 400),
    ],
)
def test_odd_methods_and_paths_get_an_answer(method: Any, path: Any, status: int) -> None:
    context = {"stage": "$default", "http": {"method": method, "path": path, "sourceIp": SOURCE}}
    assert Attack().answer(http_api(requestContext=context)) == status
    assert Attack().answer(rest_api(httpMethod=method, path=path)) == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
header_values = st.text(st.characters(), max_size=60) | json_values


@settings(max_examples=150, deadline=5000)
@given(
    shape=st.sampled_from(SHAPES),
    given_headers=st.dictionaries(
        st.sampled_from(
            [*headers(), "webhook-signature", "x-gitlab-token", "host", "x-forwarded-port"]
        )
        | st.text(max_size=12),
        header_values,
        max_size=8,
    ),
    field=st.sampled_from([*http_api(), *rest_api()]),
    value=json_values,
    keep=st.booleans(),
)
def test_nothing_unproven_is_more_than_an_answer(
    shape: Any, given_headers: Event, field: str, value: Any, keep: bool
) -> None:
    event = shape(headers=headers() | given_headers, multiValueHeaders=None)
    if keep:
        event[field] = value
    else:
        event.pop(field, None)
    attack = Attack()
    assert attack.answer(event) < 500
    assert attack.bus.events == []


@settings(max_examples=100, deadline=5000)
@given(event=json_values, context=json_values, version=json_values)
def test_no_event_at_all_is_more_than_an_answer(event: Any, context: Any, version: Any) -> None:
    attack = Attack()
    assert attack.answer(event) < 500
    assert attack.answer({"version": version, "requestContext": context, "resource": "/"}) < 500
    http = {"version": "2.0", "requestContext": {"http": context, "stage": version}}
    assert attack.answer(http) < 500
    assert attack.bus.events == []


def test_ten_megabytes_are_refused_without_decoding_them() -> None:
    event = http_api(body=base64.b64encode(bytes(10 * MAX_BODY)).decode(), isBase64Encoded=True)
    attack = Attack()
    attack.answer(http_api())  # what is imported and cached at the first call
    tracemalloc.start()
    began = time.perf_counter()
    assert attack.answer(event) == 413
    took_s, (_, most) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MAX_BODY
    assert took_s < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_genuine_delivery_is_accepted_in_every_shape(shape: Any) -> None:
    body = encoded(ref="früh")
    attack = Attack()
    text = base64.b64encode(body).decode()
    event = shape(headers=signed(body), multiValueHeaders=None, body=text, isBase64Encoded=True)
    assert attack.answer(event) == 202
    assert [event.ref for event in attack.bus.events] == ["früh"]


def test_headers_given_twice_prove_nothing() -> None:
    twice = {name: [value] for name, value in with_token().items()}
    twice["x-gitlab-token"] = ["forged", *twice["x-gitlab-token"]]
    assert Attack(PLAIN).answer(rest_api(multiValueHeaders=twice)) == 401
    both = with_token() | {"X-Gitlab-Token": "forged"}
    assert Attack(PLAIN).answer(http_api(headers=both)) == 401


def hostile(body: bytes) -> tuple[int, list[JobEvent]]:
    """The answer to a proven body, and what was published."""
    attack = Attack(PLAIN)
    return attack.answer(http_api(headers=with_token(), body=body.decode())), attack.bus.events


def with_raw(name: str, value: str) -> bytes:
    """A job hook with one field of raw JSON."""
    rest = {key: value for key, value in job_hook().items() if key != name}
    return (json.dumps(rest)[:-1] + f', "{name}": {value}}}').encode()


DEEP = "[" * 100_000 + "]" * 100_000
RAW = {
    "deep": DEEP,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "integer of 10,000 digits": "9" * 10_000,
    "negative integer of 10,000 digits": "-" + "9" * 10_000,
    "exponent": "1e999999999",
    "NaN": "NaN",
    "infinity": "-Infinity",
    "half a character": r'"\ud800"',
    "a megabyte": f'"{"x" * 1_000_000}"',
}


@pytest.mark.parametrize(
    "field", ["build_id", "build_name", "ref", "build_queued_duration", "runner"]
)
@pytest.mark.parametrize("value", RAW)
def test_hostile_json_that_is_proven_is_a_bad_request(field: str, value: str) -> None:
    status, published = hostile(with_raw(field, RAW[value]))
    assert status in {400, 413}
    assert published == []


@pytest.mark.parametrize("value", RAW)
def test_hostile_json_in_an_unread_field_is_an_answer(value: str) -> None:
    status, _ = hostile(with_raw("commit", RAW[value]))
    assert status < 500


def test_the_last_of_two_equal_keys_counts_once() -> None:
    status, published = hostile(encoded()[:-1] + b', "build_id": 7}')
    assert (status, [event.job_id for event in published]) == (202, [7])


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "a\x1b[2Jb", "a\u202eb", "\U0001f600" * 2000])
def test_controls_in_a_name_reach_the_bus_as_they_are(text: str) -> None:
    status, published = hostile(encoded(build_name=text))
    assert (status, [event.job_name for event in published]) == (202, [text])
    assert JobEvent.from_detail(json.loads(json.dumps(published[0].to_detail()))) == published[0]


GENUINE = http_api(headers=signed(encoded()))


def test_a_flood_without_proof_is_limited_and_a_genuine_source_is_not() -> None:
    attack = Attack()
    flood = [attack.answer(http_api()) for _ in range(100)]
    assert flood == [401] * 30 + [429] * 70
    other = from_source("34.74.90.65", GENUINE)
    assert [attack.answer(other) for _ in range(500)] == [202] * 500
    assert attack.answer(http_api()) == 429


def test_a_limited_request_causes_no_reading_of_secrets() -> None:
    attack = Attack()
    for _ in range(30):
        attack.answer(http_api())
    read = len(attack.secrets.doubts)
    assert attack.answer(http_api()) == 429
    assert len(attack.secrets.doubts) == read


def test_no_header_names_another_source() -> None:
    attack = Attack()
    claims = ("x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip")
    statuses = [
        attack.answer(http_api(headers=headers() | dict.fromkeys(claims, f"198.51.100.{n}")))
        for n in range(40)
    ]
    assert statuses == [401] * 30 + [429] * 10
    allowed = Attack(door=Door(networks("34.74.90.64/28")))
    lie = http_api(headers=signed(encoded()) | dict.fromkeys(claims, "34.74.90.65"))
    assert allowed.answer(lie) == 403
    assert allowed.answer(balancer(headers=lie["headers"])) == 403


def test_many_sources_take_bounded_memory() -> None:
    door = Door()
    for number in range(20_000):
        door.admit(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", AT)
    assert door.sources == SOURCES


def test_only_allowed_networks_reach_the_proof() -> None:
    attack = Attack(door=Door(networks("34.74.90.64/28,34.74.226.0/24")))
    assert attack.answer(GENUINE) == 403
    assert attack.answer(from_source("34.74.226.77", GENUINE)) == 202
    assert attack.answer(from_source("34.74.226.77", http_api())) == 401


def test_a_proven_source_stays_unlimited_while_it_is_flooded_from_elsewhere() -> None:
    attack = Attack()
    assert attack.answer(from_source("34.74.90.65", GENUINE)) == 202
    for number in range(300):
        attack.answer(from_source(f"198.51.{number >> 8}.{number & 255}", http_api()))
    assert attack.answer(from_source("34.74.90.65", GENUINE)) == 202


def from_source(address: str, event: Event) -> Event:
    """The same request from another address, as the gateway saw it."""
    http = event["requestContext"]["http"] | {"sourceIp": address}
    return event | {"requestContext": event["requestContext"] | {"http": http}}
