"""A short chaos suite: runs that break or show a secret, and a fault of each family."""

from collections.abc import Iterator

import pytest

from local.chaos.faults.catalogue import fault_named
from local.chaos.faults.fault import Fault
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


def test_a_secret_that_is_shown_is_a_problem(worker: Worker) -> None:
    row = worker.run(Fault(name="shows", about="shows a secret", act=show_a_secret), SEED)
    assert [problem for problem in row.problems if "GitLab token is in file" in problem]


@pytest.mark.parametrize("name", SHORT)
def test_the_fault_strikes_and_every_job_ends_as_it_must(worker: Worker, name: str) -> None:
    """On another laptop than that of the problem, which all these share."""
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


def test_a_run_that_breaks_is_a_row_with_the_error(worker: Worker) -> None:
    broken = worker.run(Fault(name="breaks", about="raises", act=break_run), SEED)
    assert broken.problems == ("the run broke: TimeoutError: no answer",)
