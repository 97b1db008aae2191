"""Finds the files that artifacts and caches name, packs and unpacks them."""

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

_MAGIC = re.compile(r"[*?\[{]")
_PIECES = re.compile(r"(/\*\*/|^\*\*/|/\*\*$|\*\*|\*|\?|\[[^\]]*\]|\{[^}]*\})")
_WILD = {
    "/**/": "/(?:.*/)?",
    "**/": "(?:.*/)?",
    "/**": "(?:/.*)?",
    "**": ".*",
    "*": "[^/]*",
    "?": "[^/]",
}


def find(root: str, pattern: str) -> list[str]:
    """Paths below `root`, relative to it, that a pattern names; folders with all below them.

    Knows `*`, `?`, `[abc]`, `{a,b}` and `**`. A path outside `root` names nothing.
    """
    relative = os.path.relpath(os.path.normpath(os.path.join(root, pattern)), root)
    if relative == ".." or relative.startswith("../"):
        return []
    if not _MAGIC.search(relative):
        is_there = os.path.lexists(os.path.join(root, relative))
        return sorted(_below(root, relative)) if is_there else []
    fits = re.compile(_expression(relative))
    fixed = _MAGIC.split(relative, maxsplit=1)[0].rpartition("/")[0]
    hits = [path for path in _below(root, fixed or ".") if fits.fullmatch(path)]
    return sorted({path for hit in hits for path in _below(root, hit)})


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


def is_excluded(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names exactly this path."""
    return any(re.fullmatch(_expression(os.path.normpath(p)), path) for p in patterns)


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


def write_gzip(target: IO[bytes], root: str, paths: Iterable[str]) -> None:
    """Pack files one after another, each as a gzip member with its name."""
    for path in paths:
        full = os.path.join(root, path)
        if os.path.isfile(full):
            with open(full, "rb") as file, gzip.GzipFile(path, "wb", fileobj=target) as member:
                shutil.copyfileobj(file, member)


def _below(root: str, path: str) -> Iterator[str]:
    """The path itself, and everything below it when it is a folder."""
    full = os.path.join(root, path)
    if path != ".":
        yield path
    if os.path.isdir(full) and not os.path.islink(full):
        for name in os.listdir(full):
            yield from _below(root, name if path == "." else f"{path}/{name}")


def _expression(pattern: str) -> str:
    """A regular expression for a glob; only `**` crosses folders."""
    return "".join(_piece(piece) for piece in _PIECES.split(pattern))


def _piece(piece: str) -> str:
    if piece in _WILD:
        return _WILD[piece]
    if re.fullmatch(r"\[[^\]]+\]", piece):
        return "[" + piece[1:-1].replace("\\", r"\\").replace("!", "^", 1) + "]"
    if re.fullmatch(r"\{[^}]*\}", piece):
        return "(?:" + "|".join(_expression(part) for part in piece[1:-1].split(",")) + ")"
    return re.escape(piece)
