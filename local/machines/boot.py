"""The boot of one local guest: an EC2 instance as processes, from its own user data on."""

import base64
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from adapters.aws.clients import aws_call
from local.machines.containers import ContainerKeeper, ContainerSettings, ContainerSpec
from local.machines.imds import ImdsServer, InstanceMetadata
from local.machines.keeper import ROOT, Keeper, ProcessSpec

STACK_TAG = "runner-fleet:stack"


class GuestCloud(Protocol):
    """The part of the embedded engine that guests need; the clients act as the cloud itself."""

    @property
    def url(self) -> str:
        """The address of every service."""

    def client(self, service: str) -> Any:
        """A boto3 client."""

    def role_environment(self, role: str, session_name: str) -> dict[str, str]:
        """AWS_* variables of a session of the role."""

    def emit(self, kind: str, detail: Mapping[str, object]) -> None:
        """Put an event of EC2 on the default bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestOptions:
    """The settings of one host."""

    stack: str  # only instances with this stack's tag are booted
    folder: Path  # consoles and working folders
    environment: Mapping[str, str] = field(default_factory=dict)  # more, for every guest
    poll_s: float = 0.3
    containers: ContainerSettings | None = None  # else guests are processes

    def console(self, instance_id: str) -> Path:
        """The file with an instance's output."""
        return self.folder / f"{instance_id}.console"

    def disk(self, instance_id: str) -> Path:
        """The folder of an instance's engine, with what its jobs have on disk."""
        return self.folder.with_name("disks") / instance_id


class GuestState(StrEnum):
    """The state of a guest on its host."""

    UP = "up"
    FROZEN = "frozen"  # no process runs, EC2 says running
    LOST = "lost"  # no process is left, EC2 says running


@dataclass(slots=True, kw_only=True)
class Guest:
    """One instance's processes."""

    instance_id: str
    keeper: Keeper | ContainerKeeper
    metadata: InstanceMetadata
    home: Path
    state: GuestState = GuestState.UP


def boot(
    cloud: GuestCloud, options: GuestOptions, imds: ImdsServer, instance: Mapping[str, Any]
) -> Guest:
    """Start the guest of one instance, as `DescribeInstances` shows it.

    Raises `Transient` or `Refused` without an answer of the engine.
    """
    instance_id = instance["InstanceId"]
    home = options.folder / instance_id
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    metadata = _metadata(cloud, options, instance)
    if options.containers:
        keeper = _container(cloud, options, options.containers, imds, metadata)
        return Guest(instance_id=instance_id, keeper=keeper, metadata=metadata, home=home)
    script = home / "user-data"
    script.write_text(metadata.user_data)
    script.chmod(0o700)
    spec = ProcessSpec(
        command=["bash", str(script)],
        environment=_environment(cloud, home, imds.add(metadata)) | dict(options.environment),
        folder=home,
        log=options.console(instance_id),
    )
    return Guest(instance_id=instance_id, keeper=Keeper(spec), metadata=metadata, home=home)


def _container(
    cloud: GuestCloud,
    options: GuestOptions,
    settings: ContainerSettings,
    imds: ImdsServer,
    metadata: InstanceMetadata,
) -> ContainerKeeper:
    """A guest that is a container. Of the settings it gets those that a machine image may have."""
    variables = {name: text for name, text in options.environment.items() if name[:6] == "FLEET_"}
    imds.add(metadata)
    spec = ContainerSpec(
        instance_id=metadata.instance_id,
        imds=imds.url.removeprefix("http://"),
        console=options.console(metadata.instance_id),
        disk=options.disk(metadata.instance_id),
        environment=variables | {"AWS_ENDPOINT_URL": cloud.url},
        has_engine=metadata.image_id not in settings.bare_images,
    )
    keeper = ContainerKeeper(settings, spec)
    imds.at(keeper.address, metadata.instance_id)
    return keeper


def instances_up(cloud: GuestCloud, stack: str) -> Iterator[Mapping[str, Any]]:
    """The stack's instances that run or are about to, as `DescribeInstances` shows them."""
    wanted = [
        {"Name": f"tag:{STACK_TAG}", "Values": [stack]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    with aws_call("ec2.DescribeInstances"):
        pages = cloud.client("ec2").get_paginator("describe_instances")
        for page in pages.paginate(Filters=wanted):
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]


def _user_data(cloud: GuestCloud, instance_id: str) -> str:
    with aws_call("ec2.DescribeInstanceAttribute"):
        answer = cloud.client("ec2").describe_instance_attribute(
            InstanceId=instance_id, Attribute="userData"
        )
    return base64.b64decode(answer["UserData"].get("Value", "")).decode()


def _role(cloud: GuestCloud, profile: str) -> str:
    """ARN of the role of an instance profile."""
    with aws_call("iam.GetInstanceProfile"):
        answer = cloud.client("iam").get_instance_profile(
            InstanceProfileName=profile.rpartition("/")[2]
        )
    return str(answer["InstanceProfile"]["Roles"][0]["Arn"])


def _role_keys(cloud: GuestCloud, role: str, instance_id: str) -> dict[str, str]:
    with aws_call("sts.AssumeRole"):
        return cloud.role_environment(role, instance_id)


def _metadata(
    cloud: GuestCloud, options: GuestOptions, instance: Mapping[str, Any]
) -> InstanceMetadata:
    instance_id, zone = instance["InstanceId"], instance["Placement"]["AvailabilityZone"]
    role = _role(cloud, instance["IamInstanceProfile"]["Arn"])
    return InstanceMetadata(
        instance_id=instance_id,
        region=zone[:-1],
        zone=zone,
        instance_type=instance["InstanceType"],
        image_id=instance["ImageId"],
        role=role.rpartition("/")[2],
        tags={tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])},
        user_data=_user_data(cloud, instance_id),
        role_keys=lambda: _role_keys(cloud, role, instance_id),
    )


def _environment(cloud: GuestCloud, home: Path, endpoint: str) -> dict[str, str]:
    """The environment of a guest's user data."""
    path = [str(ROOT / "local/bin/guest"), str(Path(sys.executable).parent)]
    return {
        "PATH": os.pathsep.join([*path, os.environ.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "RUNNER_FLEET_PYTHON": sys.executable,
        "FLEET_WORK_DIR": str(home / "work"),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
        "AWS_ENDPOINT_URL": cloud.url,
    }
