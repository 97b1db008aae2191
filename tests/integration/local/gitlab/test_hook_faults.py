"""Deliveries that fail, and deliveries that are made to: pauses, drops, delays, order."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from local.gitlab.world import GitLabWorld
from tests.integration.local.gitlab.hook_calls import (
    TWENTY,
    deliveries,
    failures,
    hook,
    summaries,
)
from tests.integration.local.gitlab.receiver import Receiver, wait_until
from tests.integration.local.gitlab.site import Site

OpenSite = Callable[..., Site]


def test_a_redirect_counts_as_success_and_is_not_followed(site: Site, receiver: Receiver) -> None:
    made = hook(site, receiver)
    receiver.status = 302
    site.start()
    receiver.wait_for_count(2)
    wait_until(lambda: deliveries(site) == ["302", "302"])
    assert failures(site) == 0
    assert made.id == 1


@pytest.mark.parametrize("status", [400, 500])
def test_four_failures_in_a_row_pause_the_hook(site: Site, receiver: Receiver, status: int) -> None:
    made = hook(site, receiver)
    receiver.status = status
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
    site.call("POST", "/_sim/clock", json={"advance_s": 90})
    site.start()
    received = receiver.wait_for(lambda all_: all_[-1].summary == (5, "pending"))
    assert 4 not in [r.summary[0] for r in received[count:]], summaries(received)
    wait_until(lambda: failures(site) == 0)


def test_nobody_there_counts_as_a_failure(site: Site, receiver: Receiver) -> None:
    hook(site, receiver, url="http://127.0.0.1:9/nobody")
    site.start()
    wait_until(lambda: failures(site) == 2)
    assert deliveries(site) == ["internal error", "internal error"]


def test_a_receiver_that_never_answers_counts_as_a_failure(
    open_site: OpenSite, receiver: Receiver
) -> None:
    site = open_site(hook_timeout_s=0.2)
    hook(site, receiver)
    receiver.gate.clear()
    site.start()
    wait_until(lambda: failures(site) == 2)


def test_where_the_flag_is_off_hooks_are_never_disabled(
    open_site: OpenSite, receiver: Receiver
) -> None:
    site = open_site(disables_hooks=False)
    hook(site, receiver)
    receiver.status = 500
    for _ in range(4):
        site.start()
    receiver.wait_for_count(8)
    assert failures(site) == 0


def chaos(site: Site, **webhooks: Any) -> None:
    answer = site.call("POST", "/_sim/chaos", json={"webhooks": webhooks, "seed": 5})
    assert answer.status_code == 200, answer.text


def test_dropped_deliveries_never_arrive(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, drop=1.0)
    site.start()
    chaos(site, drop=0.0)
    site.start()
    received = receiver.wait_for_count(2)
    assert {job for job, _ in summaries(received)} == {3}


def test_duplicates_share_their_key(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, duplicate=1.0)
    site.start()
    received = receiver.wait_for_count(4)
    keys = [delivery.headers["idempotency-key"] for delivery in received]
    assert len(set(keys)) == 2
    assert summaries(received).count((2, "pending")) == 2


def test_delays_hold_deliveries_back(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, delay_s=[0.3, 0.3])
    started = time.monotonic()
    site.start()
    receiver.wait_for_count(2)
    assert 0.3 <= time.monotonic() - started < 3


def test_reordering_lets_later_events_pass(site: Site, receiver: Receiver) -> None:
    hook(site, receiver)
    chaos(site, reorder=0.5)
    site.start(TWENTY)
    received = receiver.wait_for_count(40)
    overtaken = [
        number
        for number in range(2, 22)
        if [status for job, status in summaries(received) if job == number]
        == ["pending", "created"]
    ]
    assert 0 < len(overtaken) < 20


def test_calls_above_the_rate_are_lost_until_the_next_minute(
    open_site: OpenSite, receiver: Receiver
) -> None:
    site = open_site(hook_calls_per_minute=3)
    hook(site, receiver)
    site.server.ask(to_the_start_of_a_minute)
    site.start(TWENTY)
    site.call("POST", "/_sim/clock", json={"advance_s": 60})
    site.start()
    received = receiver.wait_for(lambda all_: bool(all_) and all_[-1].summary == (22, "pending"))
    assert len(received) == 5


def to_the_start_of_a_minute(world: GitLabWorld) -> None:
    world.clock.advance(timedelta(seconds=60 - world.clock.now().second))


def test_a_deleted_hook_is_not_called(site: Site, receiver: Receiver) -> None:
    made = hook(site, receiver)
    with Receiver() as other:
        site.client.projects.get(1).hooks.create({"url": other.url, "job_events": True})
        made.delete()
        site.start()
        other.wait_for_count(2)
    assert receiver.received == []
