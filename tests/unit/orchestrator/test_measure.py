"""What is logged to be measured, once a minute and for each ended run."""

import json

import pytest

from fleet.reasons import Reason
from fleet.rules.controls import ControlKind
from tests.unit.orchestrator.scene import Scene, logged
from tests.unit.orchestrator.test_controls import orders


def test_a_fleet_at_zero_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Scene().reconcile()
    assert "Measured" not in capsys.readouterr().out


def test_a_pool_is_measured_with_its_backlog(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    scene.launched(1)
    scene.waits(2, 3)
    scene.clock.go(90)
    scene.reconcile()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (pool,) = [line for line in lines if line["event"] == "PoolMeasured"]
    assert (pool["in_use"], pool["backlog"]) == (1, 3)
    assert pool["oldest_wait_s"] >= 90
    (fleet,) = [line for line in lines if line["event"] == "FleetMeasured"]
    assert fleet["oldest_wait_s"] == pool["oldest_wait_s"]
    assert (fleet["stuck"], fleet["full_pools"], fleet["calls_left_percent"]) == (0, 0, 75.0)


@pytest.mark.parametrize(("ceiling", "full"), [(None, 0), (1, 1), (2, 0)])
def test_a_pool_at_the_ceiling_that_an_operator_ordered_is_full(
    ceiling: int | None, full: int, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene()
    scene.launched(1)
    if ceiling is not None:
        orders(scene, ControlKind.CEILING, "docker", ceiling=ceiling)
    scene.waits(2)
    scene.reconcile()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (pool,) = [line for line in lines if line["event"] == "PoolMeasured"]
    assert (pool["in_use"], pool["ceiling"]) == (1, ceiling or 5)
    (fleet,) = [line for line in lines if line["event"] == "FleetMeasured"]
    assert fleet["full_pools"] == full


def test_the_hops_of_a_wait_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.clock.go(60)
    scene.closes(runner, Reason.FINISHED)
    (line,) = logged(capsys, "JobServed")
    hops = [line[f"{hop}_s"] for hop in ("webhook", "route", "launch", "boot", "take")]
    assert sum(hops) == pytest.approx(line["waited_s"])
    assert line["job_id"] == 1
