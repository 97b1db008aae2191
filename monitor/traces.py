"""One trace for each ended job, a span for each hop, sent to an OTLP collector over HTTP.

The history has every time, so spans are made when a run has ended. Ids follow from the run: a run
that is sent twice is the same trace.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from fleet.errors import FleetError
from fleet.past import PastRun, WaitHop

EVERY_S = 20.0
# A run is written some time after its end, so each look goes back so far.
WRITTEN_WITHIN = timedelta(minutes=30)

Read = Callable[[datetime, datetime], list[PastRun]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSpan:
    """One part of a job's way."""

    name: str
    start: datetime
    end: datetime


def hop_spans(run: PastRun) -> Iterator[HopSpan]:
    """The hops of the wait, the job's run, and its machine's end, without gaps; empty ones too."""
    hops, at = run.hops(), run.pending_at
    if hops is not None and at is not None:
        for hop in WaitHop:
            until = at + timedelta(seconds=hops[hop])
            yield HopSpan(name=hop.value, start=at, end=until)
            at = until
    if run.taken_at and run.finished_at and run.finished_at >= run.taken_at:
        yield HopSpan(name="run", start=run.taken_at, end=run.finished_at)
        if run.had_machine and run.ended_at > run.finished_at:
            yield HopSpan(name="end", start=run.finished_at, end=run.ended_at)


class TraceSender:
    """Sends the traces of the jobs that end from now on."""

    def __init__(
        self, read: Read, clock: Callable[[], datetime], processor: SpanProcessor, *, stack: str
    ) -> None:
        self._read = read
        self._clock = clock
        self._begun_at = clock()
        self._sent: dict[str, datetime] = {}
        self._ids = _RunIds()
        resource = Resource.create({"service.name": "runner-fleet", "runner_fleet.stack": stack})
        self._provider = TracerProvider(
            id_generator=self._ids, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("runner-fleet")
        self._ending = Event()
        self._thread: Thread | None = None

    def send_new(self) -> int:
        """Send the jobs that ended and are not sent yet; how many."""
        at = self._clock()
        since = max(self._begun_at, at - WRITTEN_WITHIN)
        runs = self._read(since, at + timedelta(microseconds=1))
        new = [run for run in runs if run.had_job and run.id not in self._sent]
        for run in new:
            self._send(run)
            self._sent[run.id] = run.ended_at
        self._sent = {name: ended for name, ended in self._sent.items() if ended >= since}
        return len(new)

    def start(self) -> None:
        """Send until the end."""
        self._thread = Thread(target=self._go_on, name="traces", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Send what is left, then stop."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._provider.shutdown()

    def _go_on(self) -> None:
        while not self._ending.wait(EVERY_S):
            with suppress(FleetError, OSError):  # the next look goes back far enough
                self.send_new()

    def _send(self, run: PastRun) -> None:
        spans = list(hop_spans(run))
        start = min([run.pending_at or run.ended_at, *(span.start for span in spans)])
        end = max([run.finished_at or run.ended_at, *(span.end for span in spans)])
        self._ids.use(run.id)
        root = self._tracer.start_span(
            f"job {run.name}".strip(), start_time=_ns(start), attributes=_attributes(run)
        )
        if run.failed:
            root.set_status(Status(StatusCode.ERROR, run.failure or "failed"))
        context = set_span_in_context(root)
        for span in spans:
            part = self._tracer.start_span(span.name, context=context, start_time=_ns(span.start))
            part.end(end_time=_ns(span.end))
        root.end(end_time=_ns(end))


class _RunIds(IdGenerator):
    """The ids of one run's spans, in their order."""

    def __init__(self) -> None:
        self.use("")

    def use(self, run_id: str) -> None:
        """Begin with the ids of another run."""
        self._run_id, self._spans = run_id, 0

    def generate_trace_id(self) -> int:
        return self._number("trace", size=16)

    def generate_span_id(self) -> int:
        self._spans += 1
        return self._number(f"span {self._spans}", size=8)

    def _number(self, about: str, *, size: int) -> int:
        digest = hashlib.sha256(f"{self._run_id} {about}".encode()).digest()
        return int.from_bytes(digest[:size], "big") or 1


def _attributes(run: PastRun) -> dict[str, str | int | float]:
    values = {
        "cicd.pipeline.task.run.id": run.job_id,
        "cicd.pipeline.task.name": run.name,
        "gitlab.project": run.project,
        "runner_fleet.pool": run.pool,
        "runner_fleet.runner": run.id if run.had_machine else None,
        "runner_fleet.machine": run.machine,
        "runner_fleet.capacity": run.capacity,
        "runner_fleet.outcome": run.outcome,
        "runner_fleet.attempt": run.attempt,
        "runner_fleet.usd": None if run.usd is None else float(run.usd),
    }
    return {name: value for name, value in values.items() if value is not None}


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
