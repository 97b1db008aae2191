"""Webhooks over REST, for projects and groups."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import READ, WRITE, ApiError, Call, Endpoint, not_found
from local.gitlab.api.paging import page_of
from local.gitlab.api.views import Json
from local.gitlab.dates import api_date
from local.gitlab.model import Group, Job, Pipeline, Project
from local.gitlab.webhooks.delivery import Event
from local.gitlab.webhooks.hooks import SECRET_HEADERS, Delivery, Hook, alert_status, events_of
from local.gitlab.webhooks.payload import JobMoment
from local.gitlab.webhooks.signing import BadSigningToken, check_signing_token

_MOST_CUSTOM_HEADERS = 20


class CustomHeader(BaseModel):
    """One custom header."""

    key: str
    value: str = ""


class HookBody(BaseModel):
    """Body of `POST` and `PUT …/hooks`; events are extra fields."""

    model_config = ConfigDict(extra="allow")

    url: str = Field(pattern=r"^https?://\S+$")
    name: str | None = None
    description: str | None = None
    token: str | None = None
    signing_token: str | None = None
    enable_ssl_verification: bool | None = None
    push_events_branch_filter: str | None = None
    custom_headers: list[CustomHeader] | None = None
    custom_webhook_template: str | None = None


_PLAIN = (
    *("url", "name", "description", "push_events_branch_filter", "enable_ssl_verification"),
    "custom_webhook_template",
)


def hook_view(hook: Hook, at: datetime, *, has_signing_token: bool) -> Json:
    """A hook; of its secrets only whether they are set."""
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
        "custom_webhook_template": hook.custom_webhook_template or None,
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
    """One delivery of a hook; secrets in its headers are blanked."""
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


def _hook(call: Call) -> Hook:
    hook = call.world.hooks.by_id.get(call.number("hook"))
    if hook is None or hook.owner is not call.owner():
        raise not_found("Hook")
    return hook


def _view(call: Call, hook: Hook) -> Json:
    known = call.world.options.has_signing_token
    return hook_view(hook, call.world.clock.now(), has_signing_token=known)


def _fill(call: Call, hook: Hook, body: HookBody) -> None:
    sent = body.model_fields_set
    for name in _PLAIN:
        value = getattr(body, name)
        if name in sent and value is not None:
            setattr(hook, name, value)
    if "token" in sent:
        hook.token = body.token or None
    if "signing_token" in sent and call.world.options.has_signing_token:
        _set_signing_token(hook, body.signing_token)
    if body.custom_headers is not None:
        _set_custom_headers(hook, body.custom_headers)
    for name, value in (body.model_extra or {}).items():
        if name in hook.events:
            hook.events[name] = _truth(value)


def _set_signing_token(hook: Hook, token: str | None) -> None:
    if token:
        try:
            check_signing_token(token)
        except BadSigningToken as exc:
            raise ApiError(422, {"signing_token": [str(exc)]}) from exc
    hook.signing_token = token or None


def _set_custom_headers(hook: Hook, headers: list[CustomHeader]) -> None:
    if len(headers) > _MOST_CUSTOM_HEADERS:
        raise ApiError(422, {"custom_headers": [f"may be {_MOST_CUSTOM_HEADERS} at most"]})
    hook.custom_headers = {header.key: header.value for header in headers}


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "1", "t", "yes", "on")


async def list_hooks(call: Call) -> Response:
    """GET …/hooks."""
    hooks = call.world.hooks.of(call.owner())
    return page_of(call.request, hooks, lambda hook: _view(call, hook))


async def create_hook(call: Call) -> Response:
    """POST …/hooks."""
    owner = call.owner()
    body = await call.body(HookBody, also=events_of(owner))
    hook = call.world.hooks.add(owner, body.url, at=call.world.clock.now())
    try:
        _fill(call, hook, body)
    except ApiError:
        del call.world.hooks.by_id[hook.id]
        raise
    return JSONResponse(_view(call, hook), status_code=201)


async def get_hook(call: Call) -> Response:
    """GET …/hooks/:hook_id."""
    return JSONResponse(_view(call, _hook(call)))


async def change_hook(call: Call) -> Response:
    """PUT …/hooks/:hook_id."""
    hook = _hook(call)
    _fill(call, hook, await call.body(HookBody, also=hook.events))
    return JSONResponse(_view(call, hook))


async def delete_hook(call: Call) -> Response:
    """DELETE …/hooks/:hook_id."""
    del call.world.hooks.by_id[_hook(call).id]
    return Response(status_code=204)


def _sample(call: Call, hook: Hook, trigger: str) -> JobMoment | Pipeline:
    """The newest job or pipeline of the hook's project or group. Raises 422."""
    accounts = call.world.accounts
    owner = hook.owner
    projects = [owner] if isinstance(owner, Project) else accounts.projects_of(owner)
    if trigger == "job_events":
        jobs = [next(reversed(p.jobs.values())) for p in projects if p.jobs]
        if jobs:
            newest: Job = max(jobs, key=lambda job: job.id)
            return JobMoment.of(newest, call.world.clock.now())
    elif trigger == "pipeline_events":
        pipelines = [next(reversed(p.pipelines.values())) for p in projects if p.pipelines]
        if pipelines:
            return max(pipelines, key=lambda pipeline: pipeline.id)
    raise ApiError(422, "Ensure the project has CI jobs.")


def _admit_try(call: Call, *what: str | int) -> None:
    """Allow the caller five of these a minute. Raises 429."""
    if not call.world.hooks.may_try((call.user.id, *what), call.world.clock.now()):
        raise ApiError(429, "This endpoint has been requested too many times. Try again later.")


async def test_hook(call: Call) -> Response:
    """POST …/hooks/:hook_id/test/:trigger: 201 after a success of the receiver, else 422."""
    hook = _hook(call)
    _admit_try(call, "test")
    trigger = call.path("trigger")
    if trigger not in hook.events:
        raise ApiError(400, "trigger does not have a valid value")
    event = Event(hook=hook, subject=_sample(call, hook, trigger))
    delivery = await call.world.dispatcher.send(event)
    if delivery.status is None or not 200 <= delivery.status < 300:
        raise ApiError(422, delivery.answer or "The hook did not answer with success")
    return JSONResponse({"message": "201 Created"}, status_code=201)


async def list_deliveries(call: Call) -> Response:
    """GET …/hooks/:hook_id/events."""
    hook = _hook(call)
    deliveries = hook.history(call.world.clock.now())
    return page_of(call.request, deliveries, lambda d: delivery_view(d, hook))


async def resend_delivery(call: Call) -> Response:
    """POST …/hooks/:hook_id/events/:event_id/resend: same body, same idempotency key."""
    hook = _hook(call)
    wanted = call.number("event")
    deliveries = hook.history(call.world.clock.now())
    former = next((d for d in deliveries if d.id == wanted), None)
    if former is None:
        raise not_found("Hook event")
    _admit_try(call, "resend", hook.id)
    delivery = await call.world.dispatcher.resend(hook, former)
    return JSONResponse({"response_status": delivery.status}, status_code=201)


def _endpoints(owner: str) -> tuple[Endpoint, ...]:
    hooks = f"{owner}/hooks"
    hook = f"{hooks}/{{hook}}"
    return (
        Endpoint("GET", hooks, list_hooks, READ),
        Endpoint("POST", hooks, create_hook, WRITE),
        Endpoint("GET", hook, get_hook, READ),
        Endpoint("PUT", hook, change_hook, WRITE),
        Endpoint("DELETE", hook, delete_hook, WRITE),
        Endpoint("POST", f"{hook}/test/{{trigger}}", test_hook, WRITE),
        Endpoint("GET", f"{hook}/events", list_deliveries, READ),
        Endpoint("POST", f"{hook}/events/{{event}}/resend", resend_delivery, WRITE),
    )


ENDPOINTS = (*_endpoints("/projects/{project}"), *_endpoints("/groups/{group}"))
