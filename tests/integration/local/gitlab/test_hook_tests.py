"""Deliveries on request: tests and resends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gitlab.exceptions import GitlabHookTestError
from standardwebhooks import Webhook

from tests.integration.local.gitlab.hook_calls import (
    SIGNING,
    deliveries,
    hook,
    summaries,
)
from tests.integration.local.gitlab.receiver import Receiver, wait_until
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]


def test_a_successful_test_brings_a_disabled_hook_back(site: Site, receiver: Receiver) -> None:
    made = hook(site, receiver)
    site.call("POST", "/_sim/chaos", json={"hook_disabled": True})
    assert site.client.projects.get(1).hooks.get(made.id).alert_status == "disabled"
    site.start()
    made.test("job_events")
    received = receiver.wait_for_count(1)
    assert summaries(received) == [(2, "pending")]
    assert site.client.projects.get(1).hooks.get(made.id).alert_status == "executable"


def test_a_test_needs_something_to_show(site: Site, receiver: Receiver) -> None:
    project = site.client.projects.create({"name": "empty"})
    made = project.hooks.create({"url": receiver.url, "job_events": True})
    with pytest.raises(GitlabHookTestError, match="Ensure the project has CI jobs"):
        made.test("job_events")
    assert site.call("POST", "/projects/1/hooks/1/test/nonsense").status_code == 400


def test_a_resend_repeats_body_and_key(site: Site, receiver: Receiver) -> None:
    hook(site, receiver, signing_token=SIGNING)
    site.start()
    (first, *_) = receiver.wait_for_count(2)
    wait_until(lambda: len(deliveries(site)) == 2)
    events = site.call("GET", "/projects/1/hooks/1/events").json()
    oldest = min(events, key=lambda event: event["id"])
    assert oldest["request_headers"]["webhook-signature"] == "[REDACTED]"
    answer = site.call("POST", f"/projects/1/hooks/1/events/{oldest['id']}/resend")
    assert (answer.status_code, answer.json()) == (201, {"response_status": 200})
    again = receiver.wait_for_count(3)[2]
    assert again.raw == first.raw
    assert again.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert Webhook(SIGNING).verify(again.raw, again.headers) == first.body
    assert site.call("POST", "/projects/1/hooks/1/events/99/resend").status_code == 404
