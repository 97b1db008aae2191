"""A machine image with the agent's image and chosen job images in it, rebuilt each week."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from adapters.aws.bakery import Bakery, BakeState
from adapters.aws.clients import Clients
from fleet.errors import Refused
from infra.package import ROOT
from operations.deploy import Deployment, change_parameters, deploy_template
from operations.images import Workshop

TEMPLATE = ROOT / "infra" / "image.yaml"
EVERY_S = 15.0
_FAILED = {"FAILED", "CANCELLED", "DELETED", "DEPRECATED", "DISABLED"}
# By architecture: the fleet's parameters for the agent's image and for the machine image, the base
# and the machine that is baked.
_PARTS = {
    "x86_64": (
        "Ec2Image",
        "MachineImage",
        "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
        "m7i.large",
    ),
    "arm64": (
        "Ec2ImageArm64",
        "MachineImageArm64",
        "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
        "m7g.large",
    ),
}


ARCHITECTURES = tuple(_PARTS)


def bake_stack(stack: str, architecture: str) -> str:
    """The name of the stack that bakes for these machines of a fleet."""
    return f"{stack}-bake-{architecture.replace('_', '-')}"


def image_parameter(stack: str, architecture: str) -> str:
    """The SSM parameter that names what was baked last, as `infra/image.yaml` has it."""
    return f"/runner-fleet/{stack}/machine-image-{architecture}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeRequest:
    """What to bake for machines of this architecture."""

    architecture: str
    job_images: tuple[str, ...] = ()
    subnet: str | None = None
    security_group: str | None = None
    every_s: float = EVERY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """The machine image, and the SSM parameter from which launches take it from now on."""

    machine_image: str
    parameter: str


def bake(
    aws: Clients, workshop: Workshop, request: BakeRequest, tell: Callable[[str], None]
) -> Baked:
    """Make the stack of the pipeline, run it once, and have the fleet launch what it publishes.

    `tell` gets each state of the run. Raises `Refused` with Image Builder's reason when it fails;
    the fleet then launches what it launched before.
    """
    parameters = _parameters(workshop, request)
    name = bake_stack(workshop.stack, request.architecture)
    deployment = Deployment(stack=name, parameters=parameters, every_s=request.every_s)
    made = deploy_template(aws, deployment, TEMPLATE.read_text())
    tell(f"{name} is {made.word}")
    state = _run(Bakery(aws.imagebuilder), made.outputs["Pipeline"], request, tell)
    parameter = made.outputs["Parameter"]
    _, machine_image, *_ = _PARTS[request.architecture]
    change_parameters(aws, workshop.stack, {machine_image: parameter}, every_s=request.every_s)
    return Baked(machine_image=state.machine_image or "", parameter=parameter)


def _parameters(workshop: Workshop, request: BakeRequest) -> dict[str, str]:
    agent_parameter, _, base, instance_type = _PARTS[request.architecture]
    image = workshop.used[agent_parameter]
    if not image:
        raise Refused(
            "the stack uses no image for these machines yet: run `runner-fleet image build` and"
            " `runner-fleet image use`",
            architecture=request.architecture,
        )
    if bool(request.subnet) != bool(request.security_group):
        raise Refused("name a subnet and a security group together")
    parameters = {
        "FleetStack": workshop.stack,
        "Architecture": request.architecture,
        "AgentImage": image,
        "RepositoryArn": workshop.repository.arn(),
        "JobImages": " ".join(request.job_images),
        "BaseImage": base,
        "InstanceType": instance_type,
        "SubnetId": request.subnet or "",
        "SecurityGroupId": request.security_group or "",
    }
    # Recipes are never changed: their names have the digest of the template and of all it is given.
    whole = TEMPLATE.read_text() + "\0".join(f"{k}={v}" for k, v in sorted(parameters.items()))
    return parameters | {"Revision": hashlib.sha256(whole.encode()).hexdigest()[:12]}


def _run(
    bakery: Bakery, pipeline: str, request: BakeRequest, tell: Callable[[str], None]
) -> BakeState:
    run, status = bakery.start(pipeline, token=str(time.time_ns())), ""
    while True:
        state = bakery.look(run)
        if state.status != status:
            tell(f"machine image: {state.status.lower()}")
        status = state.status
        if status == "AVAILABLE":
            return state
        if status in _FAILED:
            raise Refused(
                f"the machine image was not made: {state.reason or status.lower()}; machines"
                " start from the one before",
                run=run,
            )
        time.sleep(request.every_s)
