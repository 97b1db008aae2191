"""Something is done again and again while a context is open."""

from __future__ import annotations

import threading

import pytest

from local.beat import Beat

ENOUGH_S = 30


def test_it_goes_on_until_the_context_is_left() -> None:
    often = threading.Semaphore(0)
    threads: set[int] = set()

    def act() -> None:
        threads.add(threading.get_ident())
        often.release()

    with Beat(act, 0.001) as beat:
        for _ in range(3):
            assert often.acquire(timeout=ENOUGH_S)
        assert not beat.is_closing
    assert beat.is_closing
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_leaving_waits_for_the_call_that_is_under_way() -> None:
    begun, never, done = threading.Event(), threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        while not beat.is_closing:  # so it ends only after the context has begun to be left
            never.wait(0.001)
        done.set()

    beat = Beat(act, 0.001)
    with beat:
        assert begun.wait(ENOUGH_S)
        assert not done.is_set()
    assert done.is_set()


def test_nothing_is_done_before_its_time() -> None:
    with Beat(lambda: pytest.fail("too early"), 3600):
        pass
