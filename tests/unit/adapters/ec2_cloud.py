"""An EC2 back end, one pool, and what AWS will answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.stub import ANY, Stubber

from adapters.machines.backend import LaunchOrder, LaunchResult
from adapters.machines.ec2 import Ec2Backend, Ec2Resources, MachineKind
from adapters.machines.expiry import Expiry, ExpiryTarget
from fleet.config.model import PoolConfig
from fleet.config.reading import read_config
from tests.fakes import AT
from tests.unit.adapters.stubs import scripted

POOL = """
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"
[pools.linux]
backend = "ec2"
tags = ["linux"]
ceiling = 5
market = "spot-then-on-demand"
instance_types = ["m7i.large", "m7a.large"]
"""


def pool(text: str = POOL) -> PoolConfig:
    return read_config(text).pools[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """A back end, and what AWS will answer it."""

    backend: Ec2Backend
    ec2: Stubber
    scheduler: Stubber

    def order(self, *names: str, of: PoolConfig | None = None) -> LaunchOrder:
        """An order for these runners, anywhere."""
        places = self.backend.capacity_pools(of or pool())
        return LaunchOrder(
            launch_id="l1", runner_ids=names, call_home_by=AT, expires_at=AT, try_in=places
        )

    def launch(self, runners: int, *, of: PoolConfig | None = None) -> LaunchResult:
        """What becomes of an order for `rf-linux-0` and so on."""
        names = (f"rf-linux-{n}" for n in range(runners))
        return self.backend.launch(of or pool(), self.order(*names, of=of))

    def gives(
        self,
        *machine_ids: str,
        errors: Sequence[dict[str, Any]] = (),
        timed: bool = False,
        **expected: Any,
    ) -> None:
        """CreateFleet launches these. `timed`: the last call of a launch, whose timer is taken."""
        override = {"Overrides": {"SubnetId": "subnet-1"}}
        group = {
            "LaunchTemplateAndOverrides": override,
            "InstanceType": "m7i.large",
            "InstanceIds": list(machine_ids),
        }
        answer = {"Instances": [group] if machine_ids else [], "Errors": list(errors)}
        self.ec2.add_response("create_fleet", answer, _expected(expected) if expected else None)
        if timed:
            self.takes_timer()

    def takes_timer(self) -> None:
        self.scheduler.add_response("create_schedule", {"ScheduleArn": "arn"})


def _expected(expected: dict[str, Any]) -> dict[str, Any]:
    names = """
        Type ClientToken LaunchTemplateConfigs TargetCapacitySpecification SpotOptions
        OnDemandOptions TagSpecifications
    """
    return dict.fromkeys(names.split(), ANY) | expected


@contextmanager
def ec2_cloud() -> Iterator[Cloud]:
    """One with a single subnet."""
    resources = Ec2Resources(
        stack="fleet",
        subnets=("subnet-1",),
        arm64_image="resolve:ssm:/aws/service/arm64",
        open=MachineKind(launch_template="lt-1", role_id="AROA"),
        protected=MachineKind(launch_template="lt-2", role_id="AROB"),
    )
    target = ExpiryTarget(function_arn="f", role_arn="r", dead_letter_arn="d", group="g")
    with scripted("ec2") as (ec2, answers), scripted("scheduler") as (scheduler, timers):
        backend = Ec2Backend(ec2, resources, Expiry(scheduler, target))
        yield Cloud(backend=backend, ec2=answers, scheduler=timers)
