"""The embedded engine: comes up, keeps what its options say, leaves nothing behind."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.exceptions import ClientError

from infra.package import ROOT, TEMPLATE
from local.aws.engine import ACCOUNT, Engine, EngineFailed, EngineOptions, wait_until
from local.aws.stack import OPERATORS, Stack, StackOptions, deploy_stack
from tests.integration.conftest import Role, make_function


def processes_of(group: int) -> list[int]:
    """The live processes of one process group."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(its_group) == group and state != "Z":
                pids.append(int(entry.name))
    return pids


def running(folder: Path) -> list[str]:
    """The engine's processes of a folder: by their environment, once they run our program."""
    names = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_ours = str(folder).encode() in (entry / "environ").read_bytes()
            if is_ours and b"local.aws" in (entry / "cmdline").read_bytes():
                names.append(entry.name)
    return names


def test_a_signal_ends_the_engine_while_it_starts(tmp_path: Path) -> None:
    """The laptop's folder is removed next: a process that still writes there would keep it."""

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    started = Engine(tmp_path)

    def interrupt() -> None:
        wait_until(lambda: bool(running(tmp_path)), timeout_s=30, what="the engine's process")
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, stop)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(Stopped), started:
            pass
        thread.join()
    finally:
        signal.signal(signal.SIGALRM, before)
    wait_until(lambda: not running(tmp_path), timeout_s=5, what="the end of all its processes")


def test_the_engine_answers_on_this_machine_only_and_to_credentials_of_the_account(
    engine: Engine,
) -> None:
    assert engine.url == f"http://127.0.0.1:{engine.port}"
    assert engine.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{engine.url}/?Action=DescribeInstances&Version=2016-11-15", timeout=5)
    with refused.value as answer:
        assert answer.code in {400, 401, 403}


STARTER = """
import os, signal, sys
from pathlib import Path
from local.aws.engine import Engine
from tests.integration.conftest import make_function
engine = Engine(Path(sys.argv[1]))
os.environ |= {"AWS_PROFILE": "mine", "HTTPS_PROXY": "http://proxy.example.com"}
engine.start()
del os.environ["AWS_PROFILE"], os.environ["HTTPS_PROXY"]
make_function(engine, "up", "def handler(event, context):\\n    return 1")
engine.client("lambda").invoke(FunctionName="up")
print(engine.pid, flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_engine_ends_with_the_process_that_started_it_and_has_nothing_of_its_environment(
    tmp_path: Path,
) -> None:
    """A laptop that was killed leaves no engine behind, and no function."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert len(processes_of(pid)) >= 3, "the engine, what it forks from, and the function"
        starter.communicate()
    wait_until(lambda: not processes_of(pid), timeout_s=40, what="the engine's end")
    assert "mine" not in environment
    assert "proxy.example.com" not in environment
    assert f"DOCKER_HOST=unix://{tmp_path}" in environment
    assert "PERSIST_STATE=0" in environment, "it forgets"


def test_with_its_state_kept_a_restart_changes_nothing_and_a_kill_loses_the_rest(
    tmp_path: Path,
) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}}
    document = {"Statement": [{**trust, "Action": "sts:AssumeRole"}]}
    with Engine(tmp_path / "engine", EngineOptions(keep_state=True)) as engine:
        engine.client("sqs").create_queue(QueueName="kept")
        engine.client("s3").create_bucket(Bucket="kept")
        engine.client("s3").put_object(Bucket="kept", Key="a", Body=b"1")
        role = engine.client("iam").create_role(
            RoleName="machine", AssumeRolePolicyDocument=json.dumps(document)
        )["Role"]
        session = Role(engine, role["Arn"], "i-0123456789abcdef0")
        make_function(engine, "up", "def handler(event, context):\n    return 1\n")
        engine.client("lambda").invoke(FunctionName="up")
        first, port = engine.pid, engine.port
        engine.restart()
        wait_until(lambda: not processes_of(first or 0), timeout_s=5, what="all its functions' end")
        assert (engine.pid != first, engine.port) == (True, port)
        identity = session.client("sts").get_caller_identity()
        assert identity["UserId"] == f"{role['RoleId']}:i-0123456789abcdef0"
        engine.client("sqs").create_queue(QueueName="lost")
        engine.kill()
        assert engine.pid is None
        engine.start()
        queues = engine.client("sqs").list_queues()["QueueUrls"]
        body = engine.client("s3").get_object(Bucket="kept", Key="a")["Body"].read()
    engine.stop()  # a second time
    assert engine.pid is None
    assert [url.rpartition("/")[2] for url in queues] == ["kept"]
    assert body == b"1"
    assert (tmp_path / "engine").stat().st_mode & 0o077 == 0, "its state holds secrets"


def test_an_engine_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    engine = Engine(tmp_path, EngineOptions(settings={"PYTHONHOME": "/nowhere"}))
    with pytest.raises(EngineFailed, match="/nowhere"):
        engine.start()
    engine.stop()


def test_the_error_of_a_wait_names_its_object_and_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("the last words\n")
    with pytest.raises(EngineFailed, match=r"0 s for a miracle\nthe last words"):
        wait_until(lambda: False, timeout_s=0, what="a miracle", log=log)


def test_a_stack_that_fails_says_why(engine: Engine, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATE.parent / "machines", tmp_path / "machines")
    broken = tmp_path / "template.yaml"
    text = TEMPLATE.read_text().replace("/${Name}.asl.json", "/no-${Name}.asl.json")
    broken.write_text(text)
    with pytest.raises(EngineFailed, match=r"Machine .*\n?.*no-\w+\.asl\.json"):
        deploy_stack(engine, StackOptions(name="broken", template=broken))


def test_every_part_of_the_template_is_deployed(engine: Engine, stack: Stack) -> None:
    resources = engine.client("cloudformation").get_paginator("list_stack_resources")
    status_of = {
        resource["LogicalResourceId"]: resource["ResourceStatus"]
        for page in resources.paginate(StackName=stack.name)
        for resource in page["StackResourceSummaries"]
    }
    assert set(status_of.values()) == {"CREATE_COMPLETE"}
    parts = {"Vpc", "Ledger", "Bus", "Runner8gbFunction", "ReconcileMachine", "JobTakenRule", "Api"}
    assert parts <= set(status_of)
    assert stack.machine_role_id.startswith("AROA")
    assert len(stack.subnets.split(",")) == 2


def test_the_tables_forget_and_a_mailbox_is_in_no_index_and_no_backup(
    engine: Engine, stack: Stack
) -> None:
    dynamodb = engine.client("dynamodb")
    indexes = {}
    for table in (stack.ledger_table, stack.mailbox_table):
        ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert ttl["AttributeName"] == "ttl"
        described = dynamodb.describe_table(TableName=table)["Table"]
        indexes[table] = {
            index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
            for index in described.get("GlobalSecondaryIndexes", ())
        }
    assert indexes[stack.mailbox_table] == {}
    assert indexes[stack.ledger_table] == {
        "open": ["open_pk", "open_sk"],
        "recent": ["recent_pk", "changed_at"],
        "kinds": ["kind", "changed_at"],
    }
    backups = dynamodb.describe_continuous_backups(TableName=stack.mailbox_table)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "DISABLED"


def test_every_name_in_a_functions_settings_is_real(engine: Engine, stack: Stack) -> None:
    scale = engine.client("lambda").get_function_configuration(FunctionName=f"{stack.name}-scale")
    settings = scale["Environment"]["Variables"]
    for name in ("ledger_table", "mailbox_table", "mailbox_key", "ec2_queue_url", "subnets"):
        assert settings[f"FLEET_{name.upper()}"] == getattr(stack, name)
    assert settings["FLEET_LAMBDA_DEAD_LETTER_URL"] == stack.lambda_dead_letter_url
    assert settings["FLEET_MACHINE_ROLE_ID"] == stack.machine_role_id
    assert settings["FLEET_SWEEP_ARN"].endswith(f":function:{stack.name}-sweep")
    for function in ("route", "settle"):  # a burst does not take the whole machine
        name = f"{stack.name}-{function}"
        answer = engine.client("lambda").get_function_concurrency(FunctionName=name)
        assert answer["ReservedConcurrentExecutions"] == StackOptions().at_once
    secrets = engine.client("secretsmanager")
    for name in (settings["FLEET_GITLAB_SECRET"], stack.webhook_secret):
        assert secrets.describe_secret(SecretId=name)["Name"] == name


def test_an_alarm_reaches_the_operators_topic(engine: Engine, stack: Stack) -> None:
    watch, queues = engine.client("cloudwatch"), engine.client("sqs")
    url = queues.get_queue_url(QueueName=OPERATORS)["QueueUrl"]
    alarms = watch.describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    name = next(alarm["AlarmName"] for alarm in alarms if alarm["AlarmActions"])
    for state in ("OK", "ALARM"):
        watch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")
    (message,) = queues.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    assert name in message["Body"]
    queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_the_account_has_quotas(engine: Engine) -> None:
    quotas = engine.client("service-quotas")
    codes = {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
    for read in (quotas.get_service_quota, quotas.get_aws_default_service_quota):
        assert read(**codes)["Quota"] == {**codes, "Value": 64.0}
    with pytest.raises(ClientError, match="UnknownOperationException"):
        quotas.list_services()


def test_a_machine_reads_its_user_data(engine: Engine, stack: Stack) -> None:
    ec2 = engine.client("ec2")
    template = {"LaunchTemplateId": stack.launch_template, "Version": "$Latest"}
    launched = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template}],
        TargetCapacitySpecification={"TotalTargetCapacity": 1},
    )
    instance = launched["Instances"][0]["InstanceIds"][0]
    answer = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
    decoded = base64.b64decode(answer["UserData"]["Value"]).decode()
    assert f'export FLEET_MAILBOX_TABLE="{stack.mailbox_table}"' in decoded
    assert f'export FLEET_MAILBOX_KEY="{stack.mailbox_key}"' in decoded
    assert decoded.endswith((ROOT / "infra/user-data.sh").read_text())
    with pytest.raises(ClientError, match="NotFound"):
        ec2.describe_instance_attribute(InstanceId="i-0", Attribute="userData")


def test_a_launch_names_the_place_of_each_machine_and_takes_its_image(
    engine: Engine, stack: Stack
) -> None:
    """Without the place, a place that gives one machine at a time would count as an empty one."""
    places = [
        {"InstanceType": kind, "SubnetId": subnet}
        for kind in ("m7i.large", "m7a.large")
        for subnet in stack.subnets.split(",")
    ]
    own = [*places[:-1], places[-1] | {"ImageId": "ami-00000000000000bad"}]
    template = {"LaunchTemplateId": stack.launch_template, "Version": "$Latest"}
    ec2 = engine.client("ec2")
    launched = ec2.create_fleet(
        Type="instant",
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template, "Overrides": own}],
        TargetCapacitySpecification={"TotalTargetCapacity": 4},
    )
    named = [group["LaunchTemplateAndOverrides"]["Overrides"] for group in launched["Instances"]]
    assert sorted(named, key=places.index) == places
    (last,) = (
        group["InstanceIds"][0]
        for group in launched["Instances"]
        if group["LaunchTemplateAndOverrides"]["Overrides"] == places[-1]
    )
    machines = ec2.describe_instances()["Reservations"]
    images = {
        instance["InstanceId"]: instance["ImageId"]
        for each in machines
        for instance in each["Instances"]
    }
    assert [
        instance_id for instance_id, image in images.items() if image == own[-1]["ImageId"]
    ] == [last]
