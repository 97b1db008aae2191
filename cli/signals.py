"""Commands that start a whole service end it as well when they are asked to end."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the command as Ctrl-C does; it exits with 128 + the number.

    A second signal changes nothing: the clean-up that the first one began goes on.
    """
    before = {number: signal.signal(number, _unwind) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder that is removed at the end, with all that this process makes in temporary ones.

    A signal that comes while one of these is removed leaves a part of it.
    """
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def _unwind(number: int, _frame: FrameType | None) -> None:
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise SystemExit(128 + number)
