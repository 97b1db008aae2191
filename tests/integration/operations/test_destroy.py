"""`destroy` on the embedded engine: everything of one fleet goes, and nothing of its neighbour."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.aws.clients import Clients, patient
from adapters.gitlab import hooks
from adapters.gitlab.hook_values import HookTarget
from adapters.ledger.runners import RunnerRows
from cli.destroy import DestroyWorld
from cli.main import app
from fleet.job_event import instance_of
from infra import package
from local.aws.engine import Engine
from local.gitlab.seed import create_project
from local.gitlab.server import SimulatorServer
from operations.apply import apply_config
from operations.bake import bake_stack, image_parameter
from operations.clock import now
from operations.deploy import Deployment, deploy
from operations.fleet_handle import find
from operations.gitlab_access import connect
from operations.webhooks import HookAddress, register, wiring
from tests.integration.operations.engine_session import EngineSession

FLEET = """
[gitlab]
url = "{url}"
runners_in = "instance"
watch = {{ projects = [{project}] }}
[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large"]
ceiling = 2
"""
# The first is the beginning of the second one's name: nothing may be found by it alone.
GONE, NEIGHBOUR = "short", "short-lived"


@dataclass(frozen=True, kw_only=True)
class Account:
    """An AWS account with two fleets on one GitLab."""

    aws: Clients
    gitlab: SimulatorServer

    def destroy(self, *arguments: str, typed: str | None = None) -> Result:
        """The command on the first fleet."""
        world = DestroyWorld(aws=lambda _: self.aws, asks=typed is not None, every_s=0.2)
        env = {"GITLAB_TOKEN": "", "RUNNER_FLEET_STACK": ""}
        arguments = ("destroy", "--stack", GONE, *arguments)
        return CliRunner().invoke(app, arguments, obj=world, env=env, input=typed)

    def client(self) -> Any:
        """GitLab, as the fleets call it."""
        return connect(self.gitlab.url, self.gitlab.root_token)

    def instances(self, stack: str) -> list[str]:
        answer = self.aws.ec2.describe_instances(
            Filters=[
                {"Name": "tag:runner-fleet:stack", "Values": [stack]},
                {"Name": "instance-state-name", "Values": ["pending", "running"]},
            ]
        )
        return [
            instance["InstanceId"]
            for group in answer["Reservations"]
            for instance in group["Instances"]
        ]


@pytest.fixture(scope="module")
def account(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    aws = Clients(EngineSession(engine), patient())
    code = package.functions_zip()
    with SimulatorServer(tmp_path_factory.mktemp("gitlab")) as server:
        project = create_project(server.url, server.root_token, "acme/demo", {"a": "b"})
        for stack in (GONE, NEIGHBOUR):
            deploy(aws, Deployment(stack=stack, every_s=0.2), code)
            _put_to_work(Account(aws=aws, gitlab=server), stack, project.id)
        yield Account(aws=aws, gitlab=server)


def _put_to_work(account: Account, stack: str, project: int) -> None:
    """Pools with records and secrets, a webhook, a machine, and an object in the cache."""
    aws, gitlab = account.aws, account.client()
    deployed = find(stack, aws)
    text = FLEET.format(url=account.gitlab.url, project=project)
    apply_config(
        text,
        fleet=deployed.fleet,
        runners=RunnerRows(deployed.table, deployed.mailboxes, instance_of(account.gitlab.url)),
        secrets=deployed.secrets,
        gitlab=gitlab,
        pool_secret_prefix=deployed.pool_secret_prefix,
        at=now(),
    )
    deployed.secrets.store_gitlab_token(deployed.gitlab_secret, account.gitlab.root_token)
    world = wiring(aws, stack)
    scope = hooks.scope_of(gitlab, project=project)
    target = HookTarget(scope=scope, url=world.url)
    instance = instance_of(account.gitlab.url)
    register(world, HookAddress(gitlab=gitlab, instance=instance, target=target))
    outputs = {
        output["OutputKey"]: output["OutputValue"]
        for output in aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    }
    aws.s3.put_object(Bucket=outputs["CacheBucket"], Key="project/1/cache.zip", Body=b"x")
    tags: Any = [
        {"ResourceType": "instance", "Tags": [{"Key": "runner-fleet:stack", "Value": stack}]}
    ]
    small = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    aws.cloudformation.create_stack(StackName=bake_stack(stack, "x86_64"), TemplateBody=small)
    parameter = image_parameter(stack, "x86_64")
    aws.ssm.put_parameter(Name=parameter, Value="ami-1", Type="String")
    aws.ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, TagSpecifications=tags)


def names(answer: Any, key: str, name: str) -> set[str]:
    """The names in a listing of AWS."""
    return {str(entry[name]) for entry in answer[key]}


def everything(account: Account) -> dict[str, set[str]]:
    """All that the account and GitLab have, by kind."""
    aws, gitlab = account.aws, account.client()
    project = gitlab.project("acme/demo").id
    runners = gitlab.runners_described("", kind=None, owner_id=None)
    return {
        "stacks": {
            str(stack["StackName"])
            for stack in aws.cloudformation.describe_stacks()["Stacks"]
            if stack["StackStatus"] != "DELETE_COMPLETE"
        },
        "buckets": names(aws.s3.list_buckets(), "Buckets", "Name"),
        "secrets": names(aws.secrets.list_secrets(), "SecretList", "Name"),
        # The functions of other tests' stacks make theirs when they first run.
        "log groups": {
            name
            for name in names(aws.logs.describe_log_groups(), "logGroups", "logGroupName")
            if GONE in name or NEIGHBOUR in name
        },
        "tables": set(aws.dynamodb.list_tables()["TableNames"]),
        "functions": names(aws.functions.list_functions(), "Functions", "FunctionName"),
        "parameters": {
            name
            for name in (image_parameter(stack, "x86_64") for stack in (GONE, NEIGHBOUR))
            if aws.ssm.get_parameters(Names=[name])["Parameters"]
        },
        "queues": set(aws.sqs.list_queues().get("QueueUrls", ())),
        "rules": names(aws.events.list_rules(), "Rules", "Name"),
        "hooks": {str(body["url"]) for body in gitlab.api.pages(f"/projects/{project}/hooks")},
        "records": {str(runner.id) for runner in runners},
    }


def test_destroy_starts_only_with_the_stacks_name(account: Account) -> None:
    before = everything(account)
    for result in (
        account.destroy(),
        account.destroy("--confirm", NEIGHBOUR),
        account.destroy(typed="yes\n"),
    ):
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
    assert everything(account) == before


def test_a_fleet_goes_whole_and_leaves_its_neighbour_as_it_was(account: Account) -> None:
    assert account.instances(GONE)
    before = everything(account)
    result = account.destroy(typed=f"{GONE}\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "nothing of short is left" in result.stdout
    after = everything(account)
    assert after["stacks"] == before["stacks"] - {GONE, bake_stack(GONE, "x86_64")}
    for kind, remaining in after.items():
        gone = before[kind] - remaining
        assert gone, kind
        assert not remaining - before[kind]
    assert len(after["records"]) == len(after["hooks"]) == 1
    assert account.instances(GONE) == []
    assert account.instances(NEIGHBOUR)
    mine = {name for remaining in after.values() for name in remaining if GONE in name}
    assert all(NEIGHBOUR in name for name in mine)


def test_destroy_may_run_again(account: Account) -> None:
    assert account.destroy("--confirm", GONE).exit_code == 0
    before = everything(account)
    result = account.destroy("--confirm", GONE, "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["stack"], answer["left"]) == (0, GONE, [])
    assert not any(step["names"] for step in answer["removed"])
    assert everything(account) == before
