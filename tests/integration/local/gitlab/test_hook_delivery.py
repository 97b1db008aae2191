"""Deliveries as a receiver sees them: headers, order, independence."""

from __future__ import annotations

from collections.abc import Callable

from standardwebhooks import Webhook

from tests.integration.local.gitlab.hook_calls import (
    EMPTY,
    SIGNING,
    TWENTY,
    hook,
    summaries,
)
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import Receiver
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]


def test_a_jobs_life_is_told_in_order(site: Site, receiver: Receiver, machine: Machine) -> None:
    hook(site, receiver)
    site.start()
    machine.finish("success")
    received = receiver.wait_for_count(4)
    assert summaries(received) == [
        (2, "created"),
        (2, "pending"),
        (2, "running"),
        (2, "success"),
    ]
    assert received[0].body["project"]["path_with_namespace"] == "acme/platform/demo"


def test_headers(site: Site, receiver: Receiver) -> None:
    hook(site, receiver, token="plain secret")
    site.start()
    first, second = receiver.wait_for_count(2)[:2]
    assert first.headers["content-type"] == "application/json"
    assert first.headers["user-agent"] == "GitLab/19.3.0"
    assert first.headers["x-gitlab-event"] == "Job Hook"
    assert first.headers["x-gitlab-token"] == "plain secret"
    assert first.headers["x-gitlab-instance"] == site.server.url
    assert first.headers["idempotency-key"] == first.headers["webhook-id"]
    for name in ("idempotency-key", "x-gitlab-webhook-uuid", "x-gitlab-event-uuid"):
        assert first.headers[name] != second.headers[name]
    assert "webhook-signature" not in first.headers


def test_a_signature_that_the_standard_library_accepts(site: Site, receiver: Receiver) -> None:
    hook(site, receiver, signing_token=SIGNING)
    site.start()
    (delivery, *_) = receiver.wait_for_count(1)
    verified = Webhook(SIGNING).verify(delivery.raw, delivery.headers)
    assert verified == delivery.body
    assert "x-gitlab-token" not in delivery.headers


def test_older_gitlab_does_not_sign(open_site: OpenSite, receiver: Receiver) -> None:
    site = open_site(gitlab_version="18.11.0")
    made = hook(site, receiver, signing_token=SIGNING, token="plain")
    assert "signing_token_present" not in made.attributes
    site.start()
    (delivery, *_) = receiver.wait_for_count(1)
    assert not [name for name in delivery.headers if name.startswith("webhook-")]
    assert delivery.headers["x-gitlab-token"] == "plain"


def test_custom_headers_come_along_but_change_nothing_of_gitlabs(
    site: Site, receiver: Receiver
) -> None:
    headers = [{"key": "X-Team", "value": "blue"}, {"key": "X-Gitlab-Event", "value": "lie"}]
    made = hook(site, receiver, custom_headers=headers)
    assert made.custom_headers == [{"key": "X-Team"}, {"key": "X-Gitlab-Event"}]
    site.start()
    (delivery, *_) = receiver.wait_for_count(1)
    assert delivery.headers["x-team"] == "blue"
    assert delivery.headers["x-gitlab-event"] == "Job Hook"


def test_group_hooks_hear_of_all_projects_below(site: Site, receiver: Receiver) -> None:
    site.start(EMPTY, path="acme/platform/demo")
    site.start(EMPTY, path="other/thing")
    group = site.client.groups.get("acme")
    group.hooks.create({"url": receiver.url, "job_events": True, "push_events": False})
    site.start(path="other/thing")
    site.start(path="acme/platform/demo")
    received = receiver.wait_for_count(2)
    assert {r.body["project"]["path_with_namespace"] for r in received} == {"acme/platform/demo"}


def test_pipeline_events(site: Site, receiver: Receiver, machine: Machine) -> None:
    hook(site, receiver, job_events=False, pipeline_events=True)
    site.start()
    machine.finish("failed")
    received = receiver.wait_for_count(3)
    assert {r.headers["x-gitlab-event"] for r in received} == {"Pipeline Hook"}
    statuses = [r.body["object_attributes"]["status"] for r in received]
    assert statuses[-1] == "failed"


def test_a_slow_receiver_delays_neither_the_api_nor_other_hooks(
    site: Site, receiver: Receiver, machine: Machine
) -> None:
    hook(site, receiver)
    receiver.gate.clear()
    with Receiver() as quick:
        hook(site, quick)
        site.start()
        machine.finish("success")
        quick.wait_for_count(4)
    assert receiver.received == []
    receiver.gate.set()
    receiver.wait_for_count(4)


def test_many_jobs_keep_their_order_each(site: Site, receiver: Receiver, machine: Machine) -> None:
    hook(site, receiver)
    site.start(TWENTY)
    for _ in range(20):
        machine.finish("success")
    received = receiver.wait_for_count(80)
    for number in range(2, 22):
        states = [status for job, status in summaries(received) if job == number]
        assert states == ["created", "pending", "running", "success"]
