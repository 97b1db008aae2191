"""Finds the files that patterns name, packs and unpacks them."""

import glob
import os
import re
import stat
import subprocess
import zipfile
from collections.abc import Iterable
from typing import IO

_BRACES = re.compile(r"\{([^{}]*)\}")


def matches(root: str, pattern: str) -> set[str]:
    """The paths that a pattern names exactly. A path outside `root` names nothing.

    Knows `*`, `?`, `[abc]`, `{a,b}` and `**`, which alone crosses folders.
    """
    relative = os.path.relpath(os.path.join(root, pattern), root)
    if relative == ".." or relative.startswith("../"):
        return set()
    if braces := _BRACES.search(relative):
        head, tail = relative[: braces.start()], relative[braces.end() :]
        return set().union(*(matches(root, head + part + tail) for part in braces[1].split(",")))
    paths = glob.glob(relative, root_dir=root, recursive=True, include_hidden=True)
    return {path.rstrip("/") for path in paths}


def find(root: str, pattern: str) -> set[str]:
    """Paths below `root`, relative to it, that a pattern names; folders with all below them."""
    paths = matches(root, pattern)
    for top in [os.path.join(root, path) for path in paths]:
        if not os.path.islink(top):
            for folder, folders, names in os.walk(top):
                below = (os.path.join(folder, name) for name in (*folders, *names))
                paths.update(os.path.relpath(path, root) for path in below)
    return paths


def untracked(root: str) -> set[str]:
    """Files that git does not know, ignored ones too."""
    command = ["git", "ls-files", "-o", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=False).stdout
    return set(filter(None, os.fsdecode(listed).split("\0")))


def write_zip(target: IO[bytes] | str, root: str, paths: Iterable[str]) -> None:
    """Pack files, folders and symbolic links with their modes."""
    # A file may be older than a zip's first year, 1980.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(paths):
            full = os.path.join(root, path)
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                entry = zipfile.ZipInfo(path)
                entry.external_attr = status.st_mode << 16
                archive.writestr(entry, os.readlink(full))
            elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                archive.write(full, path)


def read_zip(source: IO[bytes] | str, root: str) -> None:
    """Unpack below `root`. Raises `zipfile.BadZipFile` and `OSError`."""
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            path = os.path.join(root, entry.filename)
            if os.path.islink(path):
                os.remove(path)  # else a file goes through an old link to what that leads to
            path, mode = archive.extract(entry, root), entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                os.remove(path)
                os.symlink(archive.read(entry).decode(), path)
            elif mode and not entry.is_dir():
                os.chmod(path, stat.S_IMODE(mode))
