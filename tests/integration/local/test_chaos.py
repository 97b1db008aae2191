"""A short chaos suite: a run that breaks, then one seed of a fault of each family."""

from collections.abc import Iterator

import pytest

from local.chaos.faults.catalogue import fault_named
from local.chaos.faults.fault import Fault
from local.chaos.judge import Row
from local.chaos.scene import Scene
from local.chaos.worker import Worker

# One of GitLab, of machines and of launches: those that need no long waits.
SHORT = ("hook-disabled", "killed-while-running", "dry-zone")
SEED = 4


def break_run(_: Scene) -> None:
    """A world that is not as it should be."""
    raise TimeoutError("no answer")


def show_a_secret(scene: Scene) -> None:
    """A machine writes what it must not."""
    (scene.laptop.data / "guests" / "i-1.console").write_text(scene.laptop.gitlab_token)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("chaos")) as running:
        yield running


@pytest.fixture(scope="module")
def broken(worker: Worker) -> Row:
    return worker.run(Fault(name="breaks", about="raises", act=break_run), SEED)


def test_a_run_that_breaks_is_a_row_with_the_error(broken: Row) -> None:
    assert broken.problems == ("the run broke: TimeoutError: no answer",)


def test_a_secret_that_is_shown_is_a_problem(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Worker(tmp_path_factory.mktemp("shown")) as alone:
        row = alone.run(Fault(name="shows", about="shows a secret", act=show_a_secret), SEED)
    assert [one for one in row.problems if "GitLab token is in file" in one]


@pytest.mark.parametrize("name", SHORT)
def test_the_fault_strikes_and_every_job_ends_as_it_must(
    worker: Worker, broken: Row, name: str
) -> None:
    """On the laptop after that of the broken run."""
    fault = fault_named(name)
    assert fault is not None
    row = worker.run(fault, SEED)
    assert row.problems == (), "\n".join(row.trail)
    assert row.finished == row.jobs > 0
    assert (row.stuck, row.leaked, row.killed_busy) == (0, 0, 0)
    assert row.injected >= 1
    assert row.launched >= row.jobs
    assert row.longest_wait_s > 0
    assert row.trail
