"""Readings in other processes: answers, errors, a process that ends, and the end of all."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import Refused, Transient
from monitor.questions import Sources, read_job, read_picture
from monitor.reader_processes import ReaderProcesses
from operations.explain import UnknownJob
from tests.unit.cli.fleet_at_work import AtWork
from tests.unit.monitor.browsing import browser_of

ROOT = Path(__file__).parents[3]


def sources() -> Sources:
    """The fleet, in each process that reads it."""
    at_work = AtWork().configure()
    at_work.job(8)
    at_work.runner(1)
    return Sources(deployed=at_work.deployed)


def process_of(_sources: Sources) -> int:
    return os.getpid()


def end_oneself(_sources: Sources) -> None:
    """As when the system ends a process for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def readers() -> Iterator[ReaderProcesses]:
    readers = ReaderProcesses(sources)
    with pytest.MonkeyPatch.context() as paths:
        paths.syspath_prepend(ROOT)  # the processes have this one's path, and need this module
        yield readers
    readers.end()


def test_another_process_reads_what_the_page_shows(readers: ReaderProcesses) -> None:
    view, lanes = readers(read_picture, ())
    assert readers(process_of) != os.getpid()
    assert [lane.machine.runner_id for lane in lanes] == [view.machines[0].runner_id]
    text = browser_of(AtWork().configure(), ask=readers).get("/job?of=8").text
    assert "job-8" in text


def test_what_a_reading_raises_arrives(readers: ReaderProcesses) -> None:
    assert isinstance(readers(read_job, "9"), UnknownJob)
    with pytest.raises(Refused, match="this fleet serves"):
        readers(read_job, "https://gitlab.elsewhere.com/acme/demo/-/jobs/8")


def test_after_a_process_that_ended_the_next_reading_has_another(readers: ReaderProcesses) -> None:
    with pytest.raises(Transient, match="next try"):
        readers(end_oneself)
    assert readers(process_of) != os.getpid()
