"""One GitLab delivery in, one value out. Does no I/O.

Size, media type and proof are looked at before a byte of the body is parsed.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from fleet.errors import BadDelivery
from fleet.job_event import DETAIL_TYPES, JobEvent, instance_of
from fleet.webhook_secrets import AllWebhookSecrets, scope_of_name, secret_id
from webhook.job_hook import JobHook

MAX_BODY = 1024 * 1024  # bytes; a job event has about 3 KiB, whatever its pipeline
TOLERANCE = timedelta(minutes=5)  # the custom of Standard Webhooks; GitLab names no number
JOB_HOOK = "Job Hook"


class IgnoreReason(StrEnum):
    """Why the fleet ignores a good delivery."""

    OTHER_EVENT = "other_event"
    OTHER_STATUS = "other_status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A verified delivery that the fleet ignores."""

    reason: IgnoreReason
    about: str  # the name of the event or status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """The webhook of a delivery, and the secret that proves it."""

    hook: str
    secret_id: str


def read_delivery(
    headers: Mapping[str, str], body: bytes, *, secrets: AllWebhookSecrets, at: datetime
) -> JobEvent | Ignored:
    """Turn one delivery into a value; `at` is its time of arrival. Header names are lower-case.

    Raises `BadDelivery` with the HTTP status to answer: 413 too large, 415 not JSON, 401 not
    proven to be GitLab's, 403 of a project that the webhook does not serve, 400 not readable (its
    facts name the field, never the value).
    Source: GitLab documentation, "Webhook events" (job events) and "Webhooks" (signing token).
    """
    if len(body) > MAX_BODY:
        raise BadDelivery("the body is too large", status=413)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadDelivery("only application/json is read", status=415)
    proof = _proof(headers, body, secrets, at)
    if proof is None:
        raise BadDelivery("not authorized", status=401)
    event = headers.get("x-gitlab-event", "")
    if event != JOB_HOOK:
        return Ignored(reason=IgnoreReason.OTHER_EVENT, about=event[:64])
    hook = JobHook.read(body)
    scope = scope_of_name(proof.hook)
    if scope is not None and not scope.may_serve(hook.project_id):
        raise BadDelivery("this webhook is of another project", status=403)
    if hook.status not in DETAIL_TYPES:
        return Ignored(reason=IgnoreReason.OTHER_STATUS, about=hook.status[:64])
    return _event(hook, headers, body, at, proof)


def _proof(
    headers: Mapping[str, str], body: bytes, secrets: AllWebhookSecrets, at: datetime
) -> _Proof | None:
    """The proof that GitLab sent it; None without one.

    No header names the webhook (`X-Gitlab-Webhook-UUID` differs in each request), so all secrets of
    all webhooks are tried, in a time that does not show which one fits. For a webhook with a
    signing token only a signature counts.
    """
    signed = _Signed.read(headers, body, at)
    token = headers.get("x-gitlab-token", "")
    proven = [
        _Proof(hook=name, secret_id=secret_id(secret))
        for name, own in secrets.items()
        for secret in own.demanded
        if (_is_signed(signed, secret) if own.signing else _is_among(token, (secret,)))
    ]
    return proven[0] if proven else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """The signed text of a delivery, and its signatures."""

    message_id: str
    at: datetime
    text: str
    signatures: tuple[str, ...]

    @classmethod
    def read(cls, headers: Mapping[str, str], body: bytes, at: datetime) -> "_Signed | None":
        """The signed text, read once for all secrets; None without a fresh signature."""
        message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signatures = tuple(headers.get("webhook-signature", "").split())
        if not message_id or not signatures or not re.fullmatch(r"[0-9]{1,12}", stamp):
            return None
        if abs(at.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
            return None  # as numbers: most of them are no date
        sent_at = datetime.fromtimestamp(int(stamp), UTC)
        try:
            return cls(message_id=message_id, at=sent_at, text=body.decode(), signatures=signatures)
        except UnicodeDecodeError:
            return None


def _is_signed(signed: _Signed | None, secret: str) -> bool:
    if signed is None:
        return False
    try:
        # the library's own `verify` reads the clock; here the time is an argument
        expected = Webhook(secret).sign(signed.message_id, signed.at, signed.text)
    except (ValueError, EmptyWebhookSecretError):
        return False  # an id that is no text, or a stored secret that is none
    return _is_among(expected, signed.signatures)


def _is_among(wanted: str, candidates: Iterable[str]) -> bool:
    """Whether a candidate equals it, compared in constant time."""
    wanted_bytes = _bytes(wanted)
    matches = [hmac.compare_digest(wanted_bytes, _bytes(candidate)) for candidate in candidates]
    return any(matches)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _event(
    hook: JobHook, headers: Mapping[str, str], body: bytes, at: datetime, proof: _Proof
) -> JobEvent:
    base = headers.get("x-gitlab-instance", "")
    homepage = hook.repository.homepage if hook.repository else ""
    origin = "x-gitlab-instance" if base else "repository.homepage"
    return JobEvent(
        instance=_named(origin, lambda: instance_of(base or homepage)),
        project_id=hook.project_id,
        project_path=_named("project", lambda: _project_path(hook, base)),
        job_id=hook.job_id,
        job_name=hook.name,
        stage=hook.stage,
        pipeline_id=hook.pipeline_id,
        ref=hook.ref,
        status=hook.status,
        delivery_id=_delivery_id(headers, body),
        received_at=at,
        retries_count=hook.retries_count or 0,
        runner_id=hook.runner.id if hook.runner else None,
        runner_description=hook.runner.description if hook.runner else None,
        created_at=hook.created_at,
        started_at=hook.started_at,
        finished_at=hook.finished_at,
        queued_s=hook.queued_s,
        # GitLab's default is "unknown_failure", on healthy jobs too
        failure_reason=hook.failure_reason if hook.status == "failed" else None,
        allow_failure=bool(hook.allow_failure),
        deploys=hook.deploys,
        hook=proof.hook,
        hook_secret_id=proof.secret_id,
    )


def _named(field: str, read: Callable[[], str]) -> str:
    try:
        return read()
    except ValueError:
        raise BadDelivery("the job event is not readable", field=field) from None


def _project_path(hook: JobHook, base: str) -> str:
    """`group/project`; on older GitLab it is only in the repository's addresses."""
    if hook.project:
        return hook.project.path
    addresses = (hook.repository.homepage, hook.repository.git_http_url) if hook.repository else ()
    root = urlsplit(base).path.strip("/")  # GitLab may live under a path of its host
    for address in addresses:
        path = urlsplit(address).path.strip("/").removesuffix(".git")
        if path:
            return path.removeprefix(f"{root}/") if root else path
    raise ValueError("no address of the project")


def _delivery_id(headers: Mapping[str, str], body: bytes) -> str:
    """The same id each time GitLab sends a delivery. Its two UUID headers differ."""
    key = headers.get("idempotency-key") or headers.get("webhook-id")
    return key[:255] if key else sha256(body).hexdigest()
