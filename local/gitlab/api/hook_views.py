"""REST representations of hooks and their deliveries; secrets are never in them. Pure."""

from __future__ import annotations

from datetime import datetime

from local.gitlab.api.runner_views import Json
from local.gitlab.dates import api_date
from local.gitlab.model import Group
from local.gitlab.webhooks.hooks import SECRET_HEADERS, Delivery, Hook, alert_status


def hook_view(hook: Hook, at: datetime, *, has_signing_token: bool) -> Json:
    """A hook; of its secrets only whether they are there."""
    owner = "group_id" if isinstance(hook.owner, Group) else "project_id"
    view = {
        "id": hook.id,
        "url": hook.url,
        "name": hook.name,
        "description": hook.description,
        "created_at": api_date(hook.created_at),
        owner: hook.owner.id,
        **hook.events,
        "enable_ssl_verification": hook.enable_ssl_verification,
        "push_events_branch_filter": hook.push_events_branch_filter,
        "branch_filter_strategy": "wildcard",
        "custom_webhook_template": None,
        "repository_update_events": False,
        "alert_status": alert_status(hook, at),
        "disabled_until": api_date(hook.disabled_until),
        "url_variables": [],
        "custom_headers": [{"key": key} for key in hook.custom_headers],
        "token_present": hook.token is not None,
    }
    if has_signing_token:
        view["signing_token_present"] = hook.signing_token is not None
    return view


def delivery_view(delivery: Delivery, hook: Hook) -> Json:
    """One attempt to call a hook; secrets in its headers are blanked."""
    headers = {
        key: "[REDACTED]" if key in SECRET_HEADERS else value
        for key, value in delivery.request_headers.items()
    }
    return {
        "id": delivery.id,
        "url": hook.url,
        "trigger": delivery.trigger,
        "request_headers": headers,
        "request_data": delivery.body.decode(),
        "response_headers": {},
        "response_body": delivery.answer,
        "response_status": "internal error" if delivery.status is None else str(delivery.status),
        "execution_duration": round(delivery.took_s, 6),
        "created_at": api_date(delivery.sent_at),
    }
