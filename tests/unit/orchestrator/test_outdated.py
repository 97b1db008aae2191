"""Machines that an `apply` leaves with tags that their pool no longer has."""

import pytest

from adapters.ledger.configuration import StoredConfig
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.steps import StepName
from tests.unit.orchestrator.living_fleet import LivingFleet
from tests.unit.orchestrator.scene import FLEET, GITLAB, POOL, Scene, key

OPEN = GITLAB + POOL + "run_untagged = true\n"
SHARED = FLEET.replace('"group:42"', '"group:42"\ncredentials = "shared"')
CHANGES = [
    (FLEET, FLEET.replace('"docker", "big"', '"docker", "huge"'), ("docker", "huge")),
    (FLEET, FLEET + "run_untagged = true\n", ()),
    (OPEN, FLEET + "protected_only = true\n", ("docker",)),
    (FLEET, FLEET.replace("group:42", "group:43"), ("docker",)),
]


@pytest.mark.parametrize("boots", [True, False], ids=["boots", "is idle"])
@pytest.mark.parametrize(("before", "after", "tags"), CHANGES)
def test_an_outdated_machine_is_replaced_at_once(
    *, before: str, after: str, tags: tuple[str, ...], boots: bool
) -> None:
    scene = Scene(text=before)
    (old,) = scene.launched(1)
    if not boots:
        scene.reports(old, MachineState.IDLE, StepName.CREDENTIAL_READ)
    scene.gitlab.change(1, status="canceled")
    scene.settle(1, "canceled")
    stored(scene, after)
    scene.waits(2, tags=tags)
    assert (scene.scale().launched, scene.scale().launched) == (1, 0)
    states = {runner.for_job: runner.state for runner in scene.runners}
    assert states == {key(1): RunnerState.DRAINING, key(2): RunnerState.IN_FLIGHT}
    (order,) = [item for (_, sk), item in scene.table.mail.items.items() if sk == "order"]
    assert order["reason"] == Reason.OUTDATED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(FLEET, FLEET.replace('"docker", "big"', '"big", "docker"'), id="order"),
        pytest.param(FLEET, FLEET.replace("ceiling = 5", "ceiling = 6"), id="ceiling"),
        pytest.param(SHARED, SHARED.replace('"big"', '"huge"'), id="the pool's own record"),
    ],
)
def test_a_machine_that_gets_the_pools_jobs_stays(before: str, after: str) -> None:
    scene = Scene(text=before)
    scene.launched(1)
    stored(scene, after)
    result = scene.scale()
    assert (result.launched, result.drained) == (0, 0)


def test_at_the_ceiling_its_place_is_used_once_it_is_gone() -> None:
    text = FLEET.replace("ceiling = 5", "ceiling = 2")
    fleet = LivingFleet(text)
    for _ in range(2):
        fleet.withheld.add(fleet.push(tags=("big",)))
    fleet.go(2)
    changed = text.replace('"big"', '"big", "huge"')
    fleet.applies(changed)
    stored(fleet.scene, changed, world=False)
    jobs = [fleet.push(tags=("huge",)) for _ in range(2)]
    fleet.withheld.clear()
    fleet.go(15)
    assert not fleet.unfinished()
    assert {fleet.scene.job(job).attempt for job in jobs} == {1}


def stored(scene: Scene, text: str, *, world: bool = True) -> None:
    """A configuration as `apply` puts it in force."""
    if world:
        scene.with_config(text)
    config = scene.world.config
    scene.world.fleet.store_config(
        StoredConfig(text=text, version=config.version, applied_at=scene.clock())
    )
