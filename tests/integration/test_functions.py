"""How the engine runs functions: in few processes, with real exceptions, again after a crash."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.aws.engine import ACCOUNT, Engine, EngineOptions
from tests.integration.conftest import execution_end, make_function

PROBE = """
import os, random, subprocess, sys, time

IMPORTED = time.time()


class Transient(Exception):
    pass


def handler(event, context):
    if event.get("raise"):
        raise Transient("as asked")
    if event.get("die"):
        os._exit(3)
    time.sleep(event.get("sleep_s", 0))
    return {
        "pid": os.getpid(),
        "imported": IMPORTED,
        "random": random.random(),
        "cwd": os.getcwd(),
        "task_root": os.environ["LAMBDA_TASK_ROOT"],
        "file": __file__,
        "name": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "mine": os.environ.get("MINE"),
        "key": os.environ["AWS_ACCESS_KEY_ID"],
        "boto3": "boto3" in sys.modules,
        "out": subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout,
    }
"""
Invoke = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def invoke(engine: Engine) -> Invoke:
    """Invoke a function made of `PROBE`; the answer's payload, or the error that it raised."""
    make_function(engine, "probe", PROBE, Timeout=2, Environment={"Variables": {"MINE": "yes"}})
    functions = engine.client("lambda")

    def invoked(**event: object) -> dict[str, Any]:
        answer = functions.invoke(FunctionName="probe", Payload=json.dumps(event).encode())
        return dict(json.loads(answer["Payload"].read()))

    return invoked


def test_a_function_runs_its_own_code_as_itself(invoke: Invoke) -> None:
    answer = invoke()
    assert answer["file"] == f"{answer['task_root']}/probe.py"
    assert answer["cwd"] == answer["task_root"]
    assert (answer["name"], answer["mine"], answer["out"]) == ("probe", "yes", "hello\n")
    assert answer["key"] not in (ACCOUNT, "test"), "its role's key, not the account's"
    assert answer["boto3"], "the libraries were there before it"


def test_a_process_is_used_again(invoke: Invoke) -> None:
    first, second = invoke(), invoke()
    assert first["pid"] == second["pid"]
    assert first["imported"] == second["imported"]


def test_more_invocations_than_processes_wait_for_one(invoke: Invoke) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: invoke(sleep_s=0.1), range(8)))
    assert len({answer["pid"] for answer in answers}) == EngineOptions().processes
    assert len({answer["random"] for answer in answers}) == 8, "forks do not throw the same dice"


def test_an_exception_has_its_name_and_ends_no_process(invoke: Invoke) -> None:
    before = invoke()["pid"]
    error = invoke(**{"raise": True})
    assert (error["errorType"], error["errorMessage"]) == ("Transient", "as asked")
    assert "probe.py" in "".join(error["stackTrace"])
    assert invoke()["pid"] == before


def test_a_crash_is_an_error_and_the_next_invocation_works(invoke: Invoke) -> None:
    assert "errorType" in invoke(die=True)
    assert invoke()["name"] == "probe"


def test_an_invocation_that_takes_too_long_is_ended(invoke: Invoke) -> None:
    began = time.monotonic()
    assert invoke(sleep_s=30)["errorType"] == "Sandbox.Timedout"
    assert time.monotonic() - began < 10
    assert invoke()["name"] == "probe"


def test_a_states_time_out_starts_when_its_function_does(engine: Engine, invoke: Invoke) -> None:
    """On AWS it would not have waited for a process; only what takes long is late."""
    machines = engine.client("stepfunctions")
    invoke()  # a process is up

    def machine(timeout_s: int) -> str:
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "probe", "Payload.$": "$"},
            "TimeoutSeconds": timeout_s,
            "End": True,
        }
        created = machines.create_state_machine(
            name=f"probes-{timeout_s}",
            definition=json.dumps({"StartAt": "Probe", "States": {"Probe": task}}),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/probe",
        )
        return str(created["stateMachineArn"])

    def start(arn: str, sleep_s: float) -> str:
        request = json.dumps({"sleep_s": sleep_s})
        return str(machines.start_execution(stateMachineArn=arn, input=request)["executionArn"])

    def end(execution: str) -> str:
        shown = execution_end(engine, execution)
        return str(shown.get("error", shown["status"]))

    patient, hasty = machine(3), machine(1)
    waiting = [start(patient, 0.8) for _ in range(12)]
    assert {end(execution) for execution in waiting} == {"SUCCEEDED"}
    assert end(start(hasty, 1.8)) == "States.Timeout"
