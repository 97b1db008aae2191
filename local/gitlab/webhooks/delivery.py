"""Sends webhooks in the background: in order per job; no receiver delays another."""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import urllib3

from local.gitlab.chaos import Chaos
from local.gitlab.model import Job, Pipeline, Project
from local.gitlab.options import Clock, Options
from local.gitlab.webhooks.hooks import (
    SECRET_HEADERS,
    Delivery,
    Hook,
    Hooks,
    is_executable,
    note_failure,
    note_success,
)
from local.gitlab.webhooks.payload import JobMoment, Json, job_hook, pipeline_hook
from local.gitlab.webhooks.signing import signature

_HOLD_BACK_S = 0.5  # a reordered delivery lets others pass for this long
_ANSWER_BYTES = 8 * 1024
_SENDERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event for one hook, with the ids that resends keep."""

    hook: Hook
    subject: JobMoment | Pipeline
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    chain: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def trigger(self) -> str:
        """The hook attribute that asks for such events."""
        return "job_events" if isinstance(self.subject, JobMoment) else "pipeline_events"

    @property
    def title(self) -> str:
        """The value of `X-Gitlab-Event`."""
        return "Job Hook" if isinstance(self.subject, JobMoment) else "Pipeline Hook"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    status: int | None
    text: str
    took_s: float


class Dispatcher:
    """Sends the events of the engine as HTTP calls; runs on the server's event loop."""

    def __init__(
        self, hooks: Hooks, *, options: Options, clock: Clock, chaos: Chaos, base_url: str
    ) -> None:
        self._hooks = hooks
        self._options = options
        self._clock = clock
        self._chaos = chaos
        self._base_url = base_url
        self._sent = 0
        self._minute: datetime | None = None
        self._calls: Counter[int] = Counter()  # in this minute, by top-level group
        self._lanes: dict[tuple[int, int], asyncio.Queue[tuple[Event, float]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_SENDERS, thread_name_prefix="webhook")
        timeout = urllib3.Timeout(total=options.hook_timeout_s)
        self._strict = urllib3.PoolManager(maxsize=_SENDERS, retries=False, timeout=timeout)
        self._lax = urllib3.PoolManager(
            maxsize=_SENDERS, retries=False, timeout=timeout, cert_reqs="CERT_NONE"
        )

    def job_moved(self, job: Job) -> None:
        """Send the job to every hook with job events."""
        moment = JobMoment.of(job, self._clock.now())
        chain = str(uuid.uuid4())
        for hook in self._hooks.wanting(job.project, "job_events"):
            self._enqueue(Event(hook=hook, subject=moment, chain=chain), number=job.id)

    def pipeline_moved(self, pipeline: Pipeline) -> None:
        """Send the pipeline to every hook with pipeline events."""
        for hook in self._hooks.wanting(pipeline.project, "pipeline_events"):
            self._enqueue(Event(hook=hook, subject=pipeline), number=pipeline.id)

    def _enqueue(self, event: Event, *, number: int) -> None:
        if not self._admit(event):
            return
        fate = self._chaos.fate_of_delivery()
        loop = asyncio.get_running_loop()
        lane = self._lane(event.hook.id, number % self._options.hook_lanes)
        for _ in range(fate.copies):
            item = (event, loop.time() + fate.delay_s)
            if fate.is_held_back:
                loop.call_later(_HOLD_BACK_S, lane.put_nowait, item)
            else:
                lane.put_nowait(item)

    def _admit(self, event: Event) -> bool:
        """Whether the rate of the top-level group allows another call in this minute."""
        limit = self._options.hook_calls_per_minute
        if limit is None:
            return True
        owner = event.hook.owner
        group = owner.group if isinstance(owner, Project) else owner
        minute = self._clock.now().replace(second=0, microsecond=0)
        if self._minute != minute:
            self._minute = minute
            self._calls.clear()
        self._calls[group.lineage[-1].id] += 1
        return self._calls[group.lineage[-1].id] <= limit

    def _lane(self, hook_id: int, number: int) -> asyncio.Queue[tuple[Event, float]]:
        key = (hook_id, number)
        if key not in self._lanes:
            self._lanes[key] = asyncio.Queue()
            task = asyncio.create_task(self._drive(self._lanes[key]))
            self._tasks.add(task)
        return self._lanes[key]

    async def _drive(self, lane: asyncio.Queue[tuple[Event, float]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            event, due = await lane.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if event.hook.id in self._hooks.by_id and is_executable(event.hook, self._clock.now()):
                await self.send(event)

    async def send(self, event: Event) -> Delivery:
        """Call the hook now, even a disabled one; the delivery is recorded and counted."""
        body = json.dumps(self._body(event), separators=(",", ":")).encode()
        return await self._post(event, body)

    async def resend(self, hook: Hook, former: Delivery) -> Delivery:
        """Repeat a recorded delivery: same body, same idempotency key."""
        former_headers = former.request_headers
        repeated = {name: v for name, v in former_headers.items() if name not in SECRET_HEADERS}
        fresh = self._fresh_headers(hook, former.body, former_headers["Idempotency-Key"])
        headers = {**repeated, **fresh}
        return await self._record(hook, former.trigger, headers, former.body)

    async def _post(self, event: Event, body: bytes) -> Delivery:
        own = {
            "Content-Type": "application/json",
            "User-Agent": f"GitLab/{self._options.gitlab_version}",
            "X-Gitlab-Event": event.title,
            "X-Gitlab-Event-UUID": event.chain,
            "X-Gitlab-Instance": self._base_url,
            "Idempotency-Key": event.key,
            **self._fresh_headers(event.hook, body, event.key),
        }
        headers = beside_custom(event.hook.custom_headers, own)
        return await self._record(event.hook, event.trigger, headers, body)

    def _fresh_headers(self, hook: Hook, body: bytes, key: str) -> dict[str, str]:
        headers = {"X-Gitlab-Webhook-UUID": str(uuid.uuid4())}
        if hook.token:
            headers["X-Gitlab-Token"] = hook.token
        if self._options.has_signing_token:
            # Real time, not the simulated clock: receivers compare it with their own.
            now = int(time.time())
            headers |= {"webhook-id": key, "webhook-timestamp": str(now)}
            if hook.signing_token:
                headers["webhook-signature"] = signature(
                    hook.signing_token, delivery_id=key, timestamp=now, body=body
                )
        return headers

    async def _record(
        self, hook: Hook, trigger: str, headers: Mapping[str, str], body: bytes
    ) -> Delivery:
        loop = asyncio.get_running_loop()
        sent_at = self._clock.now()
        pool = self._strict if hook.enable_ssl_verification else self._lax
        answer = await loop.run_in_executor(self._threads, _call, pool, hook.url, headers, body)
        if answer.status is not None and 200 <= answer.status < 400:
            note_success(hook)
        elif self._options.disables_hooks:
            note_failure(hook, self._clock.now())
        self._sent += 1
        delivery = Delivery(
            id=self._sent,
            trigger=trigger,
            request_headers=dict(headers),
            body=body,
            status=answer.status,
            answer=answer.text,
            took_s=answer.took_s,
            sent_at=sent_at,
        )
        hook.deliveries.append(delivery)
        return delivery

    def _body(self, event: Event) -> Json:
        at: datetime = self._clock.now()
        if isinstance(event.subject, JobMoment):
            return job_hook(event.subject, base_url=self._base_url, at=at)
        return pipeline_hook(event.subject, base_url=self._base_url, at=at)

    async def close(self) -> None:
        """Stop sending; deliveries still waiting are lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._strict.clear()
        self._lax.clear()


def beside_custom(custom: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """GitLab's headers and the custom ones; a custom header with a name of GitLab's is dropped."""
    taken = {name.lower() for name in own}
    return {**{n: value for n, value in custom.items() if n.lower() not in taken}, **own}


def _call(
    pool: urllib3.PoolManager, url: str, headers: Mapping[str, str], body: bytes
) -> _Response:
    """POST and wait for the answer; redirects are not followed."""
    started = time.monotonic()
    try:
        response = pool.request("POST", url, body=body, headers=dict(headers), redirect=False)
        text = response.data[:_ANSWER_BYTES].decode("utf-8", "replace")
        return _Response(status=response.status, text=text, took_s=time.monotonic() - started)
    except urllib3.exceptions.HTTPError as exc:
        return _Response(status=None, text=str(exc), took_s=time.monotonic() - started)
