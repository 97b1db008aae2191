"""The number of processes below others."""

from collections import defaultdict
from collections.abc import Iterable

from adapters.guest.process_tree import DEAD, stats


def count_below(roots: Iterable[int]) -> int:
    """Living processes that descend from `roots`, without the roots; zombies do not count."""
    children, states = defaultdict(list), {}
    for pid, state, parent in stats():
        children[parent].append(pid)
        states[pid] = state
    ahead = [pid for root in roots for pid in children[root]]
    alive = 0
    while ahead:
        pid = ahead.pop()
        alive += states[pid] not in DEAD
        ahead.extend(children[pid])
    return alive
