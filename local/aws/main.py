"""MiniStack as the fleet runs it: `python -m local.aws.main`, settings from the environment.

What `access`, `archives`, `bus_policy`, `events` and `quotas` add is what AWS does; when MiniStack
does it, delete it. `calls` only counts.
"""

import os
import signal
import sys
import threading
import time

from ministack import app

from local.aws import access, archives, bus_policy, calls, events, processes, quotas

# One thread answers every call; hundreds that walk through state machines must not make it wait
# five milliseconds each time, which is Python's default.
SWITCH_S = 0.0005
END_WITHIN_S = 10.0


def main() -> None:
    """Serve until SIGTERM, or until the process that started it is gone."""
    sys.setswitchinterval(SWITCH_S)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    access.install()
    archives.install()
    bus_policy.install()
    events.install()
    processes.install()
    quotas.install()
    calls.install()
    app.main()


def _end_with_parent() -> None:
    """Wait for the end of standard input: a pipe without a writer, which ends with its other side.

    Busy threads may keep an engine from ending by itself, and no other process ends it.
    """
    os.read(sys.stdin.fileno(), 1)  # unbuffered: a buffer's lock would break the engine's own end
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_WITHIN_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
