"""When a pipeline's pending jobs are read again, and whether its last reader owes a wake."""

from datetime import datetime, timedelta

# A pipeline's jobs become pending within seconds of each other, with one webhook each.
READ_AGAIN_AFTER = timedelta(seconds=10)
# The longest execution of the route machine: until then it may still owe a wake.
WAKE_OWED = timedelta(minutes=4)


def is_wake_owed(listed_at: datetime, *, is_done: bool, waits: bool, at: datetime) -> bool:
    """Whether a reader that began at `listed_at` may not have woken scaling for its jobs yet.

    `is_done`: it has read them; `waits`: at least one of them waits in a pool for a runner.
    """
    return at - listed_at <= WAKE_OWED and (not is_done or waits)
