"""Something is done again and again while a context is open."""

import threading

from local.beat import Beat

ENOUGH_S = 30


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
