"""Whose a runner record is: what the fleet writes, and what people may have written."""

import pytest

from fleet.rules.runner_record import (
    PREFIX,
    RecordName,
    pool_record_name,
    read_record_name,
    runner_record_name,
)

RUNNER = "rf-docker-0123456789ab"


@pytest.mark.parametrize("runner_id", [RUNNER, "rf-a-b-c-000000000000", "rf-rf-1-ffffffffffff"])
@pytest.mark.parametrize("stack", ["demo", "Fleet-2", "a"])
def test_the_record_of_a_runner_is_its_stacks(runner_id: str, stack: str) -> None:
    name = runner_record_name(runner_id, stack)
    assert name.startswith(PREFIX)  # by which GitLab's list is searched
    assert read_record_name(name) == RecordName(runner_id=runner_id, stack=stack)


@pytest.mark.parametrize("pool", ["docker", "a-1"])
def test_the_record_of_a_pool_is_the_pools(pool: str) -> None:
    assert read_record_name(pool_record_name(pool)) == RecordName(pool=pool)


@pytest.mark.parametrize(
    "description",
    [
        pytest.param("", id="no description"),
        pytest.param("another person's", id="a person's"),
        pytest.param("rf-lab box (demo)", id="a person's that begins alike and ends alike"),
        pytest.param("rf-docker-1 (demo)", id="no id of a runner"),
        pytest.param(RUNNER, id="no stack"),
        pytest.param(f"{RUNNER} ()", id="an empty stack"),
        pytest.param(f"{RUNNER} (other) (demo)", id="two stacks"),
        pytest.param(f"{RUNNER} (demo)\n", id="a line more"),
        pytest.param(f"my {RUNNER} (demo)", id="words before"),
        pytest.param("fleet pool ", id="no pool"),
        pytest.param("fleet pool docker (old)", id="words after"),
    ],
)
def test_any_other_record_is_of_no_fleet(description: str) -> None:
    assert read_record_name(description) is None
