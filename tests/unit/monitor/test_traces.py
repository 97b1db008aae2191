"""Traces of ended jobs: their spans, and that each job is sent once."""

import itertools
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fleet.past import PastRun
from local.past_month import month
from monitor.traces import TraceSender, hop_spans
from tests.fakes import Clock
from tests.unit.cli.fleet_at_work import AT

RUN = replace(next(month(1, AT)), outcome="failed", failure="script_failure")
ENDED = RUN.ended_at


class History:
    """The past runs, as the ledger gives them."""

    def __init__(self) -> None:
        self.runs: list[PastRun] = []

    def between(self, since: datetime, until: datetime) -> list[PastRun]:
        return [run for run in self.runs if since <= run.ended_at < until]


def sender(history: History, exporter: Any) -> tuple[TraceSender, Clock]:
    clock = Clock()
    clock.go((ENDED - clock()).total_seconds() - 60)
    made = TraceSender(history.between, clock, SimpleSpanProcessor(exporter), stack="fleet-a")
    clock.go(70)
    return made, clock


def test_the_spans_of_a_run_follow_each_other() -> None:
    spans = list(hop_spans(RUN))
    assert [span.name for span in spans] == [
        *("webhook", "route", "launch", "boot", "take", "run", "end")
    ]
    assert spans[0].start == RUN.pending_at
    assert spans[-1].end == RUN.ended_at
    for span, following in itertools.pairwise(spans):
        assert abs((following.start - span.end).total_seconds()) < 0.001


def test_a_job_is_one_trace_and_is_sent_once() -> None:
    history, exporter = History(), InMemorySpanExporter()
    traces, clock = sender(history, exporter)
    history.runs.append(RUN)
    assert [traces.send_new(), traces.send_new()] == [1, 0]
    *parts, root = exporter.get_finished_spans()
    assert {span.context.trace_id for span in parts} == {root.context.trace_id}
    assert {span.parent.span_id for span in parts if span.parent} == {root.context.span_id}
    assert (root.name, root.status.description) == ("job build-image", "script_failure")
    assert root.attributes is not None
    assert root.attributes["runner_fleet.pool"] == RUN.pool
    assert root.resource.attributes["runner_fleet.stack"] == "fleet-a"
    again, other = InMemorySpanExporter(), sender(history, InMemorySpanExporter())
    other_traces, _ = sender(history, again)
    other_traces.send_new()
    assert again.get_finished_spans()[-1].context.trace_id == root.context.trace_id
    for pipeline in (traces, other[0], other_traces):
        pipeline.end()
    clock.go(0)


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, job_id=None),
        replace(RUN, ended_at=ENDED.replace(year=2025)),
    ],
)
def test_others_are_not_sent(run: PastRun) -> None:
    history, exporter = History(), InMemorySpanExporter()
    traces, _ = sender(history, exporter)
    history.runs.append(run)
    assert traces.send_new() == 0
    traces.end()
