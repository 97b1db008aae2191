"""Finds the files that artifacts and caches name, packs and unpacks them."""

import glob
import os
import re
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from local.stand_in.job import SavedFiles

_BRACES = re.compile(r"\{([^{}]*)\}")


def find(root: str, pattern: str) -> list[str]:
    """Paths below `root`, relative to it, that a pattern names; folders with all below them."""
    return sorted({path for hit in matches(root, pattern) for path in _below(root, hit)})


def matches(root: str, pattern: str) -> set[str]:
    """The paths that a pattern names exactly. A path outside `root` names nothing.

    Knows `*`, `?`, `[abc]`, `{a,b}` and `**`, which alone crosses folders.
    """
    relative = os.path.relpath(os.path.normpath(os.path.join(root, pattern)), root)
    if relative == ".." or relative.startswith("../"):
        return set()
    braces = _BRACES.search(relative)
    if braces:
        head, tail = relative[: braces.start()], relative[braces.end() :]
        return set().union(*(matches(root, head + part + tail) for part in braces[1].split(",")))
    hits = glob.glob(relative, root_dir=root, recursive=True, include_hidden=True)
    return {hit.rstrip("/") for hit in hits}


def find_all(
    root: str, saved: SavedFiles, expand: Callable[[str], str], say: Callable[[str], None]
) -> set[str]:
    """The paths that a job saves; says of each pattern how many."""
    paths: set[str] = set()
    for pattern in map(expand, saved.paths):
        hits = find(root, pattern)
        paths.update(hits)
        if hits:
            say(f"{pattern}: found {len(hits)} matching artifact files and directories")
        else:
            hint = f"Ensure that the artifact path is relative to the working directory ({root})"
            say(f"\033[0;33mWARNING: {pattern}: no matching files. {hint}")
    if saved.untracked:  # what git does not know, ignored files too
        command = ["git", "ls-files", "-o", "-z"]
        listed = subprocess.run(command, cwd=root, capture_output=True, check=False).stdout
        names = set(filter(None, os.fsdecode(listed).split("\0")))
        say(f"untracked: found {len(names)} files")
        paths |= names
    return paths


def write_zip(target: IO[bytes] | str, root: str, paths: Iterable[str]) -> None:
    """Pack files, folders and symbolic links with their modes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            full = os.path.join(root, path)
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                entry = zipfile.ZipInfo(path, time.localtime(status.st_mtime)[:6])
                entry.external_attr = status.st_mode << 16
                archive.writestr(entry, os.readlink(full))
            elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                archive.write(full, path)


def read_zip(source: IO[bytes] | str, root: str) -> None:
    """Unpack below `root`.

    Raises `ValueError` for an entry that would land outside, and `zipfile.BadZipFile`.
    """
    top = os.path.realpath(root)
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            full = os.path.join(top, entry.filename)
            if os.path.commonpath([os.path.realpath(os.path.dirname(full)), top]) != top:
                raise ValueError(f"{entry.filename} would be outside of the folder")
            mode = entry.external_attr >> 16
            if os.path.lexists(full) and not entry.is_dir():
                os.remove(full)  # else a file goes through an old link to what that leads to
            archive.extract(entry, top)
            if stat.S_ISLNK(mode):
                os.remove(full)
                os.symlink(archive.read(entry).decode(), full)
            elif mode and not entry.is_dir():
                os.chmod(full, stat.S_IMODE(mode))


def _below(root: str, path: str) -> Iterator[str]:
    """The path itself, and everything below it when it is a folder."""
    full = os.path.join(root, path)
    if path != ".":
        yield path
    if os.path.isdir(full) and not os.path.islink(full):
        for name in os.listdir(full):
            yield from _below(root, name if path == "." else f"{path}/{name}")
