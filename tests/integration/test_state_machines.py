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
from tests.integration.conftest import Standins

SPOT_NOTICE = "EC2 Spot Instance Interruption Warning"


def executions(standins: Standins, machine: str) -> list[dict[str, Any]]:
    """The executions of one machine, newest first."""
    found = standins.engine.client("stepfunctions").list_executions(stateMachineArn=machine)
    return list(found["executions"])


def states_entered(standins: Standins, execution: str) -> list[str]:
    """What a standard execution is billed for, apart from its start."""
    history = standins.engine.client("stepfunctions").get_execution_history(
        executionArn=execution, maxResults=1000
    )
    entered = (event.get("stateEnteredEventDetails") for event in history["events"])
    return [details["name"] for details in entered if details]


def visible(standins: Standins, url: str) -> int:
    """About how many messages a queue has."""
    name = "ApproximateNumberOfMessages"
    told = standins.engine.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(told["Attributes"][name])


def run(standins: Standins, machine: str, event: dict[str, Any]) -> dict[str, Any]:
    """Start one machine directly and give back how it ended."""
    machines = standins.engine.client("stepfunctions")
    started = machines.start_execution(stateMachineArn=machine, input=json.dumps(event))
    arn = started["executionArn"]

    def ended() -> bool:
        return bool(machines.describe_execution(executionArn=arn)["status"] != "RUNNING")

    wait_until(ended, timeout_s=30, what=f"{machine} to end", log=standins.engine.log)
    return dict(machines.describe_execution(executionArn=arn))


def test_a_pending_job_reaches_the_autoscaler(standins: Standins) -> None:
    assert standins.post("job.pending", job_id=1, queue="ec2") == 202
    told = standins.wait_for("route", 1)[0]
    assert (told["source"], told["detail-type"]) == ("runner-fleet.webhook", "job.pending")
    seen = standins.wait_for("scale", 1)[0]
    assert seen["group"] == "gitlab.example.com:7"


def test_a_lambda_job_goes_to_the_other_queue(standins: Standins) -> None:
    standins.post("job.pending", job_id=2, queue="lambda")
    url = standins.stack.lambda_queue_url
    wait_until(lambda: visible(standins, url) == 1, timeout_s=20, what="the message")
    body = standins.engine.client("sqs").receive_message(QueueUrl=url)["Messages"][0]["Body"]
    assert json.loads(body) == {"job_id": 2}


def test_a_job_without_a_pool_is_ignored_with_the_reason(standins: Standins) -> None:
    event = {"detail": {"job_id": 3, "project_id": 7}}
    ended = run(standins, standins.stack.route_machine, event)
    assert ended["status"] == "SUCCEEDED"
    assert json.loads(ended["output"])["reason"] == "no_pool"


def test_a_job_without_a_pool_wakes_scaling_for_the_others_of_its_pipeline(
    standins: Standins,
) -> None:
    began = int(time.time())
    event = {"detail": {"job_id": 6, "project_id": 7, "wake": True}}
    assert run(standins, standins.stack.route_machine, event)["status"] == "SUCCEEDED"
    # Named by the next second, which another wake may have taken already: that is as good.
    named = [one["name"] for one in executions(standins, standins.stack.scale_machine)]
    assert any(int(name.removeprefix("scale-")) > began for name in named)


def test_an_event_waits_for_another_that_reads_its_pipeline(standins: Standins) -> None:
    event = {"detail": {"job_id": 8, "project_id": 7, "queue": "ec2", "again": 2}}
    assert run(standins, standins.stack.route_machine, event)["status"] == "SUCCEEDED"
    assert standins.calls("route", 8) == [event] * 3
    standins.wait_for("scale", 8)


def test_a_transient_error_is_tried_again(standins: Standins) -> None:
    detail = {"job_id": 4, "project_id": 7, "queue": "ec2", "raise": "Transient", "times": 1}
    ended = run(standins, standins.stack.route_machine, {"detail": detail})
    assert ended["status"] == "SUCCEEDED"
    assert len(standins.calls("route", 4)) == 2


def test_a_refusal_is_not_tried_again_and_keeps_its_name(standins: Standins) -> None:
    detail = {"job_id": 5, "project_id": 7, "queue": "ec2", "raise": "Refused", "times": 9}
    ended = run(standins, standins.stack.route_machine, {"detail": detail})
    assert (ended["status"], ended["error"]) == ("FAILED", "Refused")
    assert len(standins.calls("route", 5)) == 1


def test_more_jobs_than_route_may_take_at_once_wait_their_turn(standins: Standins) -> None:
    machines = standins.engine.client("stepfunctions")
    many = []
    for n in range(12):  # three times the concurrency that is reserved
        detail = {"job_id": f"9{n}", "project_id": 7, "sleeps_s": 0.2}
        told = json.dumps({"detail": detail})
        started = machines.start_execution(stateMachineArn=standins.stack.route_machine, input=told)
        many.append(started["executionArn"])

    def ended() -> set[str]:
        return {machines.describe_execution(executionArn=one)["status"] for one in many}

    wait_until(lambda: "RUNNING" not in ended(), timeout_s=30, what="every route to end")
    assert ended() == {"SUCCEEDED"}


def test_a_burst_is_gathered_and_costs_a_lone_job_few_transitions(standins: Standins) -> None:
    before = {one["name"] for one in executions(standins, standins.stack.scale_machine)}
    standins.post("job.pending", job_id=60, queue="ec2")
    standins.wait_for("scale", 60)
    mine = [
        one["executionArn"]
        for one in executions(standins, standins.stack.scale_machine)
        if one["name"] not in before
    ]
    entered = [len(states_entered(standins, one)) + 1 for one in mine]
    # One round with the job and the round that finds no more: a real one needs no second.
    assert sum(entered[:1]) <= 10
    for job in range(61, 67):
        standins.post("job.pending", job_id=job, queue="ec2")
    for job in range(61, 67):
        standins.wait_for("scale", job)
    rounds = {standins.calls("scale", job)[0]["round"] for job in range(61, 67)}
    assert max(rounds) > 1, "one execution went on while there was backlog"


def test_wakes_of_one_second_share_an_execution(standins: Standins) -> None:
    machine = standins.stack.scale_machine
    before = len(executions(standins, machine))
    started = time.time()
    for n in range(6):
        event = {"source": "test", "detail": {"job_id": f"7{n}", "wake": True}}
        standins.engine.client("stepfunctions").start_execution(
            stateMachineArn=standins.stack.settle_machine, input=json.dumps(event)
        )
    for n in range(6):
        standins.wait_for("settle", f"7{n}")

    def settled() -> bool:
        all_of_them = executions(standins, standins.stack.settle_machine)[:6]
        return all(one["status"] == "SUCCEEDED" for one in all_of_them)

    wait_until(settled, timeout_s=10, what="six settles")
    seconds = int(time.time() - started) + 2
    assert 1 <= len(executions(standins, machine)) - before <= min(5, seconds)


def test_settle_comes_again_after_its_grace_but_not_for_ever(standins: Standins) -> None:
    standins.post("job.running", job_id=81, waits=1)
    rounds = [one["round"] for one in standins.wait_for("settle", 81, times=2)]
    assert rounds == [0, 1]
    ended = run(standins, standins.stack.settle_machine, {"detail": {"job_id": 82, "waits": 99}})
    assert ended["status"] == "SUCCEEDED"
    assert [one["round"] for one in standins.calls("settle", 82)] == [0, 1, 2, 3]


def test_settle_hears_of_finished_jobs_ending_machines_and_spot_notices(standins: Standins) -> None:
    standins.post("job.finished", job_id=83)
    standins.wait_for("settle", 83)
    ec2 = standins.engine.client("ec2")
    template = {"LaunchTemplateId": standins.stack.launch_template}
    launched = ec2.run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1)["Instances"][0]
    instance = launched["InstanceId"]
    standins.engine.emit(SPOT_NOTICE, {"instance-id": instance, "instance-action": "terminate"})
    standins.wait_for("settle", instance)
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])  # already gone: no news
    told = [one["event"] for one in standins.wait_for("settle", instance, times=3)]
    assert told[0]["detail-type"] == SPOT_NOTICE
    assert sorted(one["detail"]["state"] for one in told[1:]) == ["shutting-down", "terminated"]


def test_only_the_cloud_itself_speaks_for_the_cloud(standins: Standins) -> None:
    events = standins.role("Runner4gbRole").client("events")
    told = {"DetailType": SPOT_NOTICE, "Detail": "{}", "EventBusName": standins.stack.bus}
    with pytest.raises(ClientError, match="not authorized"):
        events.put_events(Entries=[{**told, "Source": "aws.ec2"}])
    with pytest.raises(ClientError, match="not authorized"):
        events.put_events(Entries=[{**told, "Source": "runner-fleet.webhook"}])


class Host(BaseHTTPRequestHandler):
    """Takes invocations; fails those that say so."""

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.invoked.append((self.headers["X-Amzn-Lambda-Function-Name"], event))  # type: ignore[attr-defined]
        self.send_response(500 if event.get("fail") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    server.invoked = []  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_failed_lambda_runner_comes_back_to_settle_once(
    standins: Standins, host: ThreadingHTTPServer
) -> None:
    name = f"{standins.stack.runner_function_prefix}4gb"
    standins.engine.serve_function(name, f"http://127.0.0.1:{host.server_port}")
    functions = standins.role("ScaleRole").client("lambda")
    invocation = {"FunctionName": name, "InvocationType": "Event"}
    good, bad = ({"runner_id": "rf-a"}, {"runner_id": "rf-b", "fail": True})
    for event in (good, bad):
        answer = functions.invoke(**invocation, Payload=json.dumps(event).encode())
        assert answer["StatusCode"] == 202
    told = standins.wait_for("settle", "-")[0]["event"]
    assert told["detail-type"] == "Lambda Function Invocation Result - Failure"
    assert told["detail"]["requestPayload"] == bad
    assert told["detail"]["requestContext"]["functionArn"].endswith(f":{name}:$LATEST")
    assert sorted(event["runner_id"] for _, event in host.invoked) == ["rf-a", "rf-b"]  # type: ignore[attr-defined]


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
    left = standins.engine.client("scheduler").list_schedules()["Schedules"]
    assert "expire-test" not in [one["Name"] for one in left]


@pytest.mark.parametrize(
    ("reconcile", "sweep", "wakes", "status"),
    [
        pytest.param({}, {}, False, "SUCCEEDED", id="a quiet minute wakes nobody"),
        pytest.param({"wake": True}, {}, True, "SUCCEEDED", id="reconcile wants the autoscaler"),
        pytest.param({}, {"wake": True}, True, "SUCCEEDED", id="sweep wants the autoscaler"),
        pytest.param(
            {"raise": "Refused", "times": 9},
            {},
            True,
            "FAILED",
            id="a broken reconcile is told and keeps nobody asleep",
        ),
    ],
)
def test_every_minute(
    standins: Standins, reconcile: dict[str, Any], sweep: dict[str, Any], wakes: bool, status: str
) -> None:
    machine = standins.stack.scale_machine
    before = {one["name"] for one in executions(standins, machine)}
    wait_until(
        lambda: f"scale-{int(time.time()) + 1}" not in before, timeout_s=3, what="a fresh second"
    )
    detail = {"job_id": f"minute-{time.time()}", "reconcile": reconcile, "sweep": sweep}
    ended = run(standins, standins.stack.reconcile_machine, {"detail": detail})
    after = {one["name"] for one in executions(standins, machine)}
    assert ended["status"] == status
    assert bool(after - before) == wakes
    assert len(standins.calls("sweep", detail["job_id"])) == 1
    if status == "FAILED":
        assert ended["error"] == "Refused"
