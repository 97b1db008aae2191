import base64
import json
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fleet.errors import BadDelivery
from fleet.job_event import DETAIL_TYPES, JobEvent
from fleet.model import JobStatus, rank
from fleet.steps import StepName
from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets, secret_id
from tests.unit.webhook.deliveries import (
    AT,
    HOOK,
    OTHER_SIGNING,
    PLAIN,
    RUNNER,
    SIGNED,
    SIGNING,
    TOKEN,
    VECTOR_BODY,
    VECTOR_ID,
    VECTOR_SIGNATURE,
    encoded,
    headers,
    job_hook,
    only,
    seconds,
    signed,
    with_token,
    without,
)
from webhook.delivery import MAX_BODY, Ignored, IgnoreReason, read_delivery

GIT = "https://git.example.com"
GOOD = signed(encoded())
BOTH = only(signing=(SIGNING,), tokens=(TOKEN,))
ROTATING = only(signing=(OTHER_SIGNING, SIGNING))


def read(
    body: bytes, request_headers: dict[str, str] | None = None, secrets: AllWebhookSecrets = PLAIN
) -> JobEvent:
    """The event in a delivery that its token proves, or that is given with its proof."""
    event = read_delivery(request_headers or with_token(), body, secrets=secrets, at=AT)
    assert isinstance(event, JobEvent)
    return event


def refusal(
    request_headers: dict[str, str],
    body: bytes,
    secrets: AllWebhookSecrets = PLAIN,
    at: datetime = AT,
) -> BadDelivery:
    """Why a delivery is turned away."""
    with pytest.raises(BadDelivery) as caught:
        read_delivery(request_headers, body, secrets=secrets, at=at)
    return caught.value


class TestProof:
    """Who may deliver."""

    def test_published_vector_is_authentic_so_the_reading_begins(self) -> None:
        request_headers = headers(webhook_signature=VECTOR_SIGNATURE)

        # a name is missing, not a proof
        assert refusal(request_headers, VECTOR_BODY, SIGNED).status == 400

    @pytest.mark.parametrize(
        ("request_headers", "secrets"),
        [
            pytest.param(GOOD, SIGNED, id="signed"),
            pytest.param(GOOD, BOTH, id="signed, tokens are there too"),
            pytest.param(GOOD, ROTATING, id="signed with the one being rotated out"),
            pytest.param(signed(encoded(), secret=OTHER_SIGNING), ROTATING, id="with the newest"),
            pytest.param(
                GOOD | {"webhook-signature": f"v1a,x v1,AAAA {GOOD['webhook-signature']}"},
                SIGNED,
                id="one of several signatures",
            ),
            pytest.param(with_token(), PLAIN, id="token"),
            pytest.param(with_token(), only(tokens=("newer", TOKEN)), id="token rotated out"),
            pytest.param(GOOD | with_token(), PLAIN, id="signs already, token still counts"),
        ],
    )
    def test_accepted(self, request_headers: dict[str, str], secrets: AllWebhookSecrets) -> None:
        assert read(encoded(), request_headers, secrets).job_id == 90210

    @pytest.mark.parametrize(
        ("request_headers", "secrets"),
        [
            pytest.param(headers(), {}, id="nothing configured fails closed"),
            pytest.param(with_token(""), only(), id="empty token, nothing configured"),
            pytest.param(headers(), PLAIN, id="no token"),
            pytest.param(with_token("wrong"), PLAIN, id="wrong token"),
            pytest.param(with_token("tök"), PLAIN, id="token beyond ASCII"),
            pytest.param(with_token(), BOTH, id="downgrade to a good token"),
            pytest.param(with_token(), SIGNED, id="signature missing"),
            pytest.param(signed(encoded(), secret=OTHER_SIGNING), SIGNED, id="another key"),
            pytest.param(signed(b"{}"), SIGNED, id="signature of another body"),
            pytest.param(GOOD | {"webhook-id": "another"}, SIGNED, id="id not as signed"),
            pytest.param(GOOD | {"webhook-timestamp": "1786000001"}, SIGNED, id="another time"),
            pytest.param(signed(encoded(), webhook_id=None), SIGNED, id="no id"),
            pytest.param(GOOD | {"webhook-timestamp": ""}, SIGNED, id="no time"),
            pytest.param(GOOD | {"webhook-timestamp": "١٧٨٦٠٠٠٠٠٠"}, SIGNED, id="odd digits"),
            pytest.param(GOOD | {"webhook-timestamp": "9" * 40}, SIGNED, id="far too late"),
            pytest.param(GOOD | {"webhook-signature": ""}, SIGNED, id="empty"),
            pytest.param(GOOD | {"webhook-signature": "v1,"}, SIGNED, id="no value"),
            pytest.param(GOOD | {"webhook-signature": "ÿ,ÿ"}, SIGNED, id="no ASCII"),
        ],
    )
    def test_refused_alike_whatever_is_wrong(
        self, request_headers: dict[str, str], secrets: AllWebhookSecrets
    ) -> None:
        error = refusal(request_headers, encoded(), secrets)
        assert (error.status, str(error), error.facts) == (401, "not authorized", {})

    @pytest.mark.parametrize(
        ("off_s", "is_stale"), [(-301, True), (-300, False), (0, False), (300, False), (301, True)]
    )
    def test_clocks_may_differ_by_five_minutes(self, off_s: int, *, is_stale: bool) -> None:
        request_headers = signed(encoded(), at=AT + seconds(off_s))
        if is_stale:
            assert refusal(request_headers, encoded(), SIGNED).status == 401
        else:
            assert read(encoded(), request_headers, SIGNED)

    @pytest.mark.parametrize("secret", ["whsec_", "whsec_a", "whsec_\u2026", "=", "whsec_===="])
    def test_a_malformed_stored_secret_proves_no_delivery(self, secret: str) -> None:
        assert refusal(GOOD, encoded(), only(signing=(secret,))).status == 401

    @pytest.mark.parametrize(
        ("name", "secrets"),
        [("x-gitlab-token", PLAIN), ("webhook-signature", SIGNED), ("webhook-id", SIGNED)],
    )
    def test_half_a_character_is_no_proof(self, name: str, secrets: AllWebhookSecrets) -> None:
        request_headers = GOOD | {name: "\ud800"}
        assert refusal(request_headers, encoded(), secrets).status == 401

    def test_bytes_that_are_no_text_cannot_be_signed(self) -> None:
        assert refusal(signed(b"{}"), b'{"a":"\xff"}', SIGNED).status == 401

    def test_each_webhook_is_proven_by_its_own_secrets(self) -> None:
        signing = [f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in range(8)]
        secrets = {
            f"project:77@{n}": WebhookSecrets(signing=(signing[n], signing[n + 1]))
            for n in range(0, 8, 2)
        } | {"group:42@0": WebhookSecrets(tokens=(TOKEN,))}
        for number, secret in enumerate(signing):
            event = read(encoded(), signed(encoded(), secret=secret), secrets)
            hook = f"project:77@{number // 2 * 2}"
            assert (event.hook, event.hook_secret_id) == (hook, secret_id(secret))
        event = read(encoded(), secrets=secrets)
        assert (event.hook, event.hook_secret_id) == ("group:42@0", secret_id(TOKEN))

    def test_the_proof_is_named_and_never_shown(self) -> None:
        event = read(encoded(), GOOD, ROTATING)
        assert (event.hook, event.hook_secret_id) == (HOOK, secret_id(SIGNING))
        assert SIGNING.removeprefix("whsec_")[:8] not in json.dumps(event.to_detail())


class TestOrderOfChecks:
    """What is looked at before what: nothing of an unproven body is parsed."""

    def test_size_comes_before_everything(self) -> None:
        assert refusal({}, b"x" * (MAX_BODY + 1)).status == 413

    def test_a_body_of_exactly_the_limit_is_not_too_large(self) -> None:
        assert refusal(with_token(), b" " * MAX_BODY).status == 400

    @pytest.mark.parametrize(
        "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded"]
    )
    def test_media_type_comes_before_proof(self, media_type: str | None) -> None:
        assert refusal(headers(content_type=media_type), b"").status == 415

    @pytest.mark.parametrize(
        "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x"]
    )
    def test_media_type_may_have_parameters(self, media_type: str) -> None:
        assert read(encoded(), with_token(content_type=media_type)).job_id == 90210

    def test_proof_comes_before_parsing(self) -> None:
        assert refusal(headers(), b"no json at all").status == 401

    @pytest.mark.parametrize(
        ("event", "about"),
        [("Pipeline Hook", "Pipeline Hook"), ("Push Hook", "Push Hook"), (None, "")],
    )
    def test_other_events_are_ignored_unread(self, event: str | None, about: str) -> None:
        request_headers = with_token(x_gitlab_event=event)
        ignored = read_delivery(request_headers, b"no json", secrets=PLAIN, at=AT)
        assert ignored == Ignored(reason=IgnoreReason.OTHER_EVENT, about=about)

    def test_other_events_must_be_proven_too(self) -> None:
        assert refusal(headers(x_gitlab_event="Push Hook"), b"{}").status == 401


class TestReading:
    """What is made of a body."""

    def test_a_pending_job(self) -> None:
        assert read(encoded()) == JobEvent(
            instance="gitlab.example.com",
            project_id=77,
            project_path="acme/platform/demo",
            job_id=90210,
            job_name="unit-tests",
            stage="test",
            pipeline_id=5512,
            ref="main",
            status="pending",
            retries_count=0,
            created_at=datetime(2026, 8, 20, 9, 15, 1, tzinfo=UTC),
            queued_s=0.41,
            delivery_id=VECTOR_ID,
            received_at=AT,
            hook=HOOK,
            hook_secret_id=secret_id(TOKEN),
        )

    def test_a_failed_job(self) -> None:
        event = read(
            encoded(
                build_status="failed",
                build_failure_reason="script_failure",
                build_started_at="2026-08-20T09:15:30.250Z",
                build_finished_at="2026-08-20 11:16:00 +0200",
                build_allow_failure=True,
                retries_count=2,
                runner=RUNNER,
            )
        )
        assert event.started_at == datetime(2026, 8, 20, 9, 15, 30, 250_000, tzinfo=UTC)
        assert event.finished_at == datetime(2026, 8, 20, 9, 16, tzinfo=UTC)
        assert (event.runner_id, event.runner_description) == (31, "rf-small-0123456789ab")
        assert (event.failure_reason, event.allow_failure) == ("script_failure", True)
        assert event.retries_count == 2

    @pytest.mark.parametrize(
        "written",
        [
            "2026-03-29 00:30:00 UTC",
            "2026-03-29T00:30:00Z",
            "2026-03-29T00:30:00.000+00:00",
            "2026-03-29T02:30:00.000+02:00",
            "2026-03-29 02:30:00 +0200",
            "2026-03-28 17:30:00 -0700",
            "2026-03-29 06:15:00.000000 +05:45",
            "2026-03-29T02:30:00+02",
        ],
    )
    def test_every_way_of_writing_a_time_is_utc_on_the_bus(self, written: str) -> None:
        event = read(encoded(build_status="running", build_started_at=written))
        assert event.to_detail()["started_at"] == "2026-03-29T00:30:00Z"

    @pytest.mark.parametrize("written", ["2026-03-29 00:30:00", "0001-01-01 00:00:00 +0200"])
    def test_a_time_that_is_no_moment_is_not_readable(self, written: str) -> None:
        with pytest.raises(BadDelivery) as caught:
            read(encoded(build_started_at=written))
        assert caught.value.facts["field"] == "build_started_at"

    def test_a_pending_job_that_has_a_runner_keeps_it(self) -> None:
        assert read(encoded(runner={"id": 31})).runner_id == 31

    @pytest.mark.parametrize(
        ("environment", "deploys"),
        [
            (None, False),
            ({"name": "prod", "action": "start", "deployment_tier": "production"}, True),
            ({"name": "review/7", "action": "stop"}, True),
            ({"name": "prod", "action": None}, True),
            ({"name": "prod"}, True),
            ({"name": "prod", "action": "verify"}, False),
        ],
    )
    def test_a_job_that_changes_an_environment_deploys(
        self, environment: dict[str, Any] | None, deploys: bool
    ) -> None:
        assert read(encoded(environment=environment)).deploys is deploys

    def test_the_default_failure_reason_of_a_healthy_job_is_none(self) -> None:
        assert read(encoded(build_status="running")).failure_reason is None

    def test_the_newest_created_event_is_mostly_null(self) -> None:
        event = read(
            encoded(
                build_status="created",
                build_queued_duration=None,
                build_failure_reason=None,
                build_allow_failure=None,
                retries_count=None,
            )
        )
        assert (event.detail_type, event.queued_s) == ("job.created", None)
        assert (event.retries_count, event.allow_failure) == (0, False)

    def test_an_older_gitlab_sends_less(self) -> None:
        body = without("retries_count", "project", "runner", "build_failure_reason")
        event = read(body, with_token(x_gitlab_instance=None, idempotency_key=None))
        assert (event.instance, event.project_path) == ("gitlab.example.com", "acme/platform/demo")
        assert (event.retries_count, event.delivery_id) == (0, VECTOR_ID)

    def test_without_any_id_the_body_is_its_own(self) -> None:
        bare = with_token(idempotency_key=None, webhook_id=None)
        first, second = read(encoded(), bare), read(encoded(), bare)
        assert first.delivery_id == second.delivery_id != read(encoded(ref="b"), bare).delivery_id
        assert len(first.delivery_id) == 64

    @pytest.mark.parametrize(
        ("repository", "instance", "path"),
        [
            # GitLab under a path, a clone address, and a group that begins like the path.
            ({"homepage": f"{GIT}/gl/acme/demo"}, f"{GIT}/gl/", "acme/demo"),
            ({"homepage": "", "git_http_url": f"{GIT}/acme/demo.git"}, GIT, "acme/demo"),
            ({"homepage": f"{GIT}/glass/demo"}, f"{GIT}/gl", "glass/demo"),
        ],
    )
    def test_project_path_from_the_repository(
        self, repository: dict[str, str], instance: str, path: str
    ) -> None:
        body = encoded(project=None, repository=repository)
        assert read(body, with_token(x_gitlab_instance=instance)).project_path == path

    @pytest.mark.parametrize("status", ["manual", "scheduled", "preparing", "canceling", "new?"])
    def test_statuses_that_gitlab_sends_no_hook_for_are_ignored(self, status: str) -> None:
        body = encoded(build_status=status)
        ignored = read_delivery(with_token(), body, secrets=PLAIN, at=AT)
        assert ignored == Ignored(reason=IgnoreReason.OTHER_STATUS, about=status)

    @pytest.mark.parametrize(
        "status", [word for word, kind in DETAIL_TYPES.items() if kind == "job.finished"]
    )
    def test_every_end_that_is_let_through_is_a_step_of_the_history(self, status: str) -> None:
        """The fleet writes GitLab's word for the end as the step's name."""
        status = read(encoded(build_status=status)).status
        assert rank(status) is JobStatus.FINISHED
        assert status in set(StepName)


UNREADABLE: list[tuple[dict[str, Any], str]] = [
    ({"object_kind": "pipeline"}, "object_kind"),
    ({"object_kind": "rebuild"}, "object_kind"),
    ({"build_id": "90210"}, "build_id"),
    ({"build_id": 90210.5}, "build_id"),
    ({"build_id": True}, "build_id"),
    ({"build_id": 0}, "build_id"),
    ({"build_id": 2**63}, "build_id"),
    ({"build_name": None}, "build_name"),
    ({"build_status": 7}, "build_status"),
    ({"build_stage": ["test"]}, "build_stage"),
    ({"build_created_at": "yesterday-secret"}, "build_created_at"),
    ({"build_created_at": "2026-08-20 09:15:01"}, "build_created_at"),
    ({"build_created_at": 1786000000}, "build_created_at"),
    ({"build_queued_duration": "0.4"}, "build_queued_duration"),
    ({"build_queued_duration": float("nan")}, "build_queued_duration"),
    ({"build_allow_failure": "no"}, "build_allow_failure"),
    ({"retries_count": -1}, "retries_count"),
    ({"runner": []}, "runner"),
    ({"runner": {"id": None}}, "runner.id"),
    ({"project": {"path_with_namespace": ""}}, "project.path_with_namespace"),
    ({"project": None, "repository": None}, "project"),
    ({"project": None, "repository": {"homepage": "https://g.example"}}, "project"),
    ({"ref": "x" * 3000}, "ref"),
]


class TestUnreadable:
    """A proven body that is not what GitLab documents: 400, the field and never its value."""

    @pytest.mark.parametrize(("changes", "field"), UNREADABLE, ids=[str(c) for c, _ in UNREADABLE])
    def test_names_the_field(self, changes: dict[str, Any], field: str) -> None:
        error = refusal(with_token(), encoded(**changes))
        assert (error.status, error.facts) == (400, {"field": field})
        assert str(error) == f"the job event is not readable (field={field})"

    @pytest.mark.parametrize(
        "field",
        ["object_kind", "build_id", "build_name", "build_status", "pipeline_id", "project_id"],
    )
    def test_names_the_missing_field(self, field: str) -> None:
        assert refusal(with_token(), without(field)).facts == {"field": field}

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"no json", id="text"),
            pytest.param(b"[]", id="list"),
            pytest.param(b"null", id="null"),
            pytest.param(b'"build"', id="string"),
            pytest.param(b"[" * 100_000, id="deeply nested, open"),
            pytest.param(b'{"build_id": 1', id="cut short"),
            pytest.param(b'{"ref": "\xff\xfe"}', id="not UTF-8"),
            pytest.param(rb'{"ref": "\ud800"}', id="half a character"),
        ],
    )
    def test_what_is_no_object_at_all(self, body: bytes) -> None:
        error = refusal(with_token(), body)
        assert (error.status, error.facts) == (400, {"field": "body"})

    @pytest.mark.parametrize("instance", ["ftp://gitlab.example.com", "https://", "https://h:x"])
    def test_an_instance_that_is_no_address(self, instance: str) -> None:
        error = refusal(with_token(x_gitlab_instance=instance), encoded())
        assert error.facts == {"field": "x-gitlab-instance"}

    def test_neither_an_instance_nor_a_homepage(self) -> None:
        request_headers = with_token(x_gitlab_instance=None)
        error = refusal(request_headers, encoded(repository=None))
        assert error.facts == {"field": "repository.homepage"}

    def test_no_traceback_shows_the_value(self) -> None:
        error = refusal(with_token(), encoded(build_created_at="hidden-value"))
        assert "hidden-value" not in "".join(traceback.format_exception(error))

    @settings(max_examples=30)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(list(job_hook())), inner)
            ),
        )
    )
    def test_any_json_is_an_event_or_a_400(self, value: object) -> None:
        assert refusal(with_token(), json.dumps(value).encode()).status == 400
