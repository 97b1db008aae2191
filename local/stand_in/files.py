"""Finds the files that artifacts and caches name, packs and unpacks them."""

import glob
import gzip
import os
import re
import shutil
import stat
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO

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
    hits = (
        glob.glob(plain, root_dir=root, recursive=True, include_hidden=True)
        for plain in _without_braces(relative)
    )
    return {hit.rstrip("/") for group in hits for hit in group}


def find_all(root: str, patterns: Iterable[str], say: Callable[[str], None]) -> set[str]:
    """The paths that any of the patterns names; says of each how many."""
    paths: set[str] = set()
    for pattern in patterns:
        hits = find(root, pattern)
        paths.update(hits)
        if hits:
            say(f"{pattern}: found {len(hits)} matching artifact files and directories")
        else:
            say(
                f"\033[0;33mWARNING: {pattern}: no matching files. Ensure that the artifact path "
                f"is relative to the working directory ({root})"
            )
    return paths


def find_untracked(root: str) -> list[str]:
    """The files git does not know, ignored ones too."""
    command = ["git", "ls-files", "-o", "-z"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=False)
    return sorted(name for name in os.fsdecode(listed.stdout).split("\0") if name)


def write_zip(target: IO[bytes], root: str, paths: Iterable[str]) -> None:
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


def read_zip(source: IO[bytes], root: str) -> None:
    """Unpack below `root`.

    Raises `ValueError` for an entry that would land outside, and `zipfile.BadZipFile`.
    """
    top = os.path.realpath(root)
    with zipfile.ZipFile(source) as archive:
        for entry in archive.infolist():
            full = os.path.join(top, entry.filename)
            if os.path.commonpath([os.path.realpath(os.path.dirname(full)), top]) != top:
                raise ValueError(f"{entry.filename} would be outside of the folder")
            _unpack(archive, entry, full)


def write_gzip(target: IO[bytes], root: str, paths: Iterable[str]) -> None:
    """Pack files one after another, each as a gzip member with its name."""
    for path in paths:
        full = os.path.join(root, path)
        if os.path.isfile(full):
            with open(full, "rb") as file, gzip.GzipFile(path, "wb", fileobj=target) as member:
                shutil.copyfileobj(file, member)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, full: str) -> None:
    mode = entry.external_attr >> 16
    if entry.is_dir():
        os.makedirs(full, exist_ok=True)
        return
    os.makedirs(os.path.dirname(full), exist_ok=True)
    if os.path.lexists(full):
        os.remove(full)
    if stat.S_ISLNK(mode):
        os.symlink(archive.read(entry).decode(), full)
        return
    with archive.open(entry) as packed, open(full, "wb") as file:
        shutil.copyfileobj(packed, file)
    if mode:
        os.chmod(full, stat.S_IMODE(mode))


def _below(root: str, path: str) -> Iterator[str]:
    """The path itself, and everything below it when it is a folder."""
    full = os.path.join(root, path)
    if path != ".":
        yield path
    if os.path.isdir(full) and not os.path.islink(full):
        for name in os.listdir(full):
            yield from _below(root, name if path == "." else f"{path}/{name}")


def _without_braces(pattern: str) -> list[str]:
    """The patterns that one with `{a,b}` stands for."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    head, tail = pattern[: braces.start()], pattern[braces.end() :]
    return [p for part in braces[1].split(",") for p in _without_braces(f"{head}{part}{tail}")]
