"""The dashboard's server over sockets: streams of changes, of readers who leave and of its end."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from monitor.app import board_of
from tests.browser.show import asking, served
from tests.integration.runs import eventually
from tests.unit.cli.fleet_at_work import AtWork


@contextmanager
def stream(address: str) -> Iterator[Iterator[str]]:
    """An open stream, after its first event."""
    with httpx.Client(timeout=30) as client, client.stream("GET", f"{address}/live") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: changed"
        yield lines


def test_streams_take_no_threads_and_end_with_their_readers() -> None:
    at_work = AtWork().configure()
    board = board_of(at_work.deployed, asking(at_work))
    with served(at_work, board=board) as address:
        with stream(address):
            threads = threading.active_count()
        with ExitStack() as readers:
            for _ in range(50):
                readers.enter_context(stream(address))
            assert (board.streams, threading.active_count()) == (50, threads)
        eventually(lambda: board.streams == 0)


def test_an_open_stream_ends_with_the_server_and_is_not_cut_off() -> None:
    with ExitStack() as readers:
        with served(AtWork().configure()) as address:
            lines = readers.enter_context(stream(address))
        list(lines)  # raises `RemoteProtocolError` where it was cut off
