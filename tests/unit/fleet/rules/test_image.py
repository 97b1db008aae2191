"""Which machines have the containers that a job asks for."""

import pytest

from fleet.reasons import Reason
from fleet.rules.image import Containers, why_unfit


@pytest.mark.parametrize(
    ("containers", "executor", "backend", "reason"),
    [
        (Containers(), "shell", "lambda", None),
        (Containers(image="node:22"), "shell", "lambda", None),
        (Containers(image="node:22"), "shell", "ec2", Reason.IMAGE),
        (Containers(image="node:22", services=True), "shell", "lambda", Reason.SERVICES),
        (Containers(services=True), "shell", "ec2", Reason.SERVICES),
        (Containers(image="ruby:3"), "shell", "lambda", Reason.IMAGE),
        (Containers(image="$CI_IMAGE"), "shell", "lambda", Reason.IMAGE),
        (Containers(image="ruby:3", services=True), "docker", "ec2", None),
    ],
)
def test_a_shell_lacks_containers(
    containers: Containers, executor: str, backend: str, reason: Reason | None
) -> None:
    assert why_unfit(containers, executor=executor, backend=backend) is reason
