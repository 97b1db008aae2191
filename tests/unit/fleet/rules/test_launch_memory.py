"""What a launch teaches about places for machines and about the configuration."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from fleet.aws_errors import ErrorKind
from fleet.rules.capacity import BackOff, CapacityPool
from fleet.rules.launch_memory import (
    ConfigurationRefusal,
    LaunchFacts,
    LaunchMemory,
    learn,
    most_urgent,
)
from tests.unit.fleet.facts import AT

SPOT, ON_DEMAND = (
    CapacityPool(instance_type="a", subnet="1", market=market) for market in ("spot", "on-demand")
)
CAPACITIES = (SPOT, ON_DEMAND)
BEFORE = ConfigurationRefusal(words="no such image", version="old")
DRY = BackOff(until=AT - timedelta(seconds=1), failures=1, code="InsufficientInstanceCapacity")


@dataclass(frozen=True, kw_only=True)
class Short:
    """A shortfall as the cloud gives it."""

    kind: ErrorKind
    code: str = "InsufficientInstanceCapacity"
    capacity: CapacityPool | None = None
    message: str = "sorry"


NO_CAPACITY = Short(kind=ErrorKind.CAPACITY, capacity=SPOT)
REFUSED = Short(kind=ErrorKind.CONFIGURATION, code="InvalidAMIID.NotFound")
THROTTLED = Short(kind=ErrorKind.THROTTLE, code="RequestLimitExceeded")
QUOTA = Short(kind=ErrorKind.QUOTA, code="VcpuLimitExceeded")


def facts(*shortfalls: Short, machines: tuple[CapacityPool | None, ...] = ()) -> LaunchFacts:
    return LaunchFacts(
        machines=machines, shortfalls=shortfalls, capacity_pools=CAPACITIES, version="new"
    )


@pytest.mark.parametrize(
    ("launch", "dry"),
    [
        pytest.param(facts(machines=(SPOT,)), set(), id="a machine clears its place"),
        pytest.param(facts(machines=(ON_DEMAND,)), {"a/1/spot"}, id="and no other"),
        pytest.param(facts(machines=(None,)), {"a/1/spot"}, id="a machine of no place"),
        pytest.param(
            facts(replace(NO_CAPACITY, capacity=ON_DEMAND)),
            {"a/1/spot", "a/1/on-demand"},
            id="a place that had none",
        ),
        pytest.param(facts(QUOTA), {"a/1/spot", "a/1/on-demand"}, id="every place had none"),
        pytest.param(
            replace(facts(QUOTA), capacity_pools=()),
            {"a/1/spot", "*"},
            id="a back end without capacity pools",
        ),
        pytest.param(facts(NO_CAPACITY, machines=(SPOT,)), set(), id="part of what was asked"),
    ],
)
def test_a_capacity_pool_without_machines_is_not_asked_until_it_gives_a_machine(
    launch: LaunchFacts, dry: set[str]
) -> None:
    after = learn(LaunchMemory(back_off={"a/1/spot": DRY}), launch, AT)
    assert set(after.back_off) == dry


def test_a_second_failure_in_a_row_doubles_the_wait() -> None:
    after = learn(LaunchMemory(back_off={"a/1/spot": DRY}), facts(NO_CAPACITY), AT)
    assert after.back_off["a/1/spot"].failures == 2


@pytest.mark.parametrize(
    ("launch", "before", "after"),
    [
        pytest.param(facts(REFUSED), None, "new", id="refused"),
        pytest.param(facts(REFUSED), BEFORE, "new", id="refused again"),
        pytest.param(facts(REFUSED, NO_CAPACITY), BEFORE, None, id="accepted in another place"),
        pytest.param(facts(REFUSED, machines=(SPOT,)), BEFORE, None, id="some machines"),
        pytest.param(facts(machines=(None,)), BEFORE, None, id="all machines"),
        pytest.param(facts(QUOTA), BEFORE, None, id="a quota is no refusal"),
        pytest.param(facts(THROTTLED), BEFORE, "old", id="no answer proves nothing"),
        pytest.param(facts(REFUSED, THROTTLED), BEFORE, "old", id="nor one among others"),
        pytest.param(facts(NO_CAPACITY), None, None, id="never refused"),
    ],
)
def test_a_configuration_is_refused_until_aws_accepts_it(
    launch: LaunchFacts, before: ConfigurationRefusal | None, after: str | None
) -> None:
    refusal = learn(LaunchMemory(back_off={}, refusal=before), launch, AT).refusal
    assert (refusal.version if refusal else None) == after


def test_a_refusal_has_awss_code_its_words_and_an_advice() -> None:
    refusal = learn(LaunchMemory(back_off={}), facts(REFUSED), AT).refusal
    assert refusal is not None
    assert refusal.words.startswith("InvalidAMIID.NotFound: sorry. ")


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_a_person_can_cure_comes_before_what_passes_by_itself(kind: ErrorKind) -> None:
    shortages = most_urgent(
        [THROTTLED, NO_CAPACITY, Short(kind=kind, code="X"), QUOTA, NO_CAPACITY]
    )
    assert len(shortages) == 4  # each code once
    kinds = [short.kind for short in shortages]
    assert kinds.index(ErrorKind.QUOTA) < kinds.index(ErrorKind.CAPACITY)
    assert kinds[-1] is ErrorKind.THROTTLE
    assert (kinds[0] is kind) == (kind in {ErrorKind.CONFIGURATION, ErrorKind.QUOTA})
