"""One pool's trouble is its own: the others are served, and the log says so."""

import pytest

from adapters.ledger.table import Change
from fleet.errors import Refused, Transient
from tests.unit.orchestrator.scene import FLEET, POOL, Scene, key, logged

TWO = FLEET + POOL.replace("docker", "second")
SICK = FLEET.replace("pools.docker", "pools.asick").replace('"docker"', '"sick"') + POOL


def with_unreadable_first_pool() -> Scene:
    """Two pools; the back-off memory of the first cannot be read."""
    scene = Scene(text=SICK)
    unreadable = {"m7i.large/subnet-1/spot": {"until": "never", "failures": 1, "code": "x"}}
    scene.table.write(Change(pk="pool#asick", sk="pool", put={"back_off": unreadable}))
    return scene


def test_a_pool_that_cannot_be_read_keeps_no_other_from_its_machines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = with_unreadable_first_pool()
    scene.waits(1)
    with pytest.raises(Refused, match="pool#asick"):
        scene.scale()
    assert scene.only_runner.for_job == key(1)
    assert scene.queue.depth() == 0
    (line,) = logged(capsys, "PoolFailed")
    assert (line["level"], line["pool"]) == ("ERROR", "asick")
    assert "pool#asick" in line["error"]


def test_a_failure_waits_for_the_round_in_which_the_others_are_done() -> None:
    scene = with_unreadable_first_pool()
    scene.backend.room = 1
    scene.waits(1, 2)
    first = scene.scale()
    assert (first.launched, first.again_in_s) == (1, 1)
    with pytest.raises(Refused, match="pool#asick"):
        scene.scale()


def test_the_first_of_two_failures_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    scene = Scene(text=TWO)
    for job_id, tags in ((1, ("docker",)), (2, ("second",))):
        scene.waits(job_id, tags=tags)
    scene.backend.failing = Refused("no such thing")
    with pytest.raises(Refused, match="no such thing"):
        scene.scale()
    assert [line["pool"] for line in logged(capsys, "PoolFailed")] == ["docker", "second"]


def test_machines_are_launched_while_the_queue_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = Scene()
    scene.waits(1)
    scene.queue.unread = Transient(call="sqs.GetQueueAttributes")
    with pytest.raises(Transient):
        scene.scale()
    assert scene.only_runner.for_job == key(1)
    (line,) = logged(capsys, "PoolFailed")
    assert (line["backend"], line["pool"]) == ("tests", None)
