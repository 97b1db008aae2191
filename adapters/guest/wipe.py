"""Empties a folder of all that a job left in it.

No path is followed and no tree is descended: every folder below moves up into the top one before
its own entries go. So no name is too long and no tree too deep, three descriptors are enough, and
a folder on which something is mounted cannot be entered, because it does not move.
"""

import itertools
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MINE = stat.S_IRWXU


def wipe(folder: Path, *, within_s: float) -> bool:
    """Empty the folder, or make it; whether a last look proves it empty within the time.

    What cannot go, a mount point or another user's, stays whole and makes the answer False.
    """
    give_up = time.monotonic() + within_s
    try:
        _make(folder)
        with _opened(str(folder)) as top:
            wiping = _Wiping(top, give_up)
            while _has_entries(top):
                before = wiping.steps
                wiping.clear(top)
                if wiping.steps == before or time.monotonic() >= give_up:
                    return False
    except OSError:
        return False
    return True


def remove_tree(folder: Path, *, within_s: float) -> bool:
    """Wipe a folder and remove it; whether it is gone."""
    if not wipe(folder, within_s=within_s):
        return False
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def _make(folder: Path) -> None:
    """The folder, a real one: a job may have put something else in its place."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)


class _Wiping:
    """One top folder on its way to be empty."""

    def __init__(self, top: int, give_up: float) -> None:
        self._top = top
        self._give_up = give_up
        self._prefix = f"wipe-{secrets.token_hex(16)}-"  # no job can have taken the names
        self._moved = itertools.count()
        self.steps = 0  # entries that went, or moved

    def clear(self, folder: int) -> None:
        """Remove what can be removed. Folders go last, those of another folder into the top one.

        A file that is removed first makes room on a full disk.
        """
        for folders in (False, True):
            take = self._take if folders else os.unlink
            for name, is_folder in _entries(folder):
                if is_folder is not folders:
                    continue
                if time.monotonic() >= self._give_up:
                    return
                with suppress(OSError):  # it stays
                    with suppress(FileNotFoundError):  # a process of the job moved or removed it
                        take(name, dir_fd=folder)
                    self.steps += 1

    def _take(self, name: str, *, dir_fd: int) -> None:
        """Move one folder into the top one; clear and remove it, where it was there already."""
        if dir_fd != self._top:
            self._move(name, dir_fd)
            return
        if not name.startswith(self._prefix):
            name = self._move(name, dir_fd)
        with _opened(name, self._top) as inner:
            self.clear(inner)
        os.rmdir(name, dir_fd=self._top)

    def _move(self, name: str, folder: int) -> str:
        new = f"{self._prefix}{next(self._moved)}"
        try:
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._top)
        except PermissionError:  # its own `..` changes, so it must be writable
            with _reached(name, folder) as path:
                os.chmod(path, _MINE)
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._top)
        return new


@contextmanager
def _reached(name: str, folder: int | None) -> Iterator[str]:
    """A path to exactly this folder, in any mode, also after a move."""
    inner = os.open(name, _FOLDER | os.O_PATH, dir_fd=folder)
    try:
        yield f"/proc/self/fd/{inner}"
    finally:
        os.close(inner)


@contextmanager
def _opened(name: str, folder: int | None = None) -> Iterator[int]:
    """A folder open for reading, and ours to change."""
    with _reached(name, folder) as path:
        if stat.S_IMODE(os.stat(path).st_mode) & _MINE != _MINE:
            os.chmod(path, _MINE)
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


def _entries(folder: int) -> Iterator[tuple[str, bool]]:
    """Name and whether it is a folder, one after another: a folder may have millions."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _has_entries(folder: int) -> bool:
    return next(_entries(folder), None) is not None
