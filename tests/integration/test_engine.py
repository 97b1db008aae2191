"""The embedded engine: comes up, keeps what it is told to keep, leaves nothing behind."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from infra.package import TEMPLATE
from local.aws.engine import ACCOUNT, Engine, EngineFailed, EngineOptions, wait_until
from local.aws.stack import Stack, StackOptions, deploy_stack
from tests.integration.conftest import Role, Standins


def group_of(pid: int) -> list[int]:
    """The live processes of one process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == pid and state != "Z":
                found.append(int(entry.name))
    return found


def test_answers_on_this_machine_only_and_as_the_account(engine: Engine) -> None:
    assert engine.url == f"http://127.0.0.1:{engine.port}"
    assert engine.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_refuses_whoever_has_no_credentials(engine: Engine) -> None:
    query = "Action=DescribeInstances&Version=2016-11-15"
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{engine.url}/?{query}", timeout=5)
    with refused.value as answer:
        assert answer.code in {400, 401, 403}


def test_gives_the_engine_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com")
    with Engine(tmp_path) as engine:
        environment = Path(f"/proc/{engine.pid}/environ").read_text()
    assert "mine" not in environment
    assert "proxy.example.com" not in environment
    assert f"DOCKER_HOST=unix://{tmp_path}" in environment


def test_keeps_its_state_over_a_restart_and_loses_it_when_killed(tmp_path: Path) -> None:
    options = EngineOptions(keep_state=True)
    with Engine(tmp_path, options) as engine:
        engine.client("sqs").create_queue(QueueName="kept")
        engine.client("s3").create_bucket(Bucket="kept")
        engine.client("s3").put_object(Bucket="kept", Key="a", Body=b"1")
        first, port = engine.pid, engine.port
        engine.restart()
        assert (engine.pid != first, engine.port) == (True, port)
        engine.client("sqs").create_queue(QueueName="lost")
        engine.kill()
        assert engine.pid is None
        engine.start()
        queues = engine.client("sqs").list_queues()["QueueUrls"]
        body = engine.client("s3").get_object(Bucket="kept", Key="a")["Body"].read()
    assert [url.rpartition("/")[2] for url in queues] == ["kept"]
    assert body == b"1"


def test_a_role_goes_on_after_a_restart(tmp_path: Path) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}
    document = {"Statement": [{**trust, "Action": "sts:AssumeRole"}]}
    with Engine(tmp_path / "engine", EngineOptions(keep_state=True)) as engine:
        role = engine.client("iam").create_role(
            RoleName="machine", AssumeRolePolicyDocument=json.dumps(document)
        )["Role"]
        session = Role(engine, role["Arn"], "i-0123456789abcdef0")
        engine.restart()
        identity = session.client("sts").get_caller_identity()
    assert identity["UserId"] == f"{role['RoleId']}:i-0123456789abcdef0"
    assert (tmp_path / "engine").stat().st_mode & 0o077 == 0, "its state holds secrets"


def test_forgets_when_not_told_to_keep(tmp_path: Path) -> None:
    with Engine(tmp_path) as engine:
        engine.client("sqs").create_queue(QueueName="gone")
        engine.restart()
        assert engine.client("sqs").list_queues().get("QueueUrls", []) == []


def test_ends_with_all_its_functions(tmp_path: Path) -> None:
    with Engine(tmp_path) as engine:
        standin = Path(__file__).parent / "standins"
        stack = deploy_stack(engine, StackOptions(sources=standin))
        Standins(engine=engine, stack=stack).post("job.created")
        pid = engine.pid
        assert pid is not None
        assert len(group_of(pid)) >= 2, "the engine and the webhook's process"
    wait_until(lambda: not group_of(pid), timeout_s=5, what="the group to be gone")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stopping_twice_is_fine(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.start()
    engine.stop()
    engine.stop()
    assert engine.pid is None


def test_says_why_it_did_not_come_up(tmp_path: Path) -> None:
    engine = Engine(tmp_path, EngineOptions(settings={"GATEWAY_PORT": "not a port"}))
    with pytest.raises(EngineFailed, match="not a port"):
        engine.start()
    engine.stop()


def test_says_what_it_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("the last words\n")
    with pytest.raises(EngineFailed, match=r"0 s for a miracle\nthe last words"):
        wait_until(lambda: False, timeout_s=0, what="a miracle", log=log)


def test_says_why_a_stack_failed(engine: Engine, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATE.parent / "machines", tmp_path / "machines")
    broken = tmp_path / "template.yaml"
    text = TEMPLATE.read_text().replace("/${Name}.asl.json", "/no-${Name}.asl.json")
    broken.write_text(text)
    with pytest.raises(EngineFailed, match=r"Machine .*\n?.*no-\w+\.asl\.json"):
        deploy_stack(engine, StackOptions(name="broken", template=broken))


def test_deploys_every_part_of_the_template(engine: Engine, stack: Stack) -> None:
    resources = engine.client("cloudformation").get_paginator("list_stack_resources")
    found = {
        resource["LogicalResourceId"]: resource["ResourceStatus"]
        for page in resources.paginate(StackName=stack.name)
        for resource in page["StackResourceSummaries"]
    }
    assert set(found.values()) == {"CREATE_COMPLETE"}
    assert {"Vpc", "Ledger", "Bus", "Runner8gbFunction", "ReconcileMachine", "Api"} <= set(found)
    assert stack.machine_role_id.startswith("AROA")
    assert len(stack.subnets.split(",")) == 2


def test_the_ledger_has_its_indexes_and_forgets_by_ttl(engine: Engine, stack: Stack) -> None:
    table = engine.client("dynamodb").describe_table(TableName=stack.ledger_table)["Table"]
    keys = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }
    assert keys == {"open": ["open_pk", "open_sk"], "recent": ["kind", "changed_at"]}
    ttl = engine.client("dynamodb").describe_time_to_live(TableName=stack.ledger_table)
    assert ttl["TimeToLiveDescription"]["AttributeName"] == "ttl"


def test_every_name_that_a_function_is_given_is_real(engine: Engine, stack: Stack) -> None:
    scale = engine.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-scale")
    told = scale["Environment"]["Variables"]
    assert told["FLEET_LEDGER_TABLE"] == stack.ledger_table
    assert told["FLEET_EC2_QUEUE_URL"] == stack.ec2_queue_url
    assert told["FLEET_LAMBDA_DEAD_LETTER_URL"] == stack.lambda_dead_letter_url
    assert told["FLEET_MACHINE_ROLE_ID"] == stack.machine_role_id
    assert told["FLEET_SUBNETS"] == stack.subnets
    assert told["FLEET_SWEEP_ARN"].endswith(f":function:{stack.name}-sweep")
    secrets = engine.client("secretsmanager")
    for name in (told["FLEET_GITLAB_SECRET"], stack.webhook_secret):
        assert secrets.describe_secret(SecretId=name)["Name"] == name


@pytest.mark.parametrize("function", ["route", "settle"])
def test_a_burst_does_not_take_the_whole_machine(
    engine: Engine, stack: Stack, function: str
) -> None:
    functions = engine.client("lambda")
    answer = functions.get_function_concurrency(FunctionName=f"{stack.name}-{function}")
    assert answer["ReservedConcurrentExecutions"] == StackOptions().at_once


def test_a_machine_finds_its_user_data(engine: Engine, stack: Stack) -> None:
    ec2 = engine.client("ec2")
    template = {"LaunchTemplateId": stack.launch_template, "Version": "$Latest"}
    launched = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1},
    )
    instance = launched["Instances"][0]["InstanceIds"][0]
    told = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    decoded = base64.b64decode(told["UserData"]["Value"]).decode()
    assert f'export FLEET_LEDGER_TABLE="{stack.ledger_table}"' in decoded
    assert 'exec "${FLEET_HOME:-/opt/runner-fleet}/ec2_runner/boot.sh"' in decoded
    with pytest.raises(ClientError, match="NotFound"):
        ec2.describe_instance_attribute(InstanceId="i-0", Attribute="userData")


def test_a_launch_says_where_each_machine_is(engine: Engine, stack: Stack) -> None:
    """Else a place that gives one machine at a time would be left alone like an empty one."""
    wanted = [
        {"InstanceType": kind, "SubnetId": subnet}
        for kind in ("m7i.large", "m7a.large")
        for subnet in stack.subnets.split(",")
    ]
    template = {"LaunchTemplateId": stack.launch_template, "Version": "$Latest"}
    launched = engine.client("ec2").create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template, "Overrides": wanted}],
        TargetCapacitySpecification={"TotalTargetCapacity": 4},
    )
    told = [one["LaunchTemplateAndOverrides"]["Overrides"] for one in launched["Instances"]]
    assert sorted(told, key=wanted.index) == wanted


def test_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Whatever ends it: a laptop that was killed leaves no engine behind."""
    starter = (
        "import os, signal, sys; from pathlib import Path; from local.aws.engine import Engine\n"
        "engine = Engine(Path(sys.argv[1])); engine.start(); print(engine.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", starter, str(tmp_path)], capture_output=True, text=True, check=False
    )
    pid = int(done.stdout)
    wait_until(lambda: not group_of(pid), timeout_s=40, what="the engine's end")
