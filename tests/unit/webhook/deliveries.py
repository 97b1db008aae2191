"""Deliveries as GitLab sends them (facts made up), and what they are proven with."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from standardwebhooks.webhooks import Webhook

from fleet.webhook_secrets import AllWebhookSecrets, WebhookSecrets

HOOK = "project:77@1f3a9c2b"


def only(**secrets: tuple[str, ...]) -> AllWebhookSecrets:
    return {HOOK: WebhookSecrets(**secrets)}


# key bytes 0x00…0x1f, and the signature of VECTOR_BODY under it
SIGNING = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
VECTOR_ID = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"
VECTOR_STAMP = 1786000000
VECTOR_BODY = b'{"object_kind":"build","build_id":1977,"build_status":"pending"}'
VECTOR_SIGNATURE = "v1,a29dQj20xIzMnd4HSu7wH9oooGsjZYGK64yS/b+eMvI="

OTHER_SIGNING = "whsec_HR4fAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxw="
TOKEN = "tok-3f9c1d7e"
AT = datetime.fromtimestamp(VECTOR_STAMP, UTC)

SIGNED = only(signing=(SIGNING,))
PLAIN = only(tokens=(TOKEN,))

RUNNER = {
    "id": 31,
    "description": "rf-small-0123456789ab",
    "runner_type": "group_type",
    "active": True,
    "is_shared": False,
    "tags": ["aws", "small"],
}


def job_hook(**changes: Any) -> dict[str, Any]:
    """The body of a Job Hook of GitLab 19: a pending job without a runner."""
    body: dict[str, Any] = {
        "object_kind": "build",
        "ref": "main",
        "tag": False,
        "before_sha": "9d1f0c3a5b7e2c4d6f8091a2b3c4d5e6f7081920",
        "sha": "4be2a6d0c1f34758a9b0c1d2e3f405162738495a",
        "retries_count": 0,
        "build_id": 90210,
        "build_name": "unit-tests",
        "build_stage": "test",
        "build_status": "pending",
        "build_created_at": "2026-08-20 09:15:01 UTC",
        "build_started_at": None,
        "build_finished_at": None,
        "build_created_at_iso": "2026-08-20T09:15:01Z",
        "build_duration": None,
        "build_queued_duration": 0.41,
        "build_allow_failure": False,
        "build_failure_reason": "unknown_failure",
        "pipeline_id": 5512,
        "runner": None,
        "project_id": 77,
        "project_name": "Acme / Platform / Demo",
        "user": {"id": 12, "name": "Dana Roe", "username": "droe", "email": "[REDACTED]"},
        "commit": {"id": 5512, "name": None, "sha": "4be2a6d0", "status": "pending"},
        "repository": {
            "name": "Demo",
            "url": "git@gitlab.example.com:acme/platform/demo.git",
            "description": "",
            "homepage": "https://gitlab.example.com/acme/platform/demo",
            "git_http_url": "https://gitlab.example.com/acme/platform/demo.git",
            "visibility_level": 0,
        },
        "project": {
            "id": 77,
            "name": "Demo",
            "web_url": "https://gitlab.example.com/acme/platform/demo",
            "path_with_namespace": "acme/platform/demo",
            "default_branch": "main",
        },
        "environment": None,
    }
    return body | changes


def without(*names: str) -> bytes:
    """The body of a pending job that lacks these fields: an older GitLab."""
    return json.dumps({k: v for k, v in job_hook().items() if k not in names}).encode()


def encoded(**changes: Any) -> bytes:
    return json.dumps(job_hook(**changes)).encode()


def headers(**changes: str | None) -> dict[str, str]:
    """What GitLab 19 sends beside the body, without a proof; underscores stand for dashes."""
    usual: dict[str, str | None] = {
        "content-type": "application/json",
        "user-agent": "GitLab/19.3.0",
        "x-gitlab-event": "Job Hook",
        "x-gitlab-instance": "https://gitlab.example.com",
        "idempotency-key": VECTOR_ID,
        "webhook-id": VECTOR_ID,
        "webhook-timestamp": str(VECTOR_STAMP),
    }
    headers = usual | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def with_token(token: str = TOKEN, **changes: str | None) -> dict[str, str]:
    return headers(x_gitlab_token=token, **changes)


def signed(
    body: bytes, *, secret: str = SIGNING, at: datetime = AT, **changes: str | None
) -> dict[str, str]:
    """Headers with the signature of `body`, made by the reference library."""
    signature = Webhook(secret).sign(VECTOR_ID, at, body.decode())
    stamp = str(int(at.timestamp()))
    return headers(webhook_signature=signature, webhook_timestamp=stamp, **changes)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)
