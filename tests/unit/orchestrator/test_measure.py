"""What is logged to be measured, once a minute and for each ended run."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.ledger.trouble_watch import TroubleWatch
from fleet.reasons import Reason
from fleet.trouble import TOKEN
from tests.unit.orchestrator.scene import Scene


def logged(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """The lines of one event since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


def test_a_fleet_at_zero_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Scene().reconcile()
    assert "Measured" not in capsys.readouterr().out


def test_a_pool_is_measured_with_its_backlog(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    scene.launched(1)
    for job_id in (2, 3):
        scene.push(job_id)
        scene.route(job_id)
    scene.clock.go(90)
    scene.reconcile()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (pool,) = [line for line in lines if line["event"] == "PoolMeasured"]
    assert (pool["in_use"], pool["backlog"]) == (1, 3)
    assert pool["oldest_wait_s"] >= 90
    (fleet,) = [line for line in lines if line["event"] == "FleetMeasured"]
    assert fleet["oldest_wait_s"] == pool["oldest_wait_s"]
    assert (fleet["stuck"], fleet["full_pools"], fleet["calls_left_percent"]) == (0, 0, 75.0)


def test_a_refused_token_is_measured_also_at_zero(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    TroubleWatch(scene.world.fleet, scene.clock).failed("GET /version", "revoked", kind=TOKEN)
    scene.reconcile()
    (line,) = logged(capsys, "FleetMeasured")
    assert line["troubles"] == 1


def test_the_hops_of_a_wait_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.clock.go(60)
    scene.closes(runner, Reason.FINISHED)
    (line,) = logged(capsys, "JobServed")
    hops = [line[f"{hop}_s"] for hop in ("webhook", "route", "launch", "boot", "take")]
    assert sum(hops) == pytest.approx(line["waited_s"])
    assert line["job_id"] == 1


def test_a_machine_is_paid_once(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene()
    runner = replace(scene.runs(1), capacity="m7i.large/subnet-1/spot")
    scene.clock.go(timedelta(hours=1).total_seconds())
    scene.closes(runner, Reason.FINISHED)
    scene.closes(runner, Reason.FINISHED)
    (line,) = logged(capsys, "MachinePaid")
    assert 0.03 < line["usd"] < 0.06
