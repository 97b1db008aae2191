"""The option `--machines` of the commands that run the fleet on this machine."""

from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from local.laptop import ContainerOptions
from local.machines.containers import docker_engine
from local.machines.runner_images import AGENT, runner_image, sandbox_image


class MachineForm(StrEnum):
    """What stands for EC2 machines and for the sandboxes of Lambda."""

    PROCESSES = "processes"
    CONTAINERS = "containers"


Machines = Annotated[
    MachineForm,
    typer.Option(
        "--machines",
        help="What machines are here: processes, or containers of the deployed images. Containers"
        " need root and a Docker engine; each EC2 machine has an engine of its own, and Lambda is"
        " AWS's emulator.",
    ),
]


def containers(form: MachineForm) -> ContainerOptions | None:
    """What containers need, built where it is not there. Raises `Refused` without an engine."""
    if form is MachineForm.PROCESSES:
        return None
    with closing(docker_engine()) as client:
        return ContainerOptions(agent=runner_image(client, AGENT), sandbox=sandbox_image(client))
