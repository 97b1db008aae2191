"""A short chaos suite: one seed of a fault of each family, on one laptop."""

from collections.abc import Iterator

import pytest

from local.chaos.fault import Fault
from local.chaos.faults import fault_named
from local.chaos.judge import Row
from local.chaos.scene import Scene
from local.chaos.worker import Worker

# One of GitLab, of machines and of launches: those that need no long waits.
SHORT = ("hook-disabled", "killed-while-running", "dry-zone")
SEED = 4


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest.fixture(scope="module", params=SHORT)
def row(worker: Worker, request: pytest.FixtureRequest) -> Row:
    fault = fault_named(request.param)
    assert fault is not None
    return worker.run(fault, SEED)


def test_every_job_ends_as_it_must_and_nothing_is_left(row: Row) -> None:
    assert row.problems == (), "\n".join(row.trail)
    assert row.finished == row.jobs > 0
    assert (row.stuck, row.leaked, row.killed_busy) == (0, 0, 0)


def test_the_fault_struck_and_what_it_cost_was_counted(row: Row) -> None:
    assert row.injected >= 1
    assert row.launched >= row.jobs
    assert row.longest_wait_s > 0
    assert row.trail


def test_a_run_that_breaks_is_told_and_the_next_one_gets_a_new_laptop(worker: Worker) -> None:
    def breaks(scene: Scene) -> None:
        raise TimeoutError("the world is not as it should be")

    row = worker.run(Fault(name="breaks", about="raises", act=breaks), SEED)
    assert row.problems == ("the run broke: TimeoutError: the world is not as it should be",)
    fault = fault_named("duplicate-webhooks")
    assert fault is not None
    assert worker.run(fault, SEED).ok
