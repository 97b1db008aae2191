"""Nothing that a job leaves in its folder keeps the next job's folder from being empty."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adapters.guest.wipe import remove_tree, wipe
from tests.security.test_processes import run

LONG = "n" * 250


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """A longer path than the kernel takes can only be built from inside."""
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def nested(folder: Path, name: str, levels: int) -> None:
    with inside(folder):
        for level in range(levels):
            os.mkdir(name)
            os.chdir(name)
            if level % 50 == 3:
                Path("file").touch()
                Path("link").symlink_to("/")


def modes(folder: Path) -> None:
    deep = folder / "go" / "pkg" / "mod"
    deep.mkdir(parents=True)
    (deep / "file").touch(mode=0o400)
    for closed, mode in ((deep, 0o500), (deep.parent, 0o000), (folder / "go", 0o111)):
        closed.chmod(mode)


def odd_names(folder: Path) -> None:
    for name in ("\n", "-rf", "wipe-0", "a\\b", "  ", ".hidden", "…"):
        (folder / name).mkdir()
        (folder / name / name).touch()
    with inside(folder):
        os.mkdir(b"\xff\xfe")


def specials(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as bound, inside(folder):
        bound.bind("socket")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")
    (folder / "gone").symlink_to("/nowhere")
    (folder / "hard").touch(mode=0)
    (folder / "hard2").hardlink_to(folder / "hard")
    (folder / "sparse").touch()
    os.truncate(folder / "sparse", 1 << 40)


def broad(folder: Path) -> None:
    for number in range(300):
        (folder / f"f{number}").touch()
        (folder / f"d{number}" / "e").mkdir(parents=True)


LEFT: dict[str, Callable[[Path], None]] = {
    "seventeen long names": lambda folder: nested(folder, LONG, 17),
    "three hundred long names": lambda folder: nested(folder, LONG, 300),
    "fifteen hundred levels": lambda folder: nested(folder, "d", 1500),
    "four thousand levels": lambda folder: nested(folder, "d", 4_000),
    "closed folders": modes,
    "odd names": odd_names,
    "specials": specials,
    "hundreds": broad,
}


@pytest.mark.parametrize("leftover", LEFT)
def test_a_folder_is_proven_empty(leftover: str, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "work"
    outside.mkdir()
    folder.mkdir()
    (outside / "kept").touch()
    (folder / "to outside").symlink_to(outside)
    LEFT[leftover](folder)
    assert wipe(folder, within_s=60)
    assert list(folder.iterdir()) == []
    assert (outside / "kept").exists()


def test_another_thing_in_the_place_of_the_folder_is_replaced(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "work"
    outside.mkdir()
    (outside / "kept").touch()
    folder.symlink_to(outside)
    assert wipe(folder, within_s=5)
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert (outside / "kept").exists()
    folder.rmdir()
    os.mkfifo(folder)
    assert wipe(folder, within_s=5)
    assert list(folder.iterdir()) == []


# In a process of its own: a thread would hold the interpreter's lock most of the time.
MOVES = """
import os, sys
names = [os.path.join(sys.argv[1], name) for name in "ab"]
print("moves", flush=True)
while os.path.isdir(sys.argv[1]):
    for source, target in (names, reversed(names)):
        try:
            os.rename(source, target)
        except OSError:
            pass
"""


def test_a_folder_that_moves_meanwhile_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    command = [sys.executable, "-c", MOVES, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mover:
        assert mover.stdout is not None
        assert mover.stdout.readline() == "moves\n"
        try:
            for depth in (400, *[1] * 150):  # of a shallow one, a pass may meet nothing else
                tree = tmp_path / "tree"
                tree.mkdir()
                nested(tree, "d", depth)
                tree.rename(folder / "a")
                assert wipe(folder, within_s=30)
                assert list(folder.iterdir()) == []
        finally:
            mover.kill()


def test_a_wipe_that_takes_too_long_is_reported(tmp_path: Path) -> None:
    broad(tmp_path)
    assert not wipe(tmp_path, within_s=0)
    assert wipe(tmp_path, within_s=60)


def test_a_tree_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "guest"
    folder.mkdir()
    nested(folder, "d", 1500)
    assert remove_tree(folder, within_s=30)
    assert not folder.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can leave another user's file")
def test_what_cannot_be_removed_is_reported_and_the_rest_goes(open_folder: Path) -> None:
    """As the unprivileged user of a Lambda sandbox, whose own /proc is hidden as well."""
    folder = open_folder / "work"
    (folder / "mine" / "deep").mkdir(parents=True)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "file").touch()
    for path in (folder, folder / "mine", folder / "mine" / "deep"):
        os.chown(path, 65534, 65534)
    (folder / "mine").chmod(0)
    code = """
import json, os, sys
from pathlib import Path
from adapters.guest.process_tree import hide_memory
from adapters.guest.wipe import wipe
os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534)
hide_memory()
folder = Path(sys.argv[1])
print(json.dumps([wipe(folder, within_s=5), len(os.listdir(folder))]))
"""
    assert json.loads(run(code, str(folder))) == [False, 1]


def test_a_mount_is_reported_and_not_entered(tmp_path: Path) -> None:
    mount = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no mount namespace")
    outside, folder = tmp_path / "outside", tmp_path / "work"
    (folder / "a" / "mount").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").touch()
    code = """
import json, subprocess, sys
from pathlib import Path
from adapters.guest.wipe import wipe
outside, folder = map(Path, sys.argv[1:])
subprocess.run(["mount", "--bind", str(outside), str(folder / "a" / "mount")], check=True)
print(json.dumps(wipe(folder, within_s=5)))
"""
    assert json.loads(run(code, str(outside), str(folder), before=mount)) is False
    assert (outside / "kept").exists()
