"""The calls of the engine, counted as AWS would bill it; read at `units.PATH`.

Calls are counted by the role that made them, so that those of the fleet's functions, of its
machines and of the person at the laptop stay apart, and so do the rights that policies gave and
refused them.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from ministack import app
from ministack.core import iam_evaluator
from ministack.services import dynamodb, lambda_svc, stepfunctions

from local.aws.partitions import (
    TRANSACTION,
    ItemChange,
    Partitions,
    units_of_changes,
    units_of_refusal,
)
from local.aws.units import PATH, action_of, read_units, write_units

_API_PATH = "/_aws/execute-api/"
STATES = "states"  # what state machines do themselves
API = "api"  # the HTTP API's requests
PARTITIONS = "partitions"  # the worst second of a key, in write units
_CHANGES: ContextVar[list[ItemChange]] = ContextVar("changes")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class Counts:
    """Numbers by kind and name; any thread may add to them."""

    def __init__(self) -> None:
        """Everything is zero."""
        self._lock = threading.Lock()
        self._numbers: dict[str, Counter[str]] = {}
        self.partitions = Partitions()

    def add(self, kind: str, name: str, by: float = 1) -> None:
        """Add to one number."""
        with self._lock:
            self._numbers.setdefault(kind, Counter())[name] += by  # type: ignore[assignment]

    def numbers(self) -> dict[str, dict[str, float]]:
        """All numbers."""
        with self._lock:
            numbers: dict[str, dict[str, float]] = {
                kind: dict(sorted(held.items())) for kind, held in self._numbers.items()
            }
        return {**numbers, PARTITIONS: self.partitions.most()}

    def reset(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._numbers.clear()
        self.partitions.reset()


def install() -> None:
    """Count in the engine of this process; call last, so that waiting for a process is no run."""
    counts = Counts()
    app.app = _counting_requests(app.app, counts)
    app._dispatch_service_request = _counting_calls(app._dispatch_service_request, counts)
    iam_evaluator.evaluate = _counting_allowed(iam_evaluator.evaluate, counts)
    iam_evaluator.enforce = _counting_refused(iam_evaluator.enforce, counts)
    dynamodb._emit_stream_event = _recording_changes(dynamodb._emit_stream_event)
    app.SERVICE_HANDLERS["dynamodb"] = _counting_units(app.SERVICE_HANDLERS["dynamodb"], counts)
    stepfunctions._add_event = _counting_states(stepfunctions._add_event, counts)
    stepfunctions._run_execution = _counting_executions(stepfunctions._run_execution, counts)
    for name, action in (
        ("_invoke_sqs_send_message", "sqs.SendMessage"),
        ("_invoke_nested_start_execution", "states.StartExecution"),
    ):
        setattr(
            stepfunctions, name, _counting_own_calls(getattr(stepfunctions, name), action, counts)
        )
    stepfunctions._SERVICE_DISPATCH = {
        prefix: stepfunctions._invoke_sqs_send_message if "sqs:sendMessage" in prefix else handler
        for prefix, handler in stepfunctions._SERVICE_DISPATCH.items()
    }
    runs = _Runs(counts)
    lambda_svc.acquire_worker = runs.acquiring(lambda_svc.acquire_worker)
    lambda_svc.release_worker = runs.releasing(lambda_svc.release_worker)
    lambda_svc._throttle_response = _counting_own_calls(
        lambda_svc._throttle_response, "lambda.Throttled", counts
    )


def _counting_requests(serve: Asgi, counts: Counts) -> Asgi:
    """Answer the counts at their path, and count the requests of the HTTP API."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path != PATH:
            if path.startswith(_API_PATH):
                counts.add(API, "requests")
            await serve(scope, receive, send)
            return
        if scope["method"] == "DELETE":
            counts.reset()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = json.dumps(counts.numbers()).encode()
        await send({"type": "http.response.body", "body": body})

    return served


def _counting_calls(dispatch: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Count each call of an AWS service by the role that makes it."""

    async def dispatched(
        method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any
    ) -> Any:
        answer = await dispatch(method, path, headers, body, *rest)
        name = action_of(method, path, headers, body)
        counts.add(f"calls {_caller()}", name)
        if name == "events.PutEvents":
            counts.add(f"units {_caller()}", "eventbridge_events", body.count(b'"DetailType"'))
        return answer

    return dispatched


def _counting_allowed(evaluate: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Count what policies allow: by role, the statement's `Sid` and the IAM action."""

    def evaluated(context: Any, *policies: Any) -> Any:
        result = evaluate(context, *policies)
        if result.decision == "Allow":
            statement = f"{result.matched_sid} {context.action}"
            counts.add(f"allowed {_role(context.principal_arn)}", statement)
        return result

    return evaluated


def _counting_refused(enforce: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Count what is refused: by role, the IAM action."""

    def enforced(key: str, action: str, *request: Any, **more: Any) -> Any:
        refusal = enforce(key, action, *request, **more)
        if isinstance(refusal, iam_evaluator.EvalResult):
            counts.add(f"refused {_role(refusal.principal_arn)}", action)
        return refusal

    return enforced


def _counting_units(handle: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Add up DynamoDB's request units; the engine is asked for those of writes."""

    async def handled(
        method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any
    ) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        request_body = b'{"ReturnConsumedCapacity":"INDEXES",' + body[1:] if len(body) > 2 else body
        changes: list[ItemChange] = []
        request = _CHANGES.set(changes)
        try:
            status, answer_headers, answer = await handle(
                method, path, headers, request_body, *rest
            )
        finally:
            _CHANGES.reset(request)
        times = 2 if action == TRANSACTION else 1
        done = status == 200
        if done:
            units = units_of_changes(changes, dynamodb._tables, times=times)
        else:
            units = units_of_refusal(action, body)
        for used in units:
            counts.partitions.add(used, second=int(time.monotonic()))
        caller = f"units {_caller()}"
        counts.add(caller, "dynamodb_reads", read_units(action, body, answer))
        counts.add(caller, "dynamodb_writes", write_units(action, body, answer, ok=done))
        return status, answer_headers, answer

    return handled


def _recording_changes(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a request changes; what the engine itself does, such as expiry, costs nothing."""

    def emitted(table: str, kind: str, before: Any, after: Any, **more: Any) -> Any:
        changes = _CHANGES.get(None)
        if changes is not None:
            changes.append(ItemChange(table=table, before=before, after=after))
        return emit(table, kind, before, after, **more)

    return emitted


def _counting_states(add: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Count the states that executions enter, and the attempts at each task, by state machine."""

    def added(execution: dict[str, Any], kind: str, *details: Any) -> Any:
        name = _machine_of(execution)
        if kind.endswith("StateEntered"):
            counts.add("entered", name)
        if kind == "TaskStateEntered":
            counts.add("tasks", name)
        if kind == "TaskScheduled":
            counts.add("attempts", name)
        return add(execution, kind, *details)

    return added


def _counting_executions(run: Callable[[str], None], counts: Counts) -> Callable[[str], None]:
    """Count executions by state machine, those that failed, and how long they took."""

    def ran(execution_arn: str) -> None:
        began_at = time.monotonic()
        execution = stepfunctions._executions.get(execution_arn) or {}
        name = _machine_of(execution)
        counts.add("started", name)
        run(execution_arn)
        counts.add("executions", name)
        counts.add("execution_seconds", name, time.monotonic() - began_at)
        if execution.get("status") == "FAILED":
            counts.add("failed_executions", name)

    return ran


def _counting_own_calls(act: Callable[..., Any], name: str, counts: Counts) -> Callable[..., Any]:
    def acted(*args: Any, **named: Any) -> Any:
        counts.add(f"calls {STATES}", name)
        return act(*args, **named)

    return acted


class _Runs:
    """How often and how long functions run, without the wait for a process."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._run = threading.local()  # an invocation begins and ends in one thread

    def acquiring(self, acquire: Callable[..., Any]) -> Callable[..., Any]:
        """Note when a process is taken."""

        def acquired(name: str, config: dict[str, Any], *args: Any, **named: Any) -> Any:
            leased = acquire(name, config, *args, **named)
            self._run.noted = (time.monotonic(), name, int(config.get("MemorySize", 128)))
            return leased

        return acquired

    def releasing(self, release: Callable[[Any], None]) -> Callable[[Any], None]:
        """Count the run when its process is free again."""

        def released(worker: Any) -> None:
            began_at, name, memory_mb = self._run.noted
            took_s = time.monotonic() - began_at
            self._counts.add("invocations", name)
            self._counts.add("function_seconds", name, took_s)
            self._counts.add("function_gb_seconds", name, took_s * memory_mb / 1024)
            release(worker)

        return released


def _caller() -> str:
    """The name of the role that calls; `root` for the account itself."""
    return _role(iam_evaluator.caller_arn())


def _role(arn: str) -> str:
    return arn.split("/")[1] if ":assumed-role/" in arn else "root"


def _machine_of(execution: dict[str, Any]) -> str:
    return str(execution.get("stateMachineArn", "")).rpartition(":")[2]
