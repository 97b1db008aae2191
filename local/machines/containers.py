"""Guests that are containers: each boots the template's user data and has an engine of its own."""

import io
import os
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import Mount

from fleet.errors import Refused, Transient
from local.aws.engine import ACCOUNT, REGION
from local.machines.runner_images import BASE_VARIABLE

# An image with apt-get that guests are built on instead of Debian's, such as ubuntu:24.04.
GUEST_BASE_VARIABLE = "RUNNER_FLEET_GUEST_BASE"
CONTEXT = Path(__file__).parent / "container"
REGISTRY_NAME = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
REGISTRY_IP = "169.254.169.253"
LABEL = "runner-fleet.guest"
# Another network than that of the outer engine, whose default is 172.17.0.0/16.
BRIDGES = ("172.30.255.1/24", "10.255.254.1/24")
CALL_TIMEOUT_S = 1800
# What an engine inside a container needs besides `engine_mounts`.
RIGHTS: Mapping[str, Any] = {
    "cap_add": ["ALL"],
    "cap_drop": ["SYS_RESOURCE"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "tmpfs": {"/run": ""},
}
STOPPED = frozenset({"exited", "dead", "removing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """What all guests of one laptop have in common."""

    client: docker.DockerClient
    gateway: str  # this machine's address in containers
    image: str  # of the guests themselves
    registry: str  # address:port of what stands for ECR
    # Without a namespace of control groups, which version 2 of them has, the engine of a guest
    # makes its groups among this machine's.
    shares_groups: bool
    bare_images: tuple[str, ...] = ()  # machine images (AMIs) without Docker


def docker_engine() -> docker.DockerClient:
    """A client of the engine at hand. Raises `Refused` when there is none."""
    try:
        client = docker.from_env(timeout=CALL_TIMEOUT_S)
        client.ping()
    except DockerException as exc:
        raise Refused(
            "no Docker engine answers here: start one, or choose --machines processes"
        ) from exc
    return client


def gateway_of(client: docker.DockerClient) -> str:
    """This machine's address on the engine's default network."""
    for entry in client.networks.get("bridge").attrs["IPAM"]["Config"] or ():
        first = next(ip_network(entry["Subnet"]).hosts())
        return str(entry.get("Gateway") or first)
    raise Refused("the engine's default network has no gateway: restart the engine")


def shares_groups(client: docker.DockerClient) -> bool:
    """Whether the engine's control groups are of version 1."""
    return str(client.info().get("CgroupVersion", "1")) == "1"


def engine_mounts(disk: Path, *, shares_groups: bool) -> list[Mount]:
    """The mounts that an engine inside a container needs; it keeps its images in `disk`.

    No volume: while the outer engine removes one, which takes a while, it makes no other.
    """
    disk.mkdir(parents=True, exist_ok=True)
    mounts = [Mount("/var/lib/docker", str(disk.resolve()), type="bind")]
    if shares_groups:
        mounts.append(Mount("/sys/fs/cgroup", "/sys/fs/cgroup", type="bind"))
    return mounts


def build_guest_image(client: docker.DockerClient) -> str:
    """The id of the guests' image; the engine builds what it does not have yet."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as context:
        for path in sorted(CONTEXT.iterdir()):
            context.add(path, path.name)
    base = os.environ.get(GUEST_BASE_VARIABLE) or os.environ.get(BASE_VARIABLE)
    try:
        image, _ = client.images.build(
            fileobj=io.BytesIO(packed.getvalue()),
            custom_context=True,
            buildargs={"BASE": base} if base else {},
            tag="runner-fleet-guest",
            rm=True,
            forcerm=True,
        )
    except DockerException as exc:
        raise Refused(f"the guests' image cannot be built ({exc}): {GUEST_BASE_VARIABLE}") from exc
    return str(image.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What makes one guest differ from another."""

    instance_id: str
    imds: str  # address:port of the metadata
    console: Path  # its output goes to the end of this file
    disk: Path  # a folder for its engine, which the caller removes
    environment: Mapping[str, str]
    has_engine: bool


class ContainerKeeper:
    """One guest: a container. Close it, and only its disk is left."""

    def __init__(self, settings: ContainerSettings, spec: ContainerSpec) -> None:
        """Start it. Raises `Transient` when the engine does not."""
        spec.console.touch()
        bridge = next(free for free in BRIDGES if free[:6] != settings.gateway[:6])
        guest = {
            "GUEST_IMDS": spec.imds,
            "GUEST_REGISTRY": settings.registry,
            "GUEST_REGISTRY_NAME": REGISTRY_NAME,
            "GUEST_REGISTRY_IP": REGISTRY_IP,
            "GUEST_INSECURE": f"{settings.gateway}/32",
            "GUEST_BIP": bridge,
            "GUEST_ENGINE": "yes" if spec.has_engine else "no",
        }
        mounts = [
            *engine_mounts(spec.disk, shares_groups=settings.shares_groups),
            Mount("/console", str(spec.console), type="bind"),
        ]
        try:
            self._container = self._run(
                settings, spec.instance_id, mounts, {**spec.environment, **guest}
            )
        except DockerException as exc:
            raise Transient("the engine starts no guest", error=str(exc)) from exc
        self._ended: int | None = None

    @staticmethod
    def _run(
        settings: ContainerSettings,
        instance_id: str,
        mounts: list[Mount],
        environment: Mapping[str, str],
    ) -> Container:
        container = settings.client.containers.run(
            settings.image,
            name=f"runner-fleet-{instance_id}",
            hostname=instance_id,
            labels={LABEL: instance_id},
            environment=dict(environment),
            mounts=mounts,
            **RIGHTS,
            detach=True,
            auto_remove=True,  # also when this process is gone
        )
        container.reload()
        return container

    @property
    def address(self) -> str:
        """Its address on the engine's network; empty after its end."""
        return str(self._container.attrs["NetworkSettings"]["IPAddress"])

    @property
    def pid(self) -> int:
        """Of its first process, as this machine sees it; all of the guest is below."""
        return int(self._container.attrs["State"]["Pid"])

    @property
    def exit_code(self) -> int | None:
        """`None` while anything of it lives."""
        if self._ended is None:
            try:
                self._container.reload()
            except NotFound:
                self._ended = 137
            else:
                state = self._container.attrs["State"]
                self._ended = state["ExitCode"] if state["Status"] in STOPPED else None
        return self._ended

    def freeze(self) -> None:
        """Stop everything where it stands."""
        with suppress(APIError):
            self._container.pause()

    def thaw(self) -> None:
        """Let everything go on."""
        with suppress(APIError):
            self._container.unpause()

    def close(self) -> None:
        """End everything at once."""
        self.thaw()
        with suppress(NotFound, APIError):  # its removal may be under way
            self._container.remove(v=True, force=True)
        self._ended = self._ended if self._ended is not None else 137
