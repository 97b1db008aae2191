"""Finding, packing and unpacking files."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from local.stand_in import files


@pytest.fixture
def tree(tmp_path: Path) -> str:
    for path in ("a.txt", "b.log", ".hidden", "sub/c.txt", "sub/deep/d.txt", "sub/deep/e.log"):
        full = tmp_path / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(path)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a.txt", ["a.txt"]),
        ("./a.txt", ["a.txt"]),
        ("missing", []),
        ("*.txt", ["a.txt"]),
        ("?.log", ["b.log"]),
        ("[ab].*", ["a.txt", "b.log"]),
        ("[!a].*", ["b.log"]),
        ("{a.txt,b.log}", ["a.txt", "b.log"]),
        ("**/*.txt", ["a.txt", "sub/c.txt", "sub/deep/d.txt"]),
        ("sub/*.txt", ["sub/c.txt"]),
        ("sub/**/*.log", ["sub/deep/e.log"]),
        ("sub/deep/", ["sub/deep", "sub/deep/d.txt", "sub/deep/e.log"]),
        ("sub/dee*", ["sub/deep", "sub/deep/d.txt", "sub/deep/e.log"]),
        ("s*/c.txt", ["sub/c.txt"]),
        (".hid*", [".hidden"]),
        ("../*", []),
        ("/etc/passwd", []),
        ("nothing/*.txt", []),
        ("a[]", []),
    ],
)
def test_patterns(tree: str, pattern: str, paths: list[str]) -> None:
    assert files.find(tree, pattern) == paths


def test_an_absolute_path_inside_and_the_whole_folder(tree: str) -> None:
    assert files.find(tree, f"{tree}/a.txt") == ["a.txt"]
    assert set(files.find(tree, ".")) >= {"a.txt", "sub", "sub/deep/e.log"}


def test_a_round_trip_keeps_content_modes_links_and_empty_folders(
    tree: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    os.chmod(f"{tree}/a.txt", 0o750)
    os.symlink("a.txt", f"{tree}/link")
    os.symlink("nowhere", f"{tree}/dangling")
    os.mkdir(f"{tree}/empty")
    packed = io.BytesIO()
    files.write_zip(packed, tree, ["a.txt", "dangling", "empty", "link", "sub/c.txt"])
    there = tmp_path_factory.mktemp("there")
    files.read_zip(packed, str(there))
    assert (there / "sub" / "c.txt").read_text() == "sub/c.txt"
    assert stat.S_IMODE((there / "a.txt").stat().st_mode) == 0o750
    assert os.readlink(there / "link") == "a.txt"
    assert os.readlink(there / "dangling") == "nowhere"
    assert (there / "empty").is_dir()


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside-of-it", "sub/../../outside", "door/through-a-link"]
)
def test_an_entry_outside_of_the_folder_is_refused(
    tree: str, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    os.symlink(tmp_path_factory.mktemp("outside"), f"{tree}/door")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match="outside of the folder"):
        files.read_zip(packed, tree)


def test_unpacking_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", "new")
    kept = tmp_path / "kept"
    kept.write_text("old")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").symlink_to(kept)
    files.read_zip(packed, str(tmp_path / "in"))
    assert kept.read_text() == "old"
    assert not (tmp_path / "in" / "a").is_symlink()
