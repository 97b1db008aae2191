"""Webhooks that GitLab switched off, or whose secrets it no longer uses."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.aws.hook_secrets import HookSecretStore
from adapters.ledger.hooks import HookRow
from fleet.errors import Refused, Transient
from fleet.hook_scope import HookScope
from fleet.webhook_secrets import WebhookSecrets, secret_id
from orchestrator.hooks import check_hooks_of
from orchestrator.settle import settle
from tests.fakes import FakeSecrets
from tests.unit.orchestrator.scene import AT, INSTANCE, PROJECT, Scene

HOOK = "/projects/7/hooks/5"


def hook(scope: str = "project:7", *, healthy: bool = True) -> HookRow:
    return HookRow(
        instance=INSTANCE,
        scope=HookScope.read(scope),
        hook_id=5,
        url="https://hook.example.com/webhook",
        verification="signing-token",
        healthy=healthy,
        detail=None if healthy else "GitLab switched it off",
    )


def as_gitlab_shows_it(status: str) -> dict[str, Any]:
    return {
        "id": 5,
        "url": "https://hook.example.com/webhook",
        "alert_status": status,
        "disabled_until": None,
        "job_events": True,
        "push_events": False,
        "enable_ssl_verification": True,
        "signing_token_present": True,
    }


def test_a_hook_that_gitlab_switched_off_is_switched_on_by_a_test() -> None:
    scene = Scene()
    scene.world.fleet.record_hook(hook())
    scene.gitlab.fake_api.answers = {
        HOOK: as_gitlab_shows_it("temporarily_disabled"),
        f"POST {HOOK}/test/job_events": {},
    }
    check_hooks_of(scene.world, PROJECT, set())
    assert scene.gitlab.fake_api.sent == [("POST", f"{HOOK}/test/job_events")]
    (row,) = scene.world.fleet.hooks(INSTANCE)
    assert (row.healthy, row.detail) == (False, "GitLab switched it off (temporarily_disabled)")
    scene.gitlab.fake_api.answers[HOOK] = as_gitlab_shows_it("executable")
    check_hooks_of(scene.world, PROJECT, set())
    (row,) = scene.world.fleet.hooks(INSTANCE)
    assert (row.healthy, row.detail) == (True, None)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "missing: run `runner-fleet webhook register` again"),
        (
            {
                HOOK: as_gitlab_shows_it("disabled"),
                f"POST {HOOK}/test/job_events": Refused("it answered 500", status=422),
            },
            "its test delivery failed: it answered 500",
        ),
    ],
)
def test_a_hook_that_cannot_be_healed_says_what_to_do(answers: dict[str, Any], says: str) -> None:
    scene = Scene()
    scene.world.fleet.record_hook(hook())
    scene.gitlab.fake_api.answers = answers
    check_hooks_of(scene.world, PROJECT, set())
    (row,) = scene.world.fleet.hooks(INSTANCE)
    assert not row.healthy
    assert says in (row.detail or "")


def test_a_group_s_hook_is_tested_once_in_a_pass() -> None:
    scene = Scene()
    scene.world.fleet.note_listed(INSTANCE, at=AT)
    for project in (7, 8, 9):
        scene.world.fleet.watch(INSTANCE, project, f"acme/p{project}", at=AT)
    scene.world.fleet.record_hook(hook("group:42", healthy=False))
    scene.gitlab.fake_api.answers = {
        "/groups/42/hooks/5": as_gitlab_shows_it("disabled"),
        "POST /groups/42/hooks/5/test/job_events": {},
    }
    assert scene.reconcile().projects == 3
    assert scene.gitlab.fake_api.sent == [("POST", "/groups/42/hooks/5/test/job_events")]


@pytest.mark.parametrize("where", ["/groups/42/hooks/5", "POST /groups/42/hooks/5/test/job_events"])
def test_a_hook_that_gitlab_does_not_answer_for_ends_no_pass(where: str) -> None:
    scene = Scene()
    scene.world.fleet.note_listed(INSTANCE, at=AT)
    for project in (7, 8):
        scene.world.fleet.watch(INSTANCE, project, f"acme/p{project}", at=AT)
    scene.world.fleet.record_hook(hook("group:42", healthy=False))
    scene.gitlab.fake_api.answers = {
        "/groups/42/hooks/5": as_gitlab_shows_it("disabled"),
        where: Transient(status=429, retry_after_s=30.0),
    }
    assert scene.reconcile().projects == 2


REFUSED = "GitLab's deliveries are refused (401)"
EVENTS = f"{HOOK}/events"


def listed(*statuses: str) -> list[dict[str, Any]]:
    """GitLab's list of deliveries, newest first."""
    return [
        {"response_status": status, "created_at": (AT - timedelta(minutes=n)).isoformat()}
        for n, status in enumerate(statuses)
    ]


@pytest.mark.parametrize(
    ("status", "deliveries", "detail", "tested"),
    [
        ("executable", listed("202", "401"), None, False),
        ("executable", listed("401", "202"), REFUSED, False),
        ("executable", [*listed("500"), {"response_status": "401"}, "nonsense"], None, False),
        ("executable", Refused("404", status=404), None, False),
        ("executable", Refused("403", status=403), None, False),
        ("temporarily_disabled", listed("401"), REFUSED, False),
        ("disabled", listed("503"), "GitLab switched it off (disabled)", True),
    ],
)
def test_gitlab_s_own_list_says_that_deliveries_are_refused(
    status: str, deliveries: object, detail: str | None, tested: bool
) -> None:
    scene = Scene()
    scene.world.fleet.record_hook(hook())
    scene.gitlab.fake_api.answers = {
        HOOK: as_gitlab_shows_it(status),
        EVENTS: deliveries,
        f"POST {HOOK}/test/job_events": {},
    }
    scene.reconcile()
    (row,) = scene.world.fleet.hooks(INSTANCE)
    assert (row.healthy, row.detail) == (detail is None, detail)
    assert bool(scene.gitlab.fake_api.sent) is tested


class TestRotation:
    """Secrets that GitLab no longer uses are forgotten, and no sooner."""

    NAME = "project:7@1f3a9c2b"
    OLD, NEW = (secret_id(secret) for secret in ("old", "new"))

    def scene(self) -> tuple[Scene, FakeSecrets]:
        """Our hook was rotated: two secrets are valid."""
        scene, secrets = Scene(), FakeSecrets()
        store = HookSecretStore(secrets, "fleet/webhook", scene.world.fleet, scene.clock)
        none = WebhookSecrets()
        store.change(self.NAME, WebhookSecrets(tokens=("new", "old")), before=none)
        scene.world = replace(scene.world, drop_older=store.drop_older)
        row = replace(hook(), name=self.NAME, secret_ids=(self.NEW, self.OLD))
        scene.world.fleet.record_hook(row)
        scene.gitlab.fake_api.answers = {HOOK: as_gitlab_shows_it("executable")}
        return scene, secrets

    @pytest.mark.parametrize("status", ["pending", "running", "success"])
    def test_when_gitlab_was_seen_to_use_the_new_one(self, status: str) -> None:
        scene, secrets = self.scene()
        scene.push(1)
        for used, remaining in ((self.OLD, ("new", "old")), (self.NEW, ("new",))):
            proof = {"hook": self.NAME, "hook_secret_id": used}
            if status == "pending":
                scene.route(1, **proof)
            else:
                event = scene.event(1, status, **proof)
                detail = {"detail-type": event.detail_type, "detail": event.to_detail()}
                settle(scene.world, detail, round_=0)
            for _ in range(2):
                scene.reconcile()
            assert secrets.webhooks["fleet/webhook"][self.NAME].tokens == remaining
            (row,) = scene.world.fleet.hooks(INSTANCE)
            assert row.secret_ids == tuple(map(secret_id, remaining))

    @pytest.mark.parametrize("hook_name", ["project:7@00000000", "group:7@1f3a9c2b", "nonsense"])
    def test_another_hook_s_delivery_says_nothing(self, hook_name: str) -> None:
        scene, secrets = self.scene()
        scene.push(1)
        scene.route(1, hook=hook_name, hook_secret_id=self.NEW)
        scene.reconcile()
        assert secrets.webhooks["fleet/webhook"][self.NAME].tokens == ("new", "old")

    def test_a_secret_that_cannot_be_written_ends_no_pass(self) -> None:
        scene, _ = self.scene()

        def fails(*_: object) -> WebhookSecrets:
            raise Refused(code="AccessDeniedException")

        scene.world.fleet.note_delivery(INSTANCE, self.NAME, self.NEW, at=scene.clock())
        scene.world = replace(scene.world, drop_older=fails)
        scene.reconcile()
        assert scene.world.fleet.hooks(INSTANCE)[0].secret_ids == (self.NEW, self.OLD)
        scene.world = replace(scene.world, drop_older=None)
        scene.reconcile()
        assert scene.world.fleet.hooks(INSTANCE)[0].healthy


def test_a_quiet_project_s_hook_that_was_registered_again_is_no_problem_any_more() -> None:
    scene = Scene()
    scene.world.fleet.record_hook(hook())
    scene.gitlab.fake_api.answers = {HOOK: as_gitlab_shows_it("executable"), EVENTS: listed("401")}
    scene.reconcile()
    assert not scene.world.fleet.hooks(INSTANCE)[0].healthy
    scene.world.fleet.record_hook(replace(hook(), registered_at=AT))
    scene.clock.go(60)
    scene.reconcile()
    assert scene.world.fleet.hooks(INSTANCE)[0].healthy
