"""Webhooks as a receiver gets them: headers, order, failures, faults, resends."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from gitlab.v4.objects import ProjectHook
from standardwebhooks import Webhook

from local.gitlab.chaos import ChaosOrder, WebhookChaos
from local.gitlab.world import GitLabWorld
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import Received, Receiver, wait_until
from tests.integration.local.gitlab.site import Site
from tests.unit.webhook.deliveries import SIGNING

OpenSite = Callable[..., Site]
EMPTY = "gate: {script: [x], when: manual}\n"
TWENTY = "unit: {tags: [ec2], parallel: 20, script: [x]}\n"


def hook(
    site: Site, receiver: Receiver, *, path: str = "acme/platform/demo", **rest: Any
) -> ProjectHook:
    """A job hook on a project whose only job so far is manual."""
    seeded = site.start(EMPTY, path=path)
    body = {"url": receiver.url, "job_events": True, "push_events": False, **rest}
    return site.project(seeded).hooks.create(body)


def summaries(received: list[Received]) -> list[tuple[int, str]]:
    return [delivery.summary for delivery in received]


def responses(site: Site, number: int = 1) -> list[str]:
    """The statuses of the answers to a project's only hook."""
    events = site.call("GET", f"/projects/{number}/hooks/{number}/events").json()
    return sorted(str(event["response_status"]) for event in events)


def failures(site: Site, number: int = 1) -> int:
    """How many deliveries failed in a row."""
    return site.server.ask(lambda world: world.hooks.by_id[number].failures)


def assert_answered(site: Site, number: int, recorded: list[str], failed: int) -> None:
    wait_until(lambda: len(responses(site, number)) == len(recorded))
    assert (responses(site, number), failures(site, number)) == (recorded, failed)


def chaos(site: Site, **webhooks: Any) -> None:
    """Put faults of deliveries in force."""
    order = ChaosOrder(webhooks=WebhookChaos(**webhooks), seed=5)
    site.server.ask(lambda world: world.disturb(order))


def test_a_delivery_has_gitlabs_headers_a_signature_and_the_custom_headers(
    site: Site, receiver: Receiver
) -> None:
    custom = [{"key": "X-Team", "value": "blue"}, {"key": "X-Gitlab-Event", "value": "lie"}]
    hook(site, receiver, token="plain secret", signing_token=SIGNING, custom_headers=custom)
    site.start()
    first, second = receiver.wait_for_count(2)[:2]
    expected = {
        "content-type": "application/json",
        "user-agent": "GitLab/19.3.0",
        "x-gitlab-event": "Job Hook",
        "x-gitlab-token": "plain secret",
        "x-gitlab-instance": site.server.url,
        "x-team": "blue",
        "webhook-id": first.headers["idempotency-key"],
    }
    assert {name: first.headers[name] for name in expected} == expected
    for name in ("idempotency-key", "x-gitlab-webhook-uuid", "x-gitlab-event-uuid"):
        assert first.headers[name] != second.headers[name]
    assert Webhook(SIGNING).verify(first.raw, first.headers) == first.body


def test_a_resend_repeats_body_and_key_under_a_fresh_signature(
    site: Site, receiver: Receiver
) -> None:
    hook(site, receiver, signing_token=SIGNING)
    site.start()
    (first, *_) = receiver.wait_for_count(2)
    wait_until(lambda: len(responses(site)) == 2)
    answer = site.call("POST", "/projects/1/hooks/1/events/1/resend")
    assert (answer.status_code, answer.json()) == (201, {"response_status": 200})
    again = receiver.wait_for_count(3)[2]
    assert again.raw == first.raw
    assert again.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert Webhook(SIGNING).verify(again.raw, again.headers) == first.body
    assert site.call("POST", "/projects/1/hooks/1/events/99/resend").status_code == 404


def test_pipeline_events(site: Site, receiver: Receiver, machine: Machine) -> None:
    hook(site, receiver, job_events=False, pipeline_events=True)
    site.start()
    machine.finish("failed")
    received = receiver.wait_for_count(3)
    assert {r.headers["x-gitlab-event"] for r in received} == {"Pipeline Hook"}
    assert received[-1].body["object_attributes"]["status"] == "failed"


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


def test_a_deleted_hook_is_not_called(site: Site, receiver: Receiver) -> None:
    made = hook(site, receiver)
    with Receiver() as other:
        site.client.projects.get(1).hooks.create({"url": other.url, "job_events": True})
        made.delete()
        site.start()
        other.wait_for_count(2)
    assert receiver.received == []


# --- failures


def test_an_answer_beyond_redirects_or_none_is_a_failure(site: Site) -> None:
    for number, (status, recorded, failed) in enumerate(
        [
            (302, "302", 0),  # it is not followed
            (400, "400", 2),
            (500, "500", 2),
            (None, "internal error", 2),  # nothing listens there
        ],
        start=1,
    ):
        with Receiver() as receiver:
            path = f"acme/demo-{number}"
            url = receiver.url if status else "http://127.0.0.1:9/hook"
            hook(site, receiver, path=path, url=url)
            receiver.status = status or 200
            site.start(path=path)
            assert_answered(site, number, [recorded] * 2, failed)


def test_no_answer_in_time_is_a_failure(open_site: OpenSite, receiver: Receiver) -> None:
    site = open_site(hook_timeout_s=0.2)
    hook(site, receiver)
    receiver.gate.clear()
    site.start()
    assert_answered(site, 1, ["internal error"] * 2, 2)


def test_four_failures_in_a_row_pause_the_hook(site: Site, receiver: Receiver) -> None:
    made = hook(site, receiver)
    receiver.status = 500
    for _ in range(2):
        site.start()
    receiver.wait_for_count(4)
    wait_until(lambda: failures(site) >= 4)
    shown = site.client.projects.get(1).hooks.get(made.id)
    assert shown.alert_status == "temporarily_disabled"
    assert shown.disabled_until is not None
    count = len(receiver.received)
    receiver.status = 200
    site.start()
    site.server.ask(lambda world: world.clock.advance(timedelta(seconds=90)))
    site.start()
    received = receiver.wait_for(lambda all_: all_[-1].summary == (5, "pending"))
    assert 4 not in [r.summary[0] for r in received[count:]], summaries(received)
    wait_until(lambda: failures(site) == 0)


def test_without_the_feature_flag_hooks_are_never_disabled(
    open_site: OpenSite, receiver: Receiver
) -> None:
    site = open_site(disables_hooks=False)
    hook(site, receiver)
    receiver.status = 500
    for _ in range(4):
        site.start()
    receiver.wait_for_count(8)
    assert failures(site) == 0


# --- faults


def test_dropped_deliveries_never_arrive(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, drop=1.0)
    site.start()
    chaos(site, drop=0.0)
    site.start()
    received = receiver.wait_for_count(2)
    assert {job for job, _ in summaries(received)} == {3}


def test_duplicates_share_their_key_and_delays_hold_deliveries_back(
    site: Site, receiver: Receiver
) -> None:
    hook(site, receiver)
    chaos(site, duplicate=1.0, delay_s=(0.3, 0.3))
    started = time.monotonic()
    site.start()
    received = receiver.wait_for_count(4)
    assert 0.3 <= time.monotonic() - started < 3
    assert len({delivery.headers["idempotency-key"] for delivery in received}) == 2
    assert summaries(received).count((2, "pending")) == 2


def test_reordering_lets_later_events_pass(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, reorder=0.5)
    site.start(TWENTY)
    received = summaries(receiver.wait_for_count(40))
    first = dict(reversed(received))  # by job, the state that arrived first
    overtaken = [job for job, state in first.items() if state == "pending"]
    assert 0 < len(overtaken) < 20


def test_calls_above_the_rate_are_lost_until_the_next_minute(
    open_site: OpenSite, receiver: Receiver
) -> None:
    site = open_site(hook_calls_per_minute=3)
    hook(site, receiver)
    site.server.ask(to_the_start_of_a_minute)
    site.start(TWENTY)
    site.server.ask(lambda world: world.clock.advance(timedelta(seconds=60)))
    site.start()
    received = receiver.wait_for(lambda all_: bool(all_) and all_[-1].summary == (22, "pending"))
    assert len(received) == 5


def to_the_start_of_a_minute(world: GitLabWorld) -> None:
    world.clock.advance(timedelta(seconds=60 - world.clock.now().second))
