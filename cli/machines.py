"""The option `--machines` of the commands that run the fleet on this machine."""

from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from local.laptop import ContainerOptions
from local.machines.agent_image import agent_image
from local.machines.containers import docker_engine


class MachineForm(StrEnum):
    """What stands for an EC2 instance."""

    PROCESSES = "processes"
    CONTAINERS = "containers"


Machines = Annotated[
    MachineForm,
    typer.Option(
        "--machines",
        help="What stands for EC2 machines. Containers, on a Docker engine as root of it, have an"
        " engine of their own: jobs of the docker executor run there.",
    ),
]


def containers(form: MachineForm) -> ContainerOptions | None:
    """What containers need, built where it is not there. Raises `Refused` without an engine."""
    if form is MachineForm.PROCESSES:
        return None
    with closing(docker_engine()) as client:
        return ContainerOptions(image=agent_image(client))
