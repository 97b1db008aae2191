"""The fleet's own template, deployed on the embedded engine."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fleet.config.model import RunnerSize
from infra import package
from local.aws.engine import ACCOUNT, REGION, Engine, EngineFailed, wait_until

CODE_BUCKET = "fleet-code"
OPERATORS = "operators"
RUNNER_SIZES = tuple(size.lower() for size in get_args(RunnerSize))
_DEPLOY_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The outputs of the template, in its own words."""

    name: str
    image_repository: str
    webhook_url: str
    version: str
    image_sources: str
    ledger_table: str
    mailbox_table: str
    mailbox_key: str
    bus: str
    ec2_queue_url: str
    lambda_queue_url: str
    ec2_dead_letter_url: str
    lambda_dead_letter_url: str
    event_dead_letter_url: str
    expiry_dead_letter_url: str
    expiry_dead_letter_arn: str
    expiry_role: str
    schedule_group: str
    gitlab_secret: str
    webhook_secret: str
    pool_secret_prefix: str
    launch_template: str
    protected_launch_template: str
    subnets: str
    machine_role: str
    machine_role_id: str
    protected_machine_role: str
    protected_machine_role_id: str
    cache_bucket: str
    cache_role: str
    lambda_timeout: str
    largest_runner: str
    runner_function_prefix: str
    route_machine: str
    scale_machine: str
    settle_machine: str
    reconcile_machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """How one local deployment differs from another."""

    name: str = "runner-fleet"
    sources: Path = package.ROOT  # where the functions' packages are taken from
    template: Path = package.TEMPLATE
    # Named as in ECR, so that machines log in there. One that is a process pulls nothing.
    ec2_image: str = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/runner-fleet/ec2@sha256:{'0' * 64}"
    cache_ttl_s: int = 5
    at_once: int = 16  # invocations of route and of settle; others are throttled and tried again


def deploy_stack(engine: Engine, options: StackOptions | None = None) -> Stack:
    """Deploy the template and wait. Raises `EngineFailed` with the reasons CloudFormation gives."""
    chosen = options or StackOptions()
    s3, cloudformation = engine.client("s3"), engine.client("cloudformation")
    s3.create_bucket(Bucket=CODE_BUCKET)
    code = package.functions_zip(chosen.sources)
    uploaded = package.upload(s3, CODE_BUCKET, code, template=chosen.template)
    parameters = uploaded.parameters() | {
        "CacheTtl": str(chosen.cache_ttl_s),
        "KeepArchive": "false",  # a laptop's memory is short
        "Ec2Image": chosen.ec2_image,
        "Ec2ImageArm64": chosen.ec2_image,
        "LambdaImage": f"local/stand_in@sha256:{'0' * 64}",
        "AlarmTopicArn": _topic(engine),
    }
    cloudformation.create_stack(
        StackName=chosen.name,
        TemplateURL=f"{engine.url}/{CODE_BUCKET}/{uploaded.template_key}",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )
    outputs = _outputs(cloudformation, chosen.name)
    _complete(engine, chosen, outputs)
    _put_image(engine, chosen.ec2_image)
    return Stack(name=chosen.name, **{_snake(key): value for key, value in outputs.items()})


def _topic(engine: Engine) -> str:
    """The operators' topic, which keeps what the alarms send in a queue."""
    sns, sqs = engine.client("sns"), engine.client("sqs")
    topic: str = sns.create_topic(Name=OPERATORS)["TopicArn"]
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{OPERATORS}"
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.create_queue(QueueName=OPERATORS, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    return topic


def _put_image(engine: Engine, uri: str) -> None:
    """Have ECR list the image that the stack names, as a build would; no machine here pulls it."""
    name, _, digest = uri.partition("/")[2].partition("@")
    ecr = engine.client("ecr")
    with suppress(ecr.exceptions.RepositoryAlreadyExistsException):
        ecr.create_repository(repositoryName=name)
    ecr.put_image(repositoryName=name, imageManifest="{}", imageDigest=digest)


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    deadline = time.monotonic() + _DEPLOY_TIMEOUT_S
    while True:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            return {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"]}
        if stack["StackStatus"] != "CREATE_IN_PROGRESS" or time.monotonic() > deadline:
            raise EngineFailed(
                f"stack {name}: {stack['StackStatus']}\n{_reasons(cloudformation, name)}"
            )
        time.sleep(0.05)


def _reasons(cloudformation: Any, name: str) -> str:
    pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=name)
    failed = [
        f"{event['LogicalResourceId']} ({event['ResourceType']}): {event['ResourceStatusReason']}"
        for page in pages
        for event in page["StackEvents"]
        if event["ResourceStatus"].endswith("FAILED")
    ]
    return "\n".join(reversed(failed))


def _complete(engine: Engine, options: StackOptions, outputs: dict[str, str]) -> None:
    """Do what MiniStack's CloudFormation leaves out: a version's snapshot is awaited there, too."""
    webhook = {"FunctionName": f"{options.name}-webhook", "Qualifier": "live"}
    wait_until(
        lambda: _state(engine, webhook) == "Active",
        timeout_s=_DEPLOY_TIMEOUT_S,
        what="the webhook's version to be active",
        log=engine.log,
    )
    for function in ("route", "settle"):
        engine.client("lambda").put_function_concurrency(
            FunctionName=f"{options.name}-{function}",
            ReservedConcurrentExecutions=options.at_once,
        )
    for table in ("LedgerTable", "MailboxTable"):
        engine.client("dynamodb").update_time_to_live(
            TableName=outputs[table],
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"},
        )


def _state(engine: Engine, function: dict[str, str]) -> str:
    configuration = engine.client("lambda").get_function_configuration(**function)
    return str(configuration["State"])


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key).lstrip("_")
