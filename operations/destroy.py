"""Removes a fleet: what it made in GitLab, its machines, what is stored, the stack, and its logs.

Each kind is looked for, removed, and looked for again, so a run that was stopped is run again. What
the stack made goes with the stack; here is what AWS would keep, or what would keep the stack.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from adapters.aws.clients import Clients, aws_call
from adapters.gitlab.client import GitLab
from adapters.gitlab.hooks import delete_hook, hook_health
from fleet.config.reading import RunnersIn
from fleet.errors import Refused, Transient
from fleet.job_event import instance_of
from fleet.rules.runner_record import PREFIX, RecordName, read_record_name
from operations.bake import ARCHITECTURES, bake_stack, published
from operations.deploy import EVERY_S, bucket_name, names_in_template, why_it_failed
from operations.fleet_handle import Deployed, read_applied
from operations.pool_records import pool_secrets
from operations.stacks import find_stack

TAG = "runner-fleet:stack"
ALIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]
GONE_WITHIN_S = 300.0
AT_ONCE = 100  # instances of one call
_LOGS_OF = {"FunctionName": "/aws/lambda/", "ProjectName": "/aws/codebuild/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of what a fleet has. `find` gives names; `remove` may be repeated."""

    words: str
    find: Callable[[], Sequence[str]]
    remove: Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a step removed; empty `names` say that nothing was there."""

    words: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Whose fleet to remove. `deployed` and `gitlab` are None where there is nothing to ask."""

    aws: Clients
    stack: str
    account: str
    region: str
    deployed: Deployed | None = None
    gitlab: GitLab | None = None
    every_s: float = EVERY_S
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = field(default=time.monotonic)


def destroy(order: Removal) -> Iterator[Removed]:
    """Remove everything, a value for each step. `Refused` for what cannot be removed: run again."""
    yield _stop_rules(order)
    for kind in (*_in_gitlab(order), *_in_aws(order)):
        yield _removed(kind)
    yield _delete_stack(order)
    for kind in _after_the_stack(order):
        yield _removed(kind)


def remains(order: Removal) -> Iterator[Removed]:
    """What is left of the fleet in AWS, by kind: nothing, after `destroy`.

    In GitLab `destroy` has looked again itself, while the ledger could say where.
    """
    kinds = (*_in_aws(order), *_after_the_stack(order))
    for kind in kinds:
        if names := tuple(kind.find()):
            yield Removed(words=kind.words, names=names)
    if _stack_status(order, order.stack):
        yield Removed(words="stack", names=(order.stack,))


def jobs_at_work(order: Removal) -> int:
    """How many machines of the stack live now: their jobs end with them."""
    return len(_machines(order))


def _removed(kind: Kind) -> Removed:
    """Remove it all, and look again. Raises `Refused` for what is there still."""
    names = tuple(kind.find())
    if names:
        kind.remove(names)
        if left := tuple(kind.find()):
            raise Refused(f"{kind.words} are left: run this again", left=", ".join(left))
    return Removed(words=kind.words, names=names)


# GitLab, while the ledger can say what is the fleet's


def _in_gitlab(order: Removal) -> Iterator[Kind]:
    if order.deployed is not None and order.gitlab is not None:
        stored = order.deployed.fleet.config()
        if stored is not None:
            config = read_applied(stored)
            yield _webhooks(order.deployed, order.gitlab, instance_of(config.gitlab.url))
            pools = (*(pool.name for pool in config.pools), *stored.leaving)
            yield _records(order.deployed, order.gitlab, config.gitlab.runners_in, pools)


def _webhooks(deployed: Deployed, gitlab: GitLab, instance: str) -> Kind:
    hooks = {f"{hook.scope} {hook.hook_id}": hook for hook in deployed.fleet.hooks(instance)}

    def find() -> list[str]:
        return [
            name for name, hook in hooks.items() if hook_health(gitlab, hook.scope, hook.hook_id)
        ]

    def remove(names: Sequence[str]) -> None:
        for name in names:
            delete_hook(gitlab, hooks[name].scope, hooks[name].hook_id)

    return Kind(words="webhooks", find=find, remove=remove)


def _records(deployed: Deployed, gitlab: GitLab, where: RunnersIn, pools: Sequence[str]) -> Kind:
    """The records of machines, by their description, and of pools, by the pools' secrets."""
    kind = None if where.kind == "project" else f"{where.kind}_type"

    def find() -> list[str]:
        machines = gitlab.runners_described(PREFIX, kind=kind, owner_id=where.id)
        names = ((machine.id, read_record_name(machine.description)) for machine in machines)
        record_ids = [number for number, name in names if name and name.stack == deployed.stack]
        prefix = deployed.pool_secret_prefix
        named = [(pool, name) for pool in pools for name in pool_secrets(prefix, pool)]
        for pool, name in named:
            token = deployed.secrets.find_pool_token(name)
            record = gitlab.runner(token.runner_id) if token else None
            if record and read_record_name(record.description) == RecordName(pool=pool):
                record_ids.append(record.id)
        return [str(number) for number in record_ids]

    def remove(names: Sequence[str]) -> None:
        for name in names:
            gitlab.delete_runner(int(name))

    return Kind(words="runner records", find=find, remove=remove)


# AWS, before the stack goes


def _stop_rules(order: Removal) -> Removed:
    """Stop all launches: no rule fires, and scale may not run."""
    stopped = []
    with suppress(ClientError), aws_call("lambda.PutFunctionConcurrency", passing=GONE):
        order.aws.functions.put_function_concurrency(
            FunctionName=f"{order.stack}-scale", ReservedConcurrentExecutions=0
        )
    for bus in ("default", order.stack):
        try:
            with aws_call("events.ListRules", passing=("ResourceNotFoundException",)):
                rules = order.aws.events.list_rules(
                    EventBusName=bus, NamePrefix=f"{order.stack}-", Limit=100
                )["Rules"]
        except ClientError:
            continue
        for rule in rules:
            name = rule["Name"]
            if "-" not in name.removeprefix(f"{order.stack}-") and rule["State"] == "ENABLED":
                with aws_call("events.DisableRule"):
                    order.aws.events.disable_rule(Name=name, EventBusName=bus)
                stopped.append(name)
    return Removed(words="rules stopped", names=tuple(stopped))


def _living(order: Removal) -> Kind:
    aws = order.aws

    def end_machines(names: Sequence[str]) -> None:
        for start in range(0, len(names), AT_ONCE):
            with aws_call("ec2.TerminateInstances", passing=("InvalidInstanceID.NotFound",)):
                aws.ec2.terminate_instances(InstanceIds=list(names[start : start + AT_ONCE]))
        _until(order, lambda: not _machines(order), "machines still end")

    return Kind(words="machines", find=lambda: _machines(order), remove=end_machines)


def _in_aws(order: Removal) -> Iterator[Kind]:
    aws = order.aws
    yield Kind(
        words="stacks that bake",  # before what they bake
        find=lambda: _bakeries(order),
        remove=lambda names: _delete_all(order, names),
    )
    yield _living(order)
    yield Kind(words="machine images", find=lambda: _images(order), remove=_deregister(order))
    yield Kind(
        words="snapshots",
        find=lambda: _snapshots(order),
        remove=lambda names: _each(
            names,
            "ec2.DeleteSnapshot",
            lambda snapshot: aws.ec2.delete_snapshot(SnapshotId=snapshot),
        ),
    )
    yield Kind(
        words="names of machine images",
        find=lambda: _published(order),
        remove=lambda names: _each(
            names, "ssm.DeleteParameter", lambda name: aws.ssm.delete_parameter(Name=name)
        ),
    )
    yield Kind(
        words="secrets",
        find=lambda: _secrets(order),
        remove=lambda names: _each(
            names,
            "secretsmanager.DeleteSecret",
            lambda secret: aws.secrets.delete_secret(
                SecretId=secret, ForceDeleteWithoutRecovery=True
            ),
        ),
    )
    yield Kind(
        words="objects of the cache",
        find=lambda: _filled(order, "AWS::S3::Bucket"),
        remove=lambda names: _each(names, "s3.DeleteObjects", lambda bucket: _empty(aws, bucket)),
    )
    yield Kind(
        words="images of machines",
        find=lambda: _repositories(order),
        remove=lambda names: _each(
            names,
            "ecr.DeleteRepository",
            lambda repository: aws.ecr.delete_repository(repositoryName=repository, force=True),
        ),
    )


def _machines(order: Removal) -> list[str]:
    filters: Any = [
        {"Name": f"tag:{TAG}", "Values": [order.stack]},
        {"Name": "instance-state-name", "Values": ALIVE},
    ]
    with aws_call("ec2.DescribeInstances"):
        pages = order.aws.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [
            machine["InstanceId"]
            for page in pages
            for reservation in page["Reservations"]
            for machine in reservation["Instances"]
        ]


def _images(order: Removal) -> list[str]:
    filters: Any = [{"Name": f"tag:{TAG}", "Values": [order.stack]}]
    with aws_call("ec2.DescribeImages"):
        answer = order.aws.ec2.describe_images(Owners=["self"], Filters=filters)
    return [image["ImageId"] for image in answer["Images"]]


def _deregister(order: Removal) -> Callable[[Sequence[str]], None]:
    """Deregister images, and delete the snapshots behind them, which may have no tag."""

    def remove(names: Sequence[str]) -> None:
        ec2 = order.aws.ec2
        with aws_call("ec2.DescribeImages"):
            images = ec2.describe_images(ImageIds=list(names))["Images"]
        for image in images:
            with aws_call("ec2.DeregisterImage"):
                ec2.deregister_image(ImageId=image["ImageId"])
            for mapping in image.get("BlockDeviceMappings", []):
                snapshot = mapping.get("Ebs", {}).get("SnapshotId")
                if snapshot:
                    with suppress(ClientError), aws_call("ec2.DeleteSnapshot", passing=GONE):
                        ec2.delete_snapshot(SnapshotId=snapshot)

    return remove


def _snapshots(order: Removal) -> list[str]:
    filters: Any = [{"Name": f"tag:{TAG}", "Values": [order.stack]}]
    with aws_call("ec2.DescribeSnapshots"):
        answer = order.aws.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)
    return [snapshot["SnapshotId"] for snapshot in answer["Snapshots"]]


def _secrets(order: Removal) -> list[str]:
    """The stack's own and those of its pools: `apply` made them, so no stack removes them."""
    own = (f"{order.stack}/gitlab", f"{order.stack}/webhook")
    pools = f"{order.stack}/pool/"
    filters: Any = [{"Key": "name", "Values": [f"{order.stack}/"]}]
    with aws_call("secretsmanager.ListSecrets"):
        pages = order.aws.secrets.get_paginator("list_secrets").paginate(
            Filters=filters, IncludePlannedDeletion=True
        )
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
    return [name for name in names if name in own or name.startswith(pools)]


def _resources(order: Removal, kind: str) -> list[str]:
    """The names of the stack's resources of one type; none without the stack."""
    try:
        with aws_call("cloudformation.ListStackResources", passing=("ValidationError",)):
            pages = order.aws.cloudformation.get_paginator("list_stack_resources").paginate(
                StackName=order.stack
            )
            summaries = [summary for page in pages for summary in page["StackResourceSummaries"]]
    except ClientError:
        return []
    return [
        summary["PhysicalResourceId"]
        for summary in summaries
        if summary["ResourceType"] == kind and summary.get("PhysicalResourceId")
        if summary["ResourceStatus"] != "DELETE_COMPLETE"
    ]


def _filled(order: Removal, kind: str) -> list[str]:
    return [name for name in _resources(order, kind) if _has_objects(order.aws, name)]


def _has_objects(aws: Clients, bucket: str) -> bool:
    try:
        with aws_call("s3.ListObjectVersions", passing=("NoSuchBucket",)):
            page = aws.s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    except ClientError:
        return False
    return bool(page.get("Versions") or page.get("DeleteMarkers"))


def _empty(aws: Clients, bucket: str) -> None:
    """Delete every version of every object, and what is half uploaded."""
    for page in aws.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        objects: Any = [
            {"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions
        ]
        if objects:
            aws.s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})


def _repositories(order: Removal) -> list[str]:
    names = _resources(order, "AWS::ECR::Repository")
    return [name for name in names if _is_there(order.aws, name)]


def _is_there(aws: Clients, repository: str) -> bool:
    try:
        with aws_call("ecr.DescribeRepositories", passing=("RepositoryNotFoundException",)):
            aws.ecr.describe_repositories(repositoryNames=[repository])
    except ClientError:
        return False
    return True


# The stack, and what is left after it


def _bakeries(order: Removal) -> list[str]:
    names = [bake_stack(order.stack, architecture) for architecture in ARCHITECTURES]
    return [name for name in names if _stack_status(order, name)]


def _published(order: Removal) -> list[str]:
    names = [published(order.stack, architecture) for architecture in ARCHITECTURES]
    with aws_call("ssm.GetParameters"):
        answer = order.aws.ssm.get_parameters(Names=names)
    return [parameter["Name"] for parameter in answer["Parameters"]]


def _stack_status(order: Removal, name: str) -> str | None:
    stack = find_stack(order.aws, name)
    if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    return stack["StackStatus"]


def _delete_stack(order: Removal) -> Removed:
    if not _stack_status(order, order.stack):
        return Removed(words="stack", names=())
    _delete(order, order.stack)
    return Removed(words="stack", names=(order.stack,))


def _delete_all(order: Removal, names: Sequence[str]) -> None:
    for name in names:
        _delete(order, name)


def _delete(order: Removal, name: str) -> None:
    """Delete a stack and wait for it. Raises `Refused` with CloudFormation's reasons."""
    stack = find_stack(order.aws, name)
    if stack is None:
        return
    by_id = stack["StackId"]  # its name means no stack any more once it is deleted
    with aws_call("cloudformation.DeleteStack"):
        order.aws.cloudformation.delete_stack(StackName=name)
    waiter = order.aws.cloudformation.get_waiter("stack_delete_complete")
    pace: Any = {"Delay": order.every_s, "MaxAttempts": int(1800 / max(order.every_s, 1))}
    try:
        with aws_call("cloudformation.DescribeStacks"):
            waiter.wait(StackName=by_id, WaiterConfig=pace)
    except (WaiterError, Refused) as error:
        if _stack_status(order, name):
            raise Refused(
                f"the stack {name} was not deleted: {why_it_failed(order.aws, name)};"
                " run `runner-fleet destroy` again when that is corrected"
            ) from error


def _after_the_stack(order: Removal) -> Iterator[Kind]:
    aws = order.aws

    def remove_bucket(names: Sequence[str]) -> None:
        for name in names:
            with aws_call("s3.DeleteBucket"):
                _empty(aws, name)
                aws.s3.delete_bucket(Bucket=name)

    yield _living(order)  # a launch may have been on its way
    yield Kind(words="bucket of the code", find=lambda: _code_bucket(order), remove=remove_bucket)
    yield Kind(
        words="log groups",
        find=lambda: _log_groups(order),
        remove=lambda names: _each(
            names,
            "logs.DeleteLogGroup",
            lambda group: aws.logs.delete_log_group(logGroupName=group),
        ),
    )


def _code_bucket(order: Removal) -> list[str]:
    """Our own; a bucket that the operator named is theirs."""
    name = bucket_name(order.stack, order.account, order.region)
    try:
        with aws_call("s3.HeadBucket", passing=("404", "NoSuchBucket", "NotFound")):
            order.aws.s3.head_bucket(Bucket=name)
    except ClientError:
        return []
    return [name]


def _log_groups(order: Removal) -> list[str]:
    """By their exact names: another stack's name may begin with this one's."""
    wanted = set()
    for kind, name in names_in_template():
        full = name.replace("${AWS::StackName}", order.stack)
        if kind == "LogGroupName":
            wanted.add(full)
        elif kind in _LOGS_OF:
            wanted.add(_LOGS_OF[kind] + full)
    existing = []
    for prefix in sorted({name[: name.index(order.stack)] + order.stack for name in wanted}):
        with aws_call("logs.DescribeLogGroups"):
            pages = order.aws.logs.get_paginator("describe_log_groups").paginate(
                logGroupNamePrefix=prefix
            )
            existing += [
                log_group["logGroupName"] for page in pages for log_group in page["logGroups"]
            ]
    return sorted(wanted & set(existing))


GONE = (
    "404",
    "ParameterNotFound",
    "InvalidSnapshot.NotFound",
    "NoSuchBucket",
    "RepositoryNotFoundException",
    "ResourceNotFoundException",
)


def _each(names: Sequence[str], call: str, remove: Callable[[str], object]) -> None:
    """Remove each. An absent resource counts as removed."""
    for name in names:
        with suppress(ClientError), aws_call(call, passing=GONE):
            remove(name)


def _until(order: Removal, is_done: Callable[[], bool], what: str) -> None:
    deadline = order.clock() + GONE_WITHIN_S
    while not is_done():
        if order.clock() > deadline:
            raise Transient(f"{what}: run this again in some minutes")
        order.pause(order.every_s)
