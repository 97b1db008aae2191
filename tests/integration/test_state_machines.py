"""The real rules and state machines, with stand-ins for the functions."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.aws.engine import wait_until
from tests.integration.conftest import Standins, execution_end

SPOT_NOTICE = "EC2 Spot Instance Interruption Warning"


def executions(standins: Standins, machine: str) -> list[dict[str, Any]]:
    """The executions of one machine, newest first."""
    answer = standins.engine.client("stepfunctions").list_executions(stateMachineArn=machine)
    return list(answer["executions"])


def names(standins: Standins, machine: str) -> set[str]:
    return {execution["name"] for execution in executions(standins, machine)}


def states_entered(standins: Standins, execution: str) -> list[str]:
    """The states that a standard execution is billed for, apart from its start."""
    history = standins.engine.client("stepfunctions").get_execution_history(
        executionArn=execution, maxResults=1000
    )
    entered = (event.get("stateEnteredEventDetails") for event in history["events"])
    return [details["name"] for details in entered if details]


def start(standins: Standins, machine: str, **detail: Any) -> str:
    """Start one machine directly, with an event of this detail; the execution's ARN."""
    started = standins.engine.client("stepfunctions").start_execution(
        stateMachineArn=machine, input=json.dumps({"detail": {"project_id": 7, **detail}})
    )
    return str(started["executionArn"])


def ended(standins: Standins, execution: str) -> dict[str, Any]:
    return execution_end(standins.engine, execution)


def run(standins: Standins, machine: str, **detail: Any) -> dict[str, Any]:
    """Start one machine directly; how it ended."""
    return ended(standins, start(standins, machine, **detail))


def test_a_pending_job_reaches_the_autoscaler(standins: Standins) -> None:
    assert standins.post("job.pending", job_id=1, queue="ec2") == 202
    event = standins.wait_for("route", 1)[0]
    assert (event["source"], event["detail-type"]) == ("runner-fleet.webhook", "job.pending")
    demand = standins.wait_for("scale", 1)[0]
    assert demand["group"] == "gitlab.example.com:7"


def test_a_job_without_a_pool_ends_with_the_reason(standins: Standins) -> None:
    end = run(standins, standins.stack.route_machine, job_id=3)
    assert end["status"] == "SUCCEEDED"
    assert json.loads(end["output"])["reason"] == "no_pool"


def test_a_job_without_a_pool_wakes_scaling_for_the_others_of_its_pipeline(
    standins: Standins,
) -> None:
    began = int(time.time())
    assert run(standins, standins.stack.route_machine, job_id=6, wake=True)["status"] == "SUCCEEDED"
    # Named by the next second, which another wake may have taken already: that is as good.
    woken = names(standins, standins.stack.scale_machine)
    assert any(int(name.removeprefix("scale-")) > began for name in woken)


def test_an_event_waits_for_another_that_reads_its_pipeline(standins: Standins) -> None:
    detail = {"project_id": 7, "job_id": 8, "queue": "ec2", "again": 2}
    assert run(standins, standins.stack.route_machine, **detail)["status"] == "SUCCEEDED"
    assert standins.calls("route", 8) == [{"detail": detail}] * 3
    standins.wait_for("scale", 8)


def test_a_transient_error_is_tried_again(standins: Standins) -> None:
    detail = {"job_id": 4, "queue": "ec2", "raise": "Transient", "times": 1}
    assert run(standins, standins.stack.route_machine, **detail)["status"] == "SUCCEEDED"
    assert len(standins.calls("route", 4)) == 2


def test_a_refusal_is_not_tried_again_and_keeps_its_name(standins: Standins) -> None:
    detail = {"job_id": 5, "queue": "ec2", "raise": "Refused", "times": 9}
    end = run(standins, standins.stack.route_machine, **detail)
    assert (end["status"], end["error"]) == ("FAILED", "Refused")
    assert len(standins.calls("route", 5)) == 1


def test_more_jobs_than_route_may_take_at_once_wait_their_turn(standins: Standins) -> None:
    started = [  # three times the concurrency that is reserved
        start(standins, standins.stack.route_machine, job_id=f"9{n}", sleeps_s=0.2)
        for n in range(12)
    ]
    assert {ended(standins, execution)["status"] for execution in started} == {"SUCCEEDED"}


def test_a_burst_is_gathered_and_costs_a_lone_job_few_transitions(standins: Standins) -> None:
    machine = standins.stack.scale_machine
    before = names(standins, machine)
    standins.post("job.pending", job_id=60, queue="ec2")
    standins.wait_for("scale", 60)
    entered = [
        len(states_entered(standins, execution["executionArn"])) + 1
        for execution in executions(standins, machine)
        if execution["name"] not in before
    ]
    # One round with the job and the round that finds no more: a real one needs no second.
    assert sum(entered[:1]) <= 10
    for job in range(61, 67):
        standins.post("job.pending", job_id=job, queue="ec2")
    rounds = {standins.wait_for("scale", job)[0]["round"] for job in range(61, 67)}
    assert max(rounds) > 1, "one execution went on while there was backlog"


def test_wakes_of_one_second_share_an_execution(standins: Standins) -> None:
    machine = standins.stack.scale_machine
    before, began = len(executions(standins, machine)), time.time()
    settle = standins.stack.settle_machine
    started = [start(standins, settle, job_id=f"7{n}", wake=True) for n in range(6)]
    assert {ended(standins, execution)["status"] for execution in started} == {"SUCCEEDED"}
    seconds = int(time.time() - began) + 2
    assert 1 <= len(executions(standins, machine)) - before <= min(5, seconds)


def test_settle_comes_again_after_its_grace_four_times_at_most(standins: Standins) -> None:
    standins.post("job.running", job_id=81, waits=1)
    calls = standins.wait_for("settle", 81, times=2)
    assert [call["round"] for call in calls] == [0, 1]
    end = run(standins, standins.stack.settle_machine, job_id=82, waits=99)
    assert end["status"] == "SUCCEEDED"
    assert [call["round"] for call in standins.calls("settle", 82)] == [0, 1, 2, 3]


def test_settle_gets_finished_jobs_ending_machines_and_spot_notices(standins: Standins) -> None:
    standins.post("job.finished", job_id=83)
    standins.wait_for("settle", 83)
    ec2 = standins.engine.client("ec2")
    template = {"LaunchTemplateId": standins.stack.launch_template}
    launched = ec2.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1)["Instances"][0]
    instance = launched["InstanceId"]
    standins.engine.emit(SPOT_NOTICE, {"instance-id": instance, "instance-action": "terminate"})
    standins.wait_for("settle", instance)
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])  # already gone: no event
    events = [call["event"] for call in standins.wait_for("settle", instance, times=2)]
    assert events[0]["detail-type"] == SPOT_NOTICE
    states = [event["detail"]["state"] for event in events[1:]]
    assert states == ["shutting-down"], "one event for one end"


@pytest.mark.parametrize("source", ["aws.ec2", "runner-fleet.webhook"])
def test_a_runner_cannot_speak_for_the_cloud_or_the_webhook(
    standins: Standins, source: str
) -> None:
    events = standins.role("Runner4gbRole").client("events")
    entry = {"DetailType": SPOT_NOTICE, "Detail": "{}", "EventBusName": standins.stack.bus}
    with pytest.raises(ClientError, match="not authorized"):
        events.put_events(Entries=[{**entry, "Source": source}])


class Host(BaseHTTPRequestHandler):
    """Takes invocations; fails those that say so."""

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.invoked.append(event)  # type: ignore[attr-defined]
        self.send_response(500 if event.get("fail") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def host() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.invoked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_failed_lambda_runner_comes_back_to_settle_once(
    standins: Standins, host: ThreadingHTTPServer
) -> None:
    name = f"{standins.stack.runner_function_prefix}4gb"
    standins.engine.serve_function(name, f"http://127.0.0.1:{host.server_port}")
    functions = standins.role("ScaleRole").client("lambda")
    good, bad = ({"runner_id": "rf-a"}, {"runner_id": "rf-b", "fail": True})
    for event in (good, bad):
        payload = json.dumps(event).encode()
        answer = functions.invoke(FunctionName=name, InvocationType="Event", Payload=payload)
        assert answer["StatusCode"] == 202

    def failures() -> list[dict[str, Any]]:
        """Other tests put failures without a payload onto this bus."""
        events = [call["event"] for call in standins.calls("settle", "-")]
        return [event for event in events if event["detail"].get("requestPayload") == bad]

    wait_until(lambda: bool(failures()), timeout_s=20, what="the failure", log=standins.engine.log)
    (failure,) = failures()
    assert failure["detail-type"] == "Lambda Function Invocation Result - Failure"
    assert failure["detail"]["requestContext"]["functionArn"].endswith(f":{name}:$LATEST")
    invoked = [event["runner_id"] for event in host.invoked]  # type: ignore[attr-defined]
    assert sorted(invoked) == ["rf-a", "rf-b"]


def test_an_expiry_timer_calls_sweep(standins: Standins) -> None:
    soon = time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime(time.time() + 1))
    functions = standins.engine.client("lambda")
    sweep = functions.get_function(FunctionName=f"{standins.stack.name}-sweep")
    timers = standins.role("ScaleRole").client("scheduler")
    timers.create_schedule(
        Name="expire-test",
        GroupName=standins.stack.schedule_group,
        ScheduleExpression=soon,
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={
            "Arn": sweep["Configuration"]["FunctionArn"],
            "RoleArn": standins.stack.expiry_role,
            "Input": json.dumps({"expired_launch": "l-1", "detail": {"job_id": "l-1"}}),
        },
    )
    assert standins.wait_for("sweep", "l-1")[0]["expired_launch"] == "l-1"
    schedules = standins.engine.client("scheduler").list_schedules()["Schedules"]
    assert "expire-test" not in [schedule["Name"] for schedule in schedules]


@pytest.mark.parametrize(
    ("reconcile", "sweep", "wakes", "status"),
    [
        pytest.param({}, {}, False, "SUCCEEDED", id="a quiet minute wakes no autoscaler"),
        pytest.param({"wake": True}, {}, True, "SUCCEEDED", id="reconcile wants the autoscaler"),
        pytest.param({}, {"wake": True}, True, "SUCCEEDED", id="sweep wants the autoscaler"),
        pytest.param(
            {"raise": "Refused", "times": 9}, {}, True, "FAILED",
            id="a broken reconcile fails and wakes the autoscaler",
        ),
    ],
)  # fmt: skip
def test_every_minute(
    standins: Standins, reconcile: dict[str, Any], sweep: dict[str, Any], wakes: bool, status: str
) -> None:
    machine = standins.stack.scale_machine
    before = names(standins, machine)
    wait_until(
        lambda: f"scale-{int(time.time()) + 1}" not in before, timeout_s=3, what="a fresh second"
    )
    detail = {"job_id": f"minute-{time.time()}", "reconcile": reconcile, "sweep": sweep}
    end = run(standins, standins.stack.reconcile_machine, **detail)
    assert end["status"] == status
    assert bool(names(standins, machine) - before) == wakes
    assert len(standins.calls("sweep", detail["job_id"])) == 1
    if status == "FAILED":
        assert end["error"] == "Refused"
