"""What a pool may do now, out of its configuration."""

import pytest

from orchestrator.observe import limits_of
from tests.unit.orchestrator.scene import AT, GITLAB, POOL, Scene


@pytest.mark.parametrize(
    ("settings", "at_most"),
    [
        pytest.param("", 100, id="a third of the usual 300 calls"),
        pytest.param("calls_per_minute = 900", 300, id="more calls, more machines"),
        pytest.param("calls_per_minute = 2000", 400, id="no call launches more than 400"),
        pytest.param("calls_per_minute = 10", 3, id="a small budget"),
        pytest.param('credentials = "shared"', 400, id="no record, no call"),
    ],
)
def test_a_launch_is_as_large_as_the_calls_for_its_records_allow(
    settings: str, at_most: int
) -> None:
    scene = Scene(text=f"{GITLAB}{settings}\n{POOL}")
    (pool,) = scene.world.config.pools
    assert limits_of(scene.world, pool, AT).launch_at_most == at_most
