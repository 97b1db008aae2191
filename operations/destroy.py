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
from fleet.config.model import RunnersIn
from fleet.errors import Refused, Transient
from fleet.job_event import instance_of
from fleet.rules.runner_record import PREFIX, RecordName, read_record_name
from operations.bake import ARCHITECTURES, bake_stack, image_parameter
from operations.deploy import EVERY_S, bucket_name, why_it_failed
from operations.deploy_check import names_in_template
from operations.fleet_handle import Deployed, read_applied
from operations.pool_records import pool_secrets
from operations.stacks import find_stack

TAG = "runner-fleet:stack"
ALIVE = ["pending", "running", "stopping", "stopped", "shutting-down"]
GONE_WITHIN_S = 300.0
AT_ONCE = 100  # instances of one call
# AWS's words for a resource that is not there.
ABSENT = (
    "404",
    "ParameterNotFound",
    "InvalidSnapshot.NotFound",
    "NoSuchBucket",
    "RepositoryNotFoundException",
    "ResourceNotFoundException",
)
_LOGS_OF = {"FunctionName": "/aws/lambda/", "ProjectName": "/aws/codebuild/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceKind:
    """A kind of resource of a fleet. `find` returns names; `remove` may be repeated."""

    what: str
    find: Callable[[], Sequence[str]]
    remove: Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What a step removed; empty `names` say that nothing was there."""

    what: str
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


def destroy(removal: Removal) -> Iterator[Removed]:
    """Remove everything, a value for each step. `Refused` for what cannot be removed: run again."""
    yield _stop_rules(removal)
    for kind in (*_in_gitlab(removal), *_in_aws(removal)):
        yield _removed(kind)
    yield _delete_stack(removal)
    for kind in _after_the_stack(removal):
        yield _removed(kind)


def remains(removal: Removal) -> Iterator[Removed]:
    """What is left of the fleet in AWS, by kind: nothing, after `destroy`.

    In GitLab `destroy` has looked again itself, while the ledger could say where.
    """
    kinds = (*_in_aws(removal), *_after_the_stack(removal))
    for kind in kinds:
        if names := tuple(kind.find()):
            yield Removed(what=kind.what, names=names)
    if _stack_status(removal, removal.stack):
        yield Removed(what="stack", names=(removal.stack,))


def count_machines(removal: Removal) -> int:
    """The number of live machines of the stack: their jobs end with them."""
    return len(_machines(removal))


def _removed(kind: ResourceKind) -> Removed:
    """Remove it all, and look again. Raises `Refused` for what is there still."""
    names = tuple(kind.find())
    if names:
        kind.remove(names)
        if left := tuple(kind.find()):
            raise Refused(f"{kind.what} are left: run this again", left=", ".join(left))
    return Removed(what=kind.what, names=names)


# GitLab, while the ledger can say what is the fleet's


def _in_gitlab(removal: Removal) -> Iterator[ResourceKind]:
    if removal.deployed is not None and removal.gitlab is not None:
        stored = removal.deployed.fleet.config()
        if stored is not None:
            config = read_applied(stored)
            yield _webhooks(removal.deployed, removal.gitlab, instance_of(config.gitlab.url))
            pools = (*(pool.name for pool in config.pools), *stored.leaving)
            yield _records(removal.deployed, removal.gitlab, config.gitlab.runners_in, pools)


def _webhooks(deployed: Deployed, gitlab: GitLab, instance: str) -> ResourceKind:
    hooks = {f"{hook.scope} {hook.hook_id}": hook for hook in deployed.fleet.hooks(instance)}

    def find() -> list[str]:
        return [
            name for name, hook in hooks.items() if hook_health(gitlab, hook.scope, hook.hook_id)
        ]

    def remove(names: Sequence[str]) -> None:
        for name in names:
            delete_hook(gitlab, hooks[name].scope, hooks[name].hook_id)

    return ResourceKind(what="webhooks", find=find, remove=remove)


def _records(
    deployed: Deployed, gitlab: GitLab, where: RunnersIn, pools: Sequence[str]
) -> ResourceKind:
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

    return ResourceKind(what="runner records", find=find, remove=remove)


# AWS, before the stack goes


def _stop_rules(removal: Removal) -> Removed:
    """Stop all launches: no rule fires, and scale may not run."""
    stopped = []
    with suppress(ClientError), aws_call("lambda.PutFunctionConcurrency", passing=ABSENT):
        removal.aws.functions.put_function_concurrency(
            FunctionName=f"{removal.stack}-scale", ReservedConcurrentExecutions=0
        )
    for bus in ("default", removal.stack):
        try:
            with aws_call("events.ListRules", passing=("ResourceNotFoundException",)):
                rules = removal.aws.events.list_rules(
                    EventBusName=bus, NamePrefix=f"{removal.stack}-", Limit=100
                )["Rules"]
        except ClientError:
            continue
        for rule in rules:
            name = rule["Name"]
            if "-" not in name.removeprefix(f"{removal.stack}-") and rule["State"] == "ENABLED":
                with aws_call("events.DisableRule"):
                    removal.aws.events.disable_rule(Name=name, EventBusName=bus)
                stopped.append(name)
    return Removed(what="rules stopped", names=tuple(stopped))


def _machine_kind(removal: Removal) -> ResourceKind:
    aws = removal.aws

    def end_machines(names: Sequence[str]) -> None:
        for start in range(0, len(names), AT_ONCE):
            with aws_call("ec2.TerminateInstances", passing=("InvalidInstanceID.NotFound",)):
                aws.ec2.terminate_instances(InstanceIds=list(names[start : start + AT_ONCE]))
        _wait_until(removal, lambda: not _machines(removal), "machines still end")

    return ResourceKind(what="machines", find=lambda: _machines(removal), remove=end_machines)


def _in_aws(removal: Removal) -> Iterator[ResourceKind]:
    aws = removal.aws
    yield ResourceKind(
        what="stacks that bake",  # before what they bake
        find=lambda: _bakeries(removal),
        remove=lambda names: _delete_all(removal, names),
    )
    yield _machine_kind(removal)
    yield ResourceKind(
        what="machine images", find=lambda: _images(removal), remove=_deregister(removal)
    )
    yield ResourceKind(
        what="snapshots",
        find=lambda: _snapshots(removal),
        remove=lambda names: _each(
            names,
            "ec2.DeleteSnapshot",
            lambda snapshot: aws.ec2.delete_snapshot(SnapshotId=snapshot),
        ),
    )
    yield ResourceKind(
        what="names of machine images",
        find=lambda: _published(removal),
        remove=lambda names: _each(
            names, "ssm.DeleteParameter", lambda name: aws.ssm.delete_parameter(Name=name)
        ),
    )
    yield ResourceKind(
        what="secrets",
        find=lambda: _secrets(removal),
        remove=lambda names: _each(
            names,
            "secretsmanager.DeleteSecret",
            lambda secret: aws.secrets.delete_secret(
                SecretId=secret, ForceDeleteWithoutRecovery=True
            ),
        ),
    )
    yield ResourceKind(
        what="objects of the cache",
        find=lambda: _filled(removal, "AWS::S3::Bucket"),
        remove=lambda names: _each(names, "s3.DeleteObjects", lambda bucket: _empty(aws, bucket)),
    )
    yield ResourceKind(
        what="images of machines",
        find=lambda: _repositories(removal),
        remove=lambda names: _each(
            names,
            "ecr.DeleteRepository",
            lambda repository: aws.ecr.delete_repository(repositoryName=repository, force=True),
        ),
    )


def _machines(removal: Removal) -> list[str]:
    filters: Any = [
        {"Name": f"tag:{TAG}", "Values": [removal.stack]},
        {"Name": "instance-state-name", "Values": ALIVE},
    ]
    with aws_call("ec2.DescribeInstances"):
        pages = removal.aws.ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [
            machine["InstanceId"]
            for page in pages
            for reservation in page["Reservations"]
            for machine in reservation["Instances"]
        ]


def _images(removal: Removal) -> list[str]:
    filters: Any = [{"Name": f"tag:{TAG}", "Values": [removal.stack]}]
    with aws_call("ec2.DescribeImages"):
        answer = removal.aws.ec2.describe_images(Owners=["self"], Filters=filters)
    return [image["ImageId"] for image in answer["Images"]]


def _deregister(removal: Removal) -> Callable[[Sequence[str]], None]:
    """Deregister images, and delete the snapshots behind them, which may have no tag."""

    def remove(names: Sequence[str]) -> None:
        ec2 = removal.aws.ec2
        with aws_call("ec2.DescribeImages"):
            images = ec2.describe_images(ImageIds=list(names))["Images"]
        for image in images:
            with aws_call("ec2.DeregisterImage"):
                ec2.deregister_image(ImageId=image["ImageId"])
            for mapping in image.get("BlockDeviceMappings", []):
                snapshot = mapping.get("Ebs", {}).get("SnapshotId")
                if snapshot:
                    with suppress(ClientError), aws_call("ec2.DeleteSnapshot", passing=ABSENT):
                        ec2.delete_snapshot(SnapshotId=snapshot)

    return remove


def _snapshots(removal: Removal) -> list[str]:
    filters: Any = [{"Name": f"tag:{TAG}", "Values": [removal.stack]}]
    with aws_call("ec2.DescribeSnapshots"):
        answer = removal.aws.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)
    return [snapshot["SnapshotId"] for snapshot in answer["Snapshots"]]


def _secrets(removal: Removal) -> list[str]:
    """The stack's own and those of its pools: `apply` made them, so no stack removes them."""
    own = (f"{removal.stack}/gitlab", f"{removal.stack}/webhook")
    pools = f"{removal.stack}/pool/"
    filters: Any = [{"Key": "name", "Values": [f"{removal.stack}/"]}]
    with aws_call("secretsmanager.ListSecrets"):
        pages = removal.aws.secrets.get_paginator("list_secrets").paginate(
            Filters=filters, IncludePlannedDeletion=True
        )
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
    return [name for name in names if name in own or name.startswith(pools)]


def _resources(removal: Removal, kind: str) -> list[str]:
    """The names of the stack's resources of one type; none without the stack."""
    try:
        with aws_call("cloudformation.ListStackResources", passing=("ValidationError",)):
            pages = removal.aws.cloudformation.get_paginator("list_stack_resources").paginate(
                StackName=removal.stack
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


def _filled(removal: Removal, kind: str) -> list[str]:
    return [name for name in _resources(removal, kind) if _has_objects(removal.aws, name)]


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


def _repositories(removal: Removal) -> list[str]:
    names = _resources(removal, "AWS::ECR::Repository")
    return [name for name in names if _is_there(removal.aws, name)]


def _is_there(aws: Clients, repository: str) -> bool:
    try:
        with aws_call("ecr.DescribeRepositories", passing=("RepositoryNotFoundException",)):
            aws.ecr.describe_repositories(repositoryNames=[repository])
    except ClientError:
        return False
    return True


# The stack, and what is left after it


def _bakeries(removal: Removal) -> list[str]:
    names = [bake_stack(removal.stack, architecture) for architecture in ARCHITECTURES]
    return [name for name in names if _stack_status(removal, name)]


def _published(removal: Removal) -> list[str]:
    names = [image_parameter(removal.stack, architecture) for architecture in ARCHITECTURES]
    with aws_call("ssm.GetParameters"):
        answer = removal.aws.ssm.get_parameters(Names=names)
    return [parameter["Name"] for parameter in answer["Parameters"]]


def _stack_status(removal: Removal, name: str) -> str | None:
    stack = find_stack(removal.aws, name)
    if stack is None or stack["StackStatus"] == "DELETE_COMPLETE":
        return None
    return stack["StackStatus"]


def _delete_stack(removal: Removal) -> Removed:
    if not _stack_status(removal, removal.stack):
        return Removed(what="stack", names=())
    _delete(removal, removal.stack)
    return Removed(what="stack", names=(removal.stack,))


def _delete_all(removal: Removal, names: Sequence[str]) -> None:
    for name in names:
        _delete(removal, name)


def _delete(removal: Removal, name: str) -> None:
    """Delete a stack and wait for it. Raises `Refused` with CloudFormation's reasons."""
    stack = find_stack(removal.aws, name)
    if stack is None:
        return
    by_id = stack["StackId"]  # its name means no stack once it is deleted
    with aws_call("cloudformation.DeleteStack"):
        removal.aws.cloudformation.delete_stack(StackName=name)
    waiter = removal.aws.cloudformation.get_waiter("stack_delete_complete")
    pace: Any = {"Delay": removal.every_s, "MaxAttempts": int(1800 / max(removal.every_s, 1))}
    try:
        with aws_call("cloudformation.DescribeStacks"):
            waiter.wait(StackName=by_id, WaiterConfig=pace)
    except (WaiterError, Refused) as error:
        if _stack_status(removal, name):
            raise Refused(
                f"the stack {name} was not deleted: {why_it_failed(removal.aws, name)};"
                " run `runner-fleet destroy` again when that is corrected"
            ) from error


def _after_the_stack(removal: Removal) -> Iterator[ResourceKind]:
    aws = removal.aws

    def remove_bucket(names: Sequence[str]) -> None:
        for name in names:
            with aws_call("s3.DeleteBucket"):
                _empty(aws, name)
                aws.s3.delete_bucket(Bucket=name)

    yield _machine_kind(removal)  # a launch may have been on its way
    yield ResourceKind(
        what="bucket of the code", find=lambda: _code_bucket(removal), remove=remove_bucket
    )
    yield ResourceKind(
        what="log groups",
        find=lambda: _log_groups(removal),
        remove=lambda names: _each(
            names,
            "logs.DeleteLogGroup",
            lambda group: aws.logs.delete_log_group(logGroupName=group),
        ),
    )


def _code_bucket(removal: Removal) -> list[str]:
    """Our own; a bucket that the operator named is theirs."""
    name = bucket_name(removal.stack, removal.account, removal.region)
    try:
        with aws_call("s3.HeadBucket", passing=("404", "NoSuchBucket", "NotFound")):
            removal.aws.s3.head_bucket(Bucket=name)
    except ClientError:
        return []
    return [name]


def _log_groups(removal: Removal) -> list[str]:
    """By their exact names: another stack's name may begin with this one's."""
    wanted = set()
    for kind, name in names_in_template():
        full = name.replace("${AWS::StackName}", removal.stack)
        if kind == "LogGroupName":
            wanted.add(full)
        elif kind in _LOGS_OF:
            wanted.add(_LOGS_OF[kind] + full)
    existing = []
    for prefix in sorted({name[: name.index(removal.stack)] + removal.stack for name in wanted}):
        with aws_call("logs.DescribeLogGroups"):
            pages = removal.aws.logs.get_paginator("describe_log_groups").paginate(
                logGroupNamePrefix=prefix
            )
            existing += [
                log_group["logGroupName"] for page in pages for log_group in page["logGroups"]
            ]
    return sorted(wanted & set(existing))


def _each(names: Sequence[str], call: str, remove: Callable[[str], object]) -> None:
    """Remove each. An absent resource counts as removed."""
    for name in names:
        with suppress(ClientError), aws_call(call, passing=ABSENT):
            remove(name)


def _wait_until(removal: Removal, is_done: Callable[[], bool], what: str) -> None:
    deadline = removal.clock() + GONE_WITHIN_S
    while not is_done():
        if removal.clock() > deadline:
            raise Transient(f"{what}: run this again in some minutes")
        removal.pause(removal.every_s)
