"""Functions on the engine that need Docker on AWS: here they run as processes."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fleet.machine.mailbox import Report
from local.aws.engine import Engine
from local.aws.stack import Stack
from local.machines.lambda_host import LambdaHost, LambdaOptions
from tests.integration import runs
from tests.integration.runs import BUSY, JOB, Mailboxes, credential, eventually


@dataclass(frozen=True, slots=True)
class Shop:
    """The engine, a host, and the fleet's part."""

    engine: Engine
    stack: Stack
    host: LambdaHost
    folder: Path

    @property
    def function(self) -> str:
        return f"{self.stack.runner_function_prefix}2gb"

    def equip(self, runner_id: str, script: list[Any]) -> None:
        own_credential = credential(script, self.folder, runner_id=runner_id)
        self._mailboxes.equip(f"lambda:{runner_id}", own_credential)

    def invoke(self, event: dict[str, str], kind: str = "RequestResponse") -> dict[str, Any]:
        answer: dict[str, Any] = self.engine.client("lambda").invoke(
            FunctionName=self.function, InvocationType=kind, Payload=json.dumps(event)
        )
        body = answer["Payload"].read()
        return answer | {"body": json.loads(body) if body else None}

    def report(self, runner_id: str) -> Report | None:
        return self._mailboxes.report(f"lambda:{runner_id}")

    def is_in(self, runner_id: str, state: str) -> bool:
        return self._mailboxes.is_in(f"lambda:{runner_id}", state)

    @property
    def _mailboxes(self) -> Mailboxes:
        return Mailboxes(self.engine, self.stack)


def event(runner_id: str) -> dict[str, str]:
    return {"runner_id": runner_id, "mailbox": f"lambda:{runner_id}"}


@pytest.fixture
def shop(engine: Engine, stack: Stack, tmp_path: Path) -> Iterator[Shop]:
    options = LambdaOptions(
        folder=tmp_path / "lambda",
        environment={
            "RUNNER_FLEET_GITLAB_RUNNER": str(runs.FAKE),
            "FLEET_HEARTBEAT_S": "0.2",
            "FLEET_BOOT_DEADLINE_S": "1",
        },
        concurrency=2,
    )
    with LambdaHost(engine, options) as host:
        used = Shop(engine, stack, host, tmp_path)
        engine.serve_function(used.function, host.url)
        yield used
    assert host.processes() == 0


def test_an_invocation_serves_one_job_and_its_event_again_is_a_duplicate(shop: Shop) -> None:
    shop.equip("rf-l-1", JOB)
    answer = shop.invoke(event("rf-l-1"))
    assert "FunctionError" not in answer
    assert answer["body"] == {"runner_id": "rf-l-1", "outcome": "succeeded", "job_id": 101}
    report = shop.report("rf-l-1")
    assert report is not None
    assert (report.state, report.outcome) == ("done", "succeeded")
    assert shop.invoke(event("rf-l-1"))["body"]["outcome"] == "duplicate"
    assert [path.suffix for path in (shop.folder / "lambda").iterdir()] == [".log"]


def test_an_invocation_without_a_job_says_why(shop: Shop) -> None:
    """The function's own role is enforced: only `lambda:*` is its."""
    assert shop.invoke(event("rf-l-3"))["body"]["outcome"] == "no_job"
    for wrong in ({"runner_id": "rf-l-4"}, {"runner_id": "rf-l-6", "mailbox": "AROA:i-1"}):
        answer = shop.invoke(wrong)
        assert answer["FunctionError"] == "Unhandled"
        assert "Refused" in json.dumps(answer["body"])


def test_an_asynchronous_invocation_is_answered_at_once(shop: Shop) -> None:
    shop.equip("rf-l-5", BUSY)
    assert shop.invoke(event("rf-l-5"), "Event")["StatusCode"] == 202
    eventually(lambda: shop.is_in("rf-l-5", "busy"), within_s=30)
    assert shop.host.processes() >= 2
    assert shop.host.kill_all() == 1
    eventually(lambda: shop.host.processes() == 0)
    assert shop.is_in("rf-l-5", "busy")  # no time for a last report


def test_beyond_the_limit_invocations_wait(shop: Shop) -> None:
    for number in (7, 8, 9):
        shop.equip(f"rf-l-{number}", BUSY)
        shop.invoke(event(f"rf-l-{number}"), "Event")

    def started() -> list[int]:
        return [n for n in (7, 8, 9) if shop.is_in(f"rf-l-{n}", "busy")]

    eventually(lambda: len(started()) == 2, within_s=30)
    assert shop.host.sandboxes == 2
    shop.host.kill_all()
    eventually(lambda: len(started()) == 3, within_s=30)


def test_an_unknown_function_is_a_service_exception(shop: Shop) -> None:
    request = Request(
        shop.host.url, data=b"{}", headers={"X-Amzn-Lambda-Function-Name": "is-not-there"}
    )
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=60)
    with refused.value as answer:
        body = json.load(answer)
    assert (answer.code, body["errorType"]) == (500, "ServiceException")
    assert "is-not-there" in body["errorMessage"]
    assert [path.suffix for path in (shop.folder / "lambda").iterdir()] == []


def test_closing_the_host_ends_its_invocations(shop: Shop) -> None:
    shop.equip("rf-l-11", BUSY)
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(shop.invoke(event("rf-l-11"))))
    caller.start()
    eventually(lambda: shop.is_in("rf-l-11", "busy"), within_s=30)
    shop.host.__exit__(None, None, None)
    files = shop.folder / "lambda"
    assert [path.suffix for path in files.iterdir()] == [".log"]
    shutil.rmtree(files)
    assert "is closed" in shop.host.invoke(shop.function, "{}").body
    assert not files.exists()
    caller.join(10)
    assert answers[0]["FunctionError"] == "Unhandled"
    assert shop.host.processes() == 0
