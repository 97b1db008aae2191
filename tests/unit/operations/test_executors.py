"""A pool asks for an executor that its machines may lack."""

import pytest

from fleet.config.reading import FleetConfig, read_config
from fleet.errors import Refused
from operations.executors import allowed_executors, refuse_executors

TEXT = """
[gitlab]
url = "https://gitlab.example.com"
runners_in = "group:42"
[pools.linux]
backend = "ec2"
tags = ["linux"]
instance_types = ["m7i.large", "m7a.large", "m6i.large"]
ceiling = 2
[pools.node]
backend = "lambda"
tags = ["node"]
ceiling = 2
"""


def config(more: str = "") -> FleetConfig:
    return read_config(
        TEXT.replace("ceiling = 2\n[pools.node]", f"ceiling = 2\n{more}[pools.node]")
    )


@pytest.mark.parametrize(
    ("variables", "more", "is_refused"),
    [
        ({}, "", False),
        ({"RUNNER_FLEET_EXECUTORS": "shell,docker"}, "", False),
        ({"RUNNER_FLEET_EXECUTORS": "shell"}, 'executor = "shell"\n', False),
        ({"RUNNER_FLEET_EXECUTORS": "shell"}, "", True),
    ],
)
def test_a_pool_is_refused_whose_machines_lack_its_executor(
    variables: dict[str, str], more: str, is_refused: bool
) -> None:
    allowed = allowed_executors(variables)
    if is_refused:
        with pytest.raises(Refused, match='pool linux has executor = "docker"'):
            refuse_executors(config(more), allowed)
    else:
        refuse_executors(config(more), allowed)
