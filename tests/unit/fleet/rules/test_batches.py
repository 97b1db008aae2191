"""Which launches go into one order, and which places it asks."""

import pytest

from fleet.model import ScalePlan
from fleet.reasons import Reason
from fleet.rules.batches import Batch, batches, capacity_pools_for
from fleet.rules.capacity import CapacityPool
from tests.unit.fleet.facts import job

SPOT, ON_DEMAND = (
    CapacityPool(instance_type="a", subnet="1", market=market) for market in ("spot", "on-demand")
)
PLAN = ScalePlan(
    reason=Reason.BACKLOG,
    launch=(job(1, project_id=7), job(2, project_id=8), job(3, project_id=7, on_demand=True)),
    warm=2,
)


@pytest.mark.parametrize(
    ("per_project", "expected"),
    [
        pytest.param(
            False,
            [(None, False, [1, 2, None, None]), (None, True, [3])],
            id="one order for each market",
        ),
        pytest.param(
            True,
            [(7, False, [1]), (8, False, [2]), (7, True, [3])],
            id="and for each project; none is warm",
        ),
    ],
)
def test_one_order_has_runners_of_one_kind(
    per_project: bool, expected: list[tuple[int | None, bool, list[int | None]]]
) -> None:
    assert [
        (batch.project_id, batch.on_demand, [job.job_id if job else None for job in batch.jobs])
        for batch in batches(PLAN, per_project=per_project)
    ] == expected


@pytest.mark.parametrize(
    ("on_demand", "ready", "expected"),
    [
        pytest.param(False, (SPOT, ON_DEMAND), (SPOT, ON_DEMAND), id="any place"),
        pytest.param(True, (SPOT, ON_DEMAND), (ON_DEMAND,), id="a retry avoids spot"),
        pytest.param(True, (SPOT,), (SPOT,), id="where the pool has another market"),
        pytest.param(True, (), (), id="a back end of one place"),
    ],
)
def test_a_retry_asks_for_on_demand_machines(
    on_demand: bool, ready: tuple[CapacityPool, ...], expected: tuple[CapacityPool, ...]
) -> None:
    assert (
        capacity_pools_for(Batch(jobs=(), project_id=None, on_demand=on_demand), ready) == expected
    )
