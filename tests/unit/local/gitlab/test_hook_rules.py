"""What GitLab promises of webhooks over REST; each test is one sentence.

Source: GitLab docs, "Webhooks", "Project webhooks API"; the calls go in without a server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from local.gitlab import actions
from local.gitlab.engine import JobEnd
from local.gitlab.model import Job, Role
from local.gitlab.options import Options
from local.gitlab.runners import Runners
from local.gitlab.states import ANNOUNCED, Status
from local.gitlab.sweep import sweep
from local.gitlab.webhooks.delivery import beside_custom
from local.gitlab.webhooks.hooks import Delivery, Hooks, alert_status, note_failure
from local.gitlab.webhooks.payload import JobMoment, Json, job_hook
from tests.unit.local.gitlab.desk import BASE, Desk
from tests.unit.local.gitlab.small_gitlab import NOON, SmallGitLab, job_spec, project, runner

HOOKS = "/projects/1/hooks"
NOBODY = "http://127.0.0.1:9/"  # no one listens there
SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

EVENTS = {
    *("job_events", "pipeline_events", "push_events", "tag_push_events", "issues_events"),
    *("confidential_issues_events", "merge_requests_events", "note_events"),
    *("confidential_note_events", "wiki_page_events", "deployment_events"),
    *("feature_flag_events", "releases_events", "milestone_events", "emoji_events"),
    *("resource_access_token_events", "resource_deploy_token_events"),
}
GROUP_EVENTS = {"member_events", "subgroup_events", "project_events"}
BESIDE_EVENTS = {
    *("id", "url", "name", "description", "created_at", "enable_ssl_verification"),
    *("push_events_branch_filter", "branch_filter_strategy", "custom_webhook_template"),
    *("repository_update_events", "alert_status", "disabled_until", "url_variables"),
    *("custom_headers", "token_present", "signing_token_present"),
}

# The example of the documentation, as the shape that every Job Hook has: a name stands for the
# types its value may have.
ANY_TEXT, MAYBE_TEXT, MAYBE_NUMBER = (str,), (str, type(None)), (float, type(None))
SHAPE: dict[str, Any] = {
    **dict.fromkeys(("object_kind", "ref", "before_sha", "sha"), ANY_TEXT),
    **dict.fromkeys(("build_name", "build_stage", "build_status", "build_created_at"), ANY_TEXT),
    **dict.fromkeys(("build_created_at_iso", "project_name"), ANY_TEXT),
    **dict.fromkeys(("build_started_at", "build_finished_at"), MAYBE_TEXT),
    **dict.fromkeys(("build_started_at_iso", "build_finished_at_iso"), MAYBE_TEXT),
    **dict.fromkeys(("build_duration", "build_queued_duration"), MAYBE_NUMBER),
    **dict.fromkeys(("retries_count", "build_id", "pipeline_id", "project_id"), (int,)),
    **dict.fromkeys(("tag", "build_allow_failure"), (bool,)),
    "build_failure_reason": MAYBE_TEXT,
    "user": {"id": (int,), **dict.fromkeys(("name", "username", "avatar_url", "email"), ANY_TEXT)},
    "commit": {
        "id": (int,),
        "name": MAYBE_TEXT,
        **dict.fromkeys(("sha", "message", "author_name", "author_email"), ANY_TEXT),
        **dict.fromkeys(("author_url", "status"), ANY_TEXT),
        "duration": (int, type(None)),
        **dict.fromkeys(("started_at", "finished_at"), MAYBE_TEXT),
        **dict.fromkeys(("started_at_iso", "finished_at_iso"), MAYBE_TEXT),
    },
    "repository": {
        **dict.fromkeys(("name", "url", "description", "homepage"), ANY_TEXT),
        **dict.fromkeys(("git_http_url", "git_ssh_url"), ANY_TEXT),
        "visibility_level": (int,),
    },
    "project": {
        "id": (int,),
        **dict.fromkeys(("name", "description", "web_url", "git_ssh_url"), ANY_TEXT),
        **dict.fromkeys(("git_http_url", "namespace", "path_with_namespace"), ANY_TEXT),
        "default_branch": ANY_TEXT,
        **dict.fromkeys(("avatar_url", "ci_config_path"), MAYBE_TEXT),
        "visibility_level": (int,),
    },
}
RUNNER = {
    "id": (int,),
    **dict.fromkeys(("description", "runner_type"), ANY_TEXT),
    **dict.fromkeys(("active", "is_shared"), (bool,)),
    "tags": (list,),
}


def check(found: Json, shape: dict[str, Any], at: str = "") -> None:
    """The keys are these and no others, each with a value of one of its types."""
    assert set(found) == set(shape), at
    for key, wanted in shape.items():
        if isinstance(wanted, dict):
            check(found[key], wanted, f"{at}.{key}")
        else:
            assert type(found[key]) in wanted, f"{at}.{key}"


def body_of(site: SmallGitLab, job: Job) -> Json:
    """The hook for the job as it is now, as it arrives: through JSON."""
    at = site.clock.now()
    return dict(json.loads(json.dumps(job_hook(JobMoment.of(job, at), base_url=BASE, at=at))))


# --- the body


def lives(site: SmallGitLab) -> Iterator[tuple[Job, bool]]:
    """A job in each state that is told, and whether it has a runner."""
    pipeline = site.start(job_spec("unit"), job_spec("held", when="manual", allow_failure=True))
    job = pipeline.latest["unit"]
    yield pipeline.latest["held"], False
    yield job, False
    site.clock.advance(timedelta(seconds=3))
    site.run(pipeline, "unit")
    yield job, True
    site.clock.advance(timedelta(seconds=7))
    site.engine.finish(job, JobEnd(status=Status.FAILED, failure_reason="script_failure"))
    yield job, True


def test_every_event_has_the_documented_keys_and_types() -> None:
    seen = []
    site = SmallGitLab()
    for job, has_runner in lives(site):
        body = body_of(site, job)
        taken = body["runner"]
        check(
            {k: v for k, v in body.items() if k not in ("runner", "environment")},
            SHAPE,
        )
        assert (taken is not None) is has_runner
        if taken is not None:
            check(taken, RUNNER)
        assert body["environment"] is None
        seen.append(body["build_status"])
    assert seen == ["manual", "pending", "running", "failed"]


def test_durations_are_seconds_and_null_until_they_are_known() -> None:
    site = SmallGitLab()
    told = [
        (body["build_queued_duration"], body["build_duration"], body["commit"]["duration"])
        for body in (body_of(site, job) for job, _ in lives(site))
    ]
    assert told == [(None, None, None), (0.0, None, None), (3.0, 0.0, None), (3.0, 7.0, 7)]


def test_the_commit_names_its_author_and_the_pipelines_times() -> None:
    site = SmallGitLab()
    *_, (job, _) = lives(site)
    told = body_of(site, job)["commit"]
    assert (told["author_name"], told["author_email"]) == ("Dana Roe", "dana@example.com")
    assert told["message"] == "Speed up tests\n"
    assert (told["started_at"], told["finished_at"]) == (
        "2026-08-20 12:00:03 UTC",
        "2026-08-20 12:00:10 UTC",
    )
    assert told["finished_at_iso"] == "2026-08-20T12:00:10Z"
    assert told["status"] == "failed"


@pytest.mark.parametrize(("is_public", "level"), [(True, 20), (False, 0)])
def test_a_public_project_is_level_20(is_public: bool, level: int) -> None:
    site = SmallGitLab()
    site.project.is_public = is_public
    body = body_of(site, site.start(job_spec("unit")).latest["unit"])
    assert body["project"]["visibility_level"] == level
    assert body["repository"]["visibility_level"] == level


def test_an_address_over_ssh_has_no_port() -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit")).latest["unit"]
    body = job_hook(JobMoment.of(job, NOON), base_url="http://host:8929", at=NOON)
    assert body["project"]["git_ssh_url"] == "git@host:acme/demo.git"
    assert body["repository"]["git_http_url"] == "http://host:8929/acme/demo.git"


@pytest.mark.parametrize(
    ("kind", "paused", "is_shared", "active"),
    [("instance_type", False, True, True), ("group_type", True, False, False)],
)
def test_the_runner_tells_its_kind_and_its_own_tags(
    kind: str, paused: bool, is_shared: bool, active: bool
) -> None:
    site = SmallGitLab()
    owner = site.project.group if kind == "group_type" else None
    by = runner("small", "aws", number=31, kind=kind, owner=owner, description="aws-small")
    site.start(job_spec("unit", tags=("aws",)))
    job = site.take(by)
    assert job is not None
    by.paused = paused
    assert body_of(site, job)["runner"] == {
        "id": 31,
        "description": "aws-small",
        "runner_type": kind,
        "active": active,
        "is_shared": is_shared,
        "tags": ["aws", "small"],
    }


@pytest.mark.parametrize(
    ("status", "is_told"),
    [
        *((status, True) for status in ("created", "pending", "running")),
        *((status, True) for status in ("success", "failed", "canceled")),
        *((status, False) for status in ("preparing", "manual", "scheduled", "skipped")),
        *((status, False) for status in ("waiting_for_resource", "canceling")),
    ],
)
def test_six_states_send_an_event_and_the_others_are_silent(status: str, is_told: bool) -> None:
    assert (Status(status) in ANNOUNCED) is is_told


def test_a_job_dropped_without_a_runner_is_a_failed_event_with_runner_null() -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit")).latest["unit"]
    site.clock.advance(timedelta(hours=1, seconds=1))
    sweep(site.engine, Runners(site.engine.options))
    body = body_of(site, job)
    assert site.ear.heard_of("unit") == ["created", "pending", "failed"]
    assert (body["build_status"], body["runner"]) == ("failed", None)
    assert body["build_failure_reason"] == "stuck_pending_no_matching_runners"
    assert body["build_started_at"] is None


def test_a_manual_job_is_told_of_when_it_is_played() -> None:
    site = SmallGitLab()
    job = site.start(job_spec("unit", when="manual")).latest["unit"]
    assert site.ear.heard_of("unit") == ["created"]
    actions.play(site.engine, job, user=site.user)
    assert site.ear.heard_of("unit") == ["created", "pending"]


# --- records


def make(desk: Desk, **rest: Any) -> Any:
    return desk.call("POST", HOOKS, json={"url": NOBODY, **rest})


def test_a_hook_shows_every_attribute_and_none_of_its_secrets(desk: Desk) -> None:
    made = make(desk, token="plain", signing_token=SIGNING, job_events=True)
    assert made.status_code == 201
    assert set(made.json()) == EVENTS | BESIDE_EVENTS | {"project_id"}
    assert made.json()["token_present"] is made.json()["signing_token_present"] is True
    assert "plain" not in made.text
    assert SIGNING not in made.text


def test_a_group_hook_has_three_events_more(desk: Desk) -> None:
    made = desk.answer("POST", "/groups/1/hooks", json={"url": NOBODY})
    assert set(made) == EVENTS | GROUP_EVENTS | BESIDE_EVENTS | {"group_id"}
    assert made["group_id"] == 1


def test_push_events_default_to_true_and_nothing_else_does(desk: Desk) -> None:
    made = make(desk).json()
    assert {name for name in EVENTS if made[name]} == {"push_events"}
    assert (made["enable_ssl_verification"], made["alert_status"]) == (True, "executable")


@pytest.mark.parametrize("said", [True, "true", "1", "t", "yes", "on"])
def test_an_event_is_switched_on_in_any_spelling(desk: Desk, said: object) -> None:
    assert make(desk, job_events=said).json()["job_events"] is True


@pytest.mark.parametrize("said", [False, "false", "0", "no", None])
def test_an_event_is_switched_off_in_any_spelling(desk: Desk, said: object) -> None:
    made = make(desk, push_events=said).json()
    assert made["push_events"] is False


def test_an_update_needs_the_url_and_leaves_what_it_does_not_name(desk: Desk) -> None:
    make(desk, token="plain", name="fleet", job_events=True)
    assert desk.call("PUT", f"{HOOKS}/1", json={"push_events": False}).status_code == 400
    told = {"url": "http://other/", "push_events": False, "description": "ours"}
    changed = desk.answer("PUT", f"{HOOKS}/1", json=told)
    assert (changed["url"], changed["push_events"]) == ("http://other/", False)
    assert (changed["name"], changed["description"]) == ("fleet", "ours")
    assert changed["job_events"] is changed["token_present"] is True


def test_a_secret_is_taken_away_by_an_empty_one(desk: Desk) -> None:
    make(desk, token="plain", signing_token=SIGNING)
    told = {"url": NOBODY, "token": "", "signing_token": ""}
    changed = desk.answer("PUT", f"{HOOKS}/1", json=told)
    assert changed["token_present"] is changed["signing_token_present"] is False


@pytest.mark.parametrize(
    "token", ["AAEC", "whsec_", "whsec_AAEC", "whsec_not base64", f"{SIGNING}AAAA"]
)
def test_a_signing_token_is_32_bytes_in_base64_or_no_hook_is_made(desk: Desk, token: str) -> None:
    assert make(desk, signing_token=token).status_code == 422
    assert desk.answer("GET", HOOKS) == []


def test_a_hook_takes_twenty_custom_headers_and_shows_their_keys(desk: Desk) -> None:
    headers = [{"key": f"X-{n}", "value": "v"} for n in range(21)]
    assert make(desk, custom_headers=headers).status_code == 422
    made = make(desk, custom_headers=headers[:20])
    assert made.json()["custom_headers"] == [{"key": f"X-{n}"} for n in range(20)]


def test_a_custom_header_cannot_override_gitlabs_in_whatever_case() -> None:
    own = {"X-Gitlab-Event": "Job Hook", "webhook-id": "1"}
    custom = {"x-gitlab-event": "lie", "Webhook-Id": "2", "X-Team": "blue"}
    assert beside_custom(custom, own) == {**own, "X-Team": "blue"}


@pytest.mark.parametrize("role", [Role.REPORTER, Role.DEVELOPER])
def test_a_project_hook_needs_a_maintainer_and_a_group_hook_an_owner(
    desk: Desk, role: Role
) -> None:
    _, token = desk.person(role)
    assert desk.call("GET", HOOKS, token=token).status_code == 403
    keeper, allowed = desk.person(Role.MAINTAINER)
    assert desk.call("POST", HOOKS, token=allowed, json={"url": NOBODY}).status_code == 201
    desk.group.members[keeper.id] = Role.MAINTAINER
    assert desk.call("GET", "/groups/1/hooks", token=allowed).status_code == 403
    desk.group.members[keeper.id] = Role.OWNER
    assert desk.call("GET", "/groups/1/hooks", token=allowed).status_code == 200


def test_a_deleted_hook_is_gone(desk: Desk) -> None:
    make(desk)
    assert desk.call("DELETE", f"{HOOKS}/1").status_code == 204
    assert desk.call("GET", f"{HOOKS}/1").status_code == 404
    assert make(desk).json()["id"] == 2


# --- tests and resends


def test_a_test_of_a_receiver_that_is_not_there_is_422_and_a_failure(desk: Desk) -> None:
    make(desk)
    desk.start()
    assert desk.call("POST", f"{HOOKS}/1/test/job_events").status_code == 422
    (told,) = desk.answer("GET", f"{HOOKS}/1/events")
    assert (told["trigger"], told["response_status"]) == ("job_events", "internal error")
    assert desk.world.hooks.by_id[1].failures == 1


def test_a_user_may_test_five_times_a_minute_whichever_the_hook(desk: Desk) -> None:
    _, other = desk.person(Role.MAINTAINER)
    paths = [f"{HOOKS}/{make(desk).json()['id']}/test/job_events" for _ in range(6)]
    desk.start()
    assert [desk.call("POST", path).status_code for path in paths] == [422] * 5 + [429]
    assert desk.call("POST", paths[0], token=other).status_code == 422
    desk.world.clock.advance(timedelta(minutes=1))
    assert desk.call("POST", paths[5]).status_code == 422


def test_resends_are_counted_by_hook_and_beside_tests(desk: Desk) -> None:
    desk.start()
    for number in (1, 2):
        make(desk)
        desk.call("POST", f"{HOOKS}/{number}/test/job_events")
    again = [f"{HOOKS}/{number}/events/{number}/resend" for number in (1, 2)]
    assert [desk.call("POST", again[0]).status_code for _ in range(6)] == [201] * 5 + [429]
    assert desk.call("POST", again[1]).status_code == 201


def test_the_history_of_deliveries_goes_back_two_days(desk: Desk) -> None:
    make(desk)
    desk.start()
    desk.call("POST", f"{HOOKS}/1/test/job_events")
    desk.world.clock.advance(timedelta(days=2) - timedelta(minutes=1))
    desk.call("POST", f"{HOOKS}/1/test/job_events")
    assert [event["id"] for event in desk.answer("GET", f"{HOOKS}/1/events")] == [2, 1]
    desk.world.clock.advance(timedelta(minutes=2))
    assert [event["id"] for event in desk.answer("GET", f"{HOOKS}/1/events")] == [2]
    assert desk.call("POST", f"{HOOKS}/1/events/1/resend").status_code == 404


def test_a_resend_carries_the_secrets_of_today(desk: Desk) -> None:
    make(desk, token="plain", signing_token=SIGNING)
    desk.start()
    desk.call("POST", f"{HOOKS}/1/test/job_events")
    hook = desk.world.hooks.by_id[1]
    hook.token = hook.signing_token = None
    desk.call("POST", f"{HOOKS}/1/events/1/resend")
    first, again = hook.deliveries
    assert {"X-Gitlab-Token", "webhook-signature"} <= first.request_headers.keys()
    assert not {"X-Gitlab-Token", "webhook-signature"} & again.request_headers.keys()
    assert again.body == first.body
    for name in ("Idempotency-Key", "webhook-id", "X-Gitlab-Event-UUID"):
        assert again.request_headers[name] == first.request_headers[name]


def test_a_webhook_uuid_is_another_with_every_request(desk: Desk) -> None:
    make(desk)
    desk.start()
    for _ in range(2):
        desk.call("POST", f"{HOOKS}/1/test/job_events")
    sent = [one.request_headers for one in desk.world.hooks.by_id[1].deliveries]
    for name in ("X-Gitlab-Webhook-UUID", "Idempotency-Key"):
        assert sent[0][name] != sent[1][name]
    assert all(headers["webhook-id"] == headers["Idempotency-Key"] for headers in sent)


@pytest.mark.parametrize("trigger", ["job_events", "pipeline_events"])
def test_a_group_hook_is_tested_with_the_newest_job_below(desk: Desk, trigger: str) -> None:
    desk.answer("POST", "/groups/1/hooks", json={"url": NOBODY})
    path = f"/groups/1/hooks/1/test/{trigger}"
    nothing = desk.call("POST", path)
    assert (nothing.status_code, nothing.json()["message"]) == (
        422,
        "Ensure the project has CI jobs.",
    )
    desk.start()
    desk.start()
    desk.call("POST", path)
    (sent,) = desk.world.hooks.by_id[1].deliveries
    assert b'"iid":2' in sent.body or b'"build_id":2' in sent.body


# --- switching off


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(3, 0), (4, 1), (5, 2), (6, 4), (10, 64), (14, 1024), (15, 1440), (39, 1440)],
)
def test_the_fourth_failure_is_a_minute_and_each_further_doubles_to_a_day(
    failures: int, minutes: int
) -> None:
    hook = Hooks().add(project(), NOBODY, at=NOON)
    for _ in range(failures):
        note_failure(hook, NOON)
    for minute in (minutes - 1, minutes):
        at = NOON + timedelta(minutes=minute)
        expected = "temporarily_disabled" if minute < minutes and failures > 3 else "executable"
        assert alert_status(hook, at) == expected


def test_no_more_than_five_hundred_deliveries_are_kept() -> None:
    hook = Hooks().add(project(), NOBODY, at=NOON)
    for number in range(501):
        hook.deliveries.append(
            Delivery(
                id=number,
                trigger="job_events",
                request_headers={},
                body=b"{}",
                status=200,
                answer="",
                took_s=0.0,
                sent_at=NOON,
            )
        )
    assert [one.id for one in hook.history(NOON)] == list(range(1, 501))


def test_older_gitlab_ignores_a_signing_token_and_does_not_speak_of_it(tmp_path: Path) -> None:
    with Desk(tmp_path, Options(gitlab_version="18.11.0")) as desk:
        made = make(desk, signing_token="nonsense")
        assert made.status_code == 201
        assert "signing_token_present" not in made.json()
        desk.start()
        desk.call("POST", f"{HOOKS}/1/test/job_events")
        (sent,) = desk.world.hooks.by_id[1].deliveries
        names = {name.lower() for name in sent.request_headers}
        assert not {"webhook-id", "webhook-timestamp", "webhook-signature"} & names
        assert "idempotency-key" in names


def test_an_attribute_that_is_null_is_left_as_it_was(desk: Desk) -> None:
    make(desk, name="fleet", enable_ssl_verification=False)
    told = {"url": NOBODY, "name": None, "enable_ssl_verification": None}
    changed = desk.answer("PUT", f"{HOOKS}/1", json=told)
    assert (changed["name"], changed["enable_ssl_verification"]) == ("fleet", False)
