"""EC2 as a back end: one CreateFleet call for many machines, spot first, then on-demand."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapters.aws.clients import aws_call
from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, Machine, Shortfall
from adapters.machines.expiry import Expiry
from fleet.aws_errors import classify
from fleet.config.model import PoolConfig
from fleet.config.values import architecture
from fleet.errors import FleetError, Refused
from fleet.events import WARNING, MachinesUnguarded, emit
from fleet.rules.capacity import CapacityPool, decide_market, ends_search
from fleet.times import in_utc

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import FilterTypeDef

ALIVE = frozenset({"pending", "running"})
ENDED = frozenset({"shutting-down", "terminated"})
# TerminateInstances and DescribeInstances take up to a thousand ids; AWS advises fewer.
BATCH = 100
# As the launch template names it; Amazon Linux and our own images call their root disk so.
ROOT_DEVICE = "/dev/xvda"
# As the launch template has it: AWS's own key, which needs no grants.
DISK_KEY = "alias/aws/ebs"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineKind:
    """The machines of one trust level: their launch template, and the role that it gives them."""

    launch_template: str
    role_id: str  # the part of `aws:userid` before the instance id


@dataclass(frozen=True, slots=True, kw_only=True)
class Ec2Resources:
    """Where machines launch, and which."""

    stack: str
    subnets: tuple[str, ...]
    arm64_image: str  # of machines with such a processor; the launch templates name that of x86-64
    open: MachineKind
    protected: MachineKind  # of protected_only pools

    def kind(self, pool: PoolConfig) -> MachineKind:
        """The kind of a pool's machines."""
        return self.protected if pool.protected_only else self.open


class Ec2Backend:
    """Machines from one launch template for each trust level; pools differ by overrides."""

    name = "ec2"
    ends_alone = False

    def __init__(self, client: "EC2Client", resources: Ec2Resources, expiry: Expiry) -> None:
        self._client = client
        self._resources = resources
        self._expiry = expiry
        self._zones: dict[str, str] = {}  # by subnet; the subnet itself when EC2 does not say

    def capacity_pools(self, pool: PoolConfig) -> tuple[CapacityPool, ...]:
        """Types times subnets, spot before on-demand as the pool's market says.

        The first named subnet of each zone: EC2 refuses a fleet that names a type twice in a zone.
        """
        markets = {
            "spot": ("spot",),
            "on-demand": ("on-demand",),
            "spot-then-on-demand": ("spot", "on-demand"),
        }[pool.market]
        subnets = self._one_per_zone(pool.subnets or self._resources.subnets)
        return tuple(
            CapacityPool(instance_type=kind, subnet=subnet, market=market)
            for market in markets
            for kind in pool.instance_types
            for subnet in subnets
        )

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        """One call for each market in turn, until every runner id has a machine."""
        launched: list[Launched] = []
        shortfalls: list[Shortfall] = []
        unasked = order.try_in
        failure: FleetError | None = None
        while asked := decide_market(
            unasked, missing=len(order.runner_ids) - len(launched), failure=failure
        ):
            market = asked[0].market
            unasked = tuple(capacity for capacity in unasked if capacity.market != market)
            runner_ids = order.runner_ids[len(launched) :]
            try:
                answer = self._create_fleet(pool, order, len(runner_ids), asked)
            except FleetError as exc:
                failure = exc
                shortfalls += _refusal(exc, (*asked, *unasked) if ends_search(exc) else asked)
                continue
            machines = self._machines_of(answer, market)
            launched += [
                Launched(
                    runner_id=runner_id,
                    machine_id=machine_id,
                    mailbox=_mailbox(self._resources.kind(pool), machine_id),
                    capacity=capacity,
                )
                for runner_id, (machine_id, capacity) in zip(runner_ids, machines, strict=False)
            ]
            shortfalls += [_shortfall(error, market) for error in answer.get("Errors", [])]
        if launched:
            self._guard(order, len(launched))
        return LaunchResult(launched=tuple(launched), shortfalls=tuple(shortfalls))

    def end(self, machine_ids: Sequence[str]) -> None:
        """Terminate machines. An id that EC2 forgot, an hour after its end, fails a whole call.

        Then EC2 says which of them live, and those are ended without the others.
        """
        for start in range(0, len(machine_ids), BATCH):
            batch = list(machine_ids[start : start + BATCH])
            try:
                self._terminate(batch)
            except FleetError as exc:
                left = self._not_ended(batch) if _may_be_forgotten(exc) else batch
                if len(left) == len(batch):
                    raise
                self.end(left)

    def mailboxes(self, machine_id: str) -> tuple[str, ...]:
        """The mailboxes that the machine may have: one for each trust level."""
        return tuple(
            _mailbox(kind, machine_id) for kind in (self._resources.open, self._resources.protected)
        )

    def machines(self) -> tuple[Machine, ...]:
        """Every machine with the stack's tag; EC2 shows terminated ones for an hour."""
        return self._shown()

    def machine(self, machine_id: str) -> Machine | None:
        """One machine with the stack's tag. A filter: an unknown id would fail the call."""
        return next(iter(self._shown({"Name": "instance-id", "Values": [machine_id]})), None)

    def _shown(self, *more: "FilterTypeDef") -> tuple[Machine, ...]:
        ours: FilterTypeDef = {
            "Name": "tag:runner-fleet:stack",
            "Values": [self._resources.stack],
        }
        return tuple(_machine(instance) for instance in self._instances(ours, *more))

    def _not_ended(self, machine_ids: list[str]) -> list[str]:
        """Those that EC2 shows and that did not end; all of them without the right to ask.

        A machine without the stack's tag counts, too: it may not be ended, and is not gone.
        """
        wanted: FilterTypeDef = {"Name": "instance-id", "Values": machine_ids}
        try:
            shown = {
                instance["InstanceId"]: instance["State"]["Name"]
                for instance in self._instances(wanted)
            }
        except Refused:
            return machine_ids
        return [
            machine_id
            for machine_id in machine_ids
            if shown.get(machine_id, "terminated") not in ENDED
        ]

    def _instances(self, *filters: "FilterTypeDef") -> Iterator[Any]:
        """The instances that pass the filters, on all pages."""
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=list(filters),
            PaginationConfig={"PageSize": 500},
        )
        with aws_call("ec2.DescribeInstances"):
            for page in pages:
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def _one_per_zone(self, subnets: Sequence[str]) -> tuple[str, ...]:
        unknown = [subnet for subnet in subnets if subnet not in self._zones]
        if unknown and len(subnets) > 1:
            self._zones |= dict(zip(unknown, unknown, strict=True)) | self._describe(unknown)
        first: dict[str, str] = {}
        for subnet in subnets:
            first.setdefault(self._zones.get(subnet, subnet), subnet)
        return tuple(first.values())

    def _describe(self, subnets: list[str]) -> dict[str, str]:
        """The zones of subnets that exist; nothing without the permission to ask."""
        # A filter: an unknown id in `SubnetIds` would fail the call.
        wanted = {"Name": "subnet-id", "Values": subnets}
        try:
            with aws_call("ec2.DescribeSubnets"):
                answer = self._client.describe_subnets(Filters=[wanted])  # type: ignore[list-item]
        except Refused:
            return {}
        return {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in answer["Subnets"]}

    def _guard(self, order: LaunchOrder, machines: int) -> None:
        """Set the expiry timer. A failure is only logged: the machines exist without it."""
        try:
            self._expiry.schedule(order.launch_id, order.expires_at)
        except FleetError as exc:
            event = MachinesUnguarded(launch_id=order.launch_id, machines=machines, error=str(exc))
            emit(event, level=WARNING)

    def _terminate(self, machine_ids: list[str]) -> None:
        with aws_call("ec2.TerminateInstances"):
            self._client.terminate_instances(InstanceIds=machine_ids)

    def _create_fleet(
        self,
        pool: PoolConfig,
        order: LaunchOrder,
        count: int,
        capacity_pools: Sequence[CapacityPool],
    ) -> dict[str, Any]:
        """CreateFleet's answer for one market; `Errors` says what is missing."""
        template = {
            "LaunchTemplateId": self._resources.kind(pool).launch_template,
            "Version": "$Latest",
        }
        overrides = [
            {
                "InstanceType": capacity.instance_type,
                "SubnetId": capacity.subnet,
                **self._differences(pool, capacity.instance_type),
            }
            for capacity in capacity_pools
        ]
        market = capacity_pools[0].market
        with aws_call("ec2.CreateFleet"):
            answer = self._client.create_fleet(
                Type="instant",
                ClientToken=f"{order.launch_id}-{market}",
                LaunchTemplateConfigs=[
                    {"LaunchTemplateSpecification": template, "Overrides": overrides}  # type: ignore[typeddict-item]
                ],
                TargetCapacitySpecification={
                    "TotalTargetCapacity": count,
                    "DefaultTargetCapacityType": market,  # type: ignore[typeddict-item]
                },
                SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
                OnDemandOptions={"AllocationStrategy": "lowest-price"},
                TagSpecifications=[{"ResourceType": "instance", "Tags": self._tags(pool, order)}],
            )
        return dict(answer)

    def _differences(self, pool: PoolConfig, instance_type: str) -> dict[str, Any]:
        """What a pool's machines of one type override of the launch template."""
        is_arm = architecture(instance_type) == "arm64"
        image = pool.image or (self._resources.arm64_image if is_arm else None)
        overrides: dict[str, Any] = {"ImageId": image} if image else {}
        if pool.disk_gb:
            disk = {
                "VolumeSize": pool.disk_gb,
                "VolumeType": "gp3",
                "Encrypted": True,
                "KmsKeyId": DISK_KEY,
            }
            overrides["BlockDeviceMappings"] = [
                {"DeviceName": ROOT_DEVICE, "Ebs": disk | {"DeleteOnTermination": True}}
            ]
        return overrides

    def _tags(self, pool: PoolConfig, order: LaunchOrder) -> list[Any]:
        """Tags of the creating call: the sweep finds the machines after a crash."""
        tags = {
            "runner-fleet:stack": self._resources.stack,
            "runner-fleet:pool": pool.name,
            "runner-fleet:executor": pool.executor,  # the machine reads it: infra/user-data.sh
            "runner-fleet:launch": order.launch_id,
            "runner-fleet:expires": order.expires_at.isoformat(),
            "Name": f"{self._resources.stack}-{pool.name}",
        }
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def _machines_of(
        self, answer: dict[str, Any], market: str
    ) -> Iterable[tuple[str, CapacityPool]]:
        for group in answer.get("Instances", []):
            override = group.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
            capacity = CapacityPool(
                instance_type=group.get("InstanceType", ""),
                subnet=override.get("SubnetId", ""),
                market=market,
            )
            for machine_id in group["InstanceIds"]:
                yield machine_id, capacity


def _mailbox(kind: MachineKind, machine_id: str) -> str:
    """`aws:userid` of the machine's credentials: the only mailbox that its policy allows."""
    return f"{kind.role_id}:{machine_id}"


def _shortfall(error: dict[str, Any], market: str) -> Shortfall:
    """A shortfall for one entry of CreateFleet's `Errors`."""
    override = error.get("LaunchTemplateAndOverrides", {}).get("Overrides", {})
    kind = override.get("InstanceType")
    capacity = None
    if kind:
        capacity = CapacityPool(
            instance_type=kind, subnet=override.get("SubnetId", ""), market=market
        )
    code = error.get("ErrorCode", "")
    return Shortfall(
        kind=classify(code), code=code, capacity=capacity, message=error.get("ErrorMessage", "")
    )


def _refusal(exc: FleetError, capacity_pools: Sequence[CapacityPool]) -> list[Shortfall]:
    """A shortfall for each capacity pool of a failed call."""
    code = str(exc.facts.get("code", ""))
    kind, message = classify(code), str(exc.__cause__)
    return [Shortfall(kind=kind, code=code, capacity=p, message=message) for p in capacity_pools]


def _may_be_forgotten(exc: FleetError) -> bool:
    """Whether EC2 may not know an id: where the right depends on a tag, that is no right."""
    code = str(exc.facts.get("code", ""))
    return code.startswith("InvalidInstanceID") or code == "UnauthorizedOperation"


def _machine(instance: Any) -> Machine:
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
    return Machine(
        machine_id=instance["InstanceId"],
        alive=instance["State"]["Name"] in ALIVE,
        ended=instance["State"]["Name"] in ENDED,
        launched_at=instance["LaunchTime"],
        launch_id=tags.get("runner-fleet:launch"),
        pool=tags.get("runner-fleet:pool"),
        expires_at=_expiry(tags.get("runner-fleet:expires")),
    )


def _expiry(tag: str | None) -> datetime | None:
    with suppress(ValueError, TypeError):
        return in_utc(datetime.fromisoformat(tag or ""))
    return None
