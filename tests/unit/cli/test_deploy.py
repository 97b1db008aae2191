"""`deploy`: what is given on the command line."""

import pytest

from cli.deploy import read_parameter
from fleet.errors import Refused


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("LogDays=7", ("LogDays", "7")),
        ("AlarmTopicArn=", ("AlarmTopicArn", "")),
        ("SubnetIds=subnet-1,subnet-2", ("SubnetIds", "subnet-1,subnet-2")),
        ("X=a=b", ("X", "a=b")),
    ],
)
def test_a_parameter_is_a_name_and_a_value(text: str, pair: tuple[str, str]) -> None:
    assert read_parameter(text) == pair


@pytest.mark.parametrize("text", ["LogDays", "=7", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="NAME=VALUE"):
        read_parameter(text)
