"""A hook on a project, and what GitLab says of its deliveries."""

from __future__ import annotations

from typing import Any

from gitlab.v4.objects import ProjectHook

from tests.integration.local.gitlab.receiver import Received, Receiver
from tests.integration.local.gitlab.site import Site

SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
EMPTY = "gate: {script: [x], when: manual}\n"
TWENTY = "unit: {tags: [ec2], parallel: 20, script: [x]}\n"


def hook(site: Site, receiver: Receiver, **rest: Any) -> ProjectHook:
    """A job hook on a project whose only job so far is manual."""
    seeded = site.start(EMPTY)
    body = {"url": receiver.url, "job_events": True, "push_events": False, **rest}
    return site.project(seeded).hooks.create(body)


def summaries(received: list[Received]) -> list[tuple[int, str]]:
    return [delivery.summary for delivery in received]


def deliveries(site: Site) -> list[str]:
    hooks = site.call("GET", "/projects/1/hooks/1/events").json()
    return sorted(str(event["response_status"]) for event in hooks)


def failures(site: Site) -> int:
    return site.server.ask(lambda world: world.hooks.by_id[1].failures)
