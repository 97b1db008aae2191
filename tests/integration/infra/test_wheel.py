"""Pip at work: the wheel has all that the command reads, and functions get what is locked."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from cli.deploy import packed
from fleet.errors import Refused
from infra import package
from infra.image_sources import image_sources
from infra.package import ROOT

NOT_SOURCES = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "docs", "tests", "node_modules", "*.egg-info"
)
# Folders that a command reads as files: the template with its machines, what machines start.
READ = ("infra", "local/bin", "ec2_runner")
# A wheel has no place for these: they are of the clone.
OF_THE_CLONE = {".py", ".pyc"}


def test_a_wheel_has_every_file_that_the_command_reads(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(ROOT, sources, ignore=NOT_SOURCES)
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path))
    subprocess.run([sys.executable, "-m", "pip", *build, str(sources)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        entries = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        archive.extractall(tmp_path / "installed")
    # The images of machines are built from it, and are the clone's.
    assert image_sources(tmp_path / "installed").digest == image_sources().digest
    for path in (path for folder in READ for path in (ROOT / folder).rglob("*") if path.is_file()):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in OF_THE_CLONE:
            continue
        assert name in entries, f"{name} is not in the wheel"
        is_program = bool(path.stat().st_mode & 0o100)
        assert bool(entries[name] & 0o100) == is_program, f"{name} is not as executable as it was"


def wheel(folder: Path) -> Path:
    """A library of one module, as pip installs it."""
    built = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(built, "w") as packed:
        packed.writestr("tiny.py", "A = 1\n")
        packed.writestr(
            "tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
        )
        packed.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr("tiny-1.0.dist-info/RECORD", "")
    return built


def test_dependencies_are_installed_only_as_they_are_locked(tmp_path: Path) -> None:
    built = wheel(tmp_path)
    lock = tmp_path / "runtime.txt"
    lock.write_text(f"{built} --hash=sha256:{hashlib.sha256(built.read_bytes()).hexdigest()}\n")
    target = package.install_dependencies(tmp_path / "installed", requirements=lock)
    assert (target / "tiny.py").read_text() == "A = 1\n"
    assert not (target / "__pycache__").exists()
    lock.write_text(f"{built} --hash=sha256:{'0' * 64}\n")
    with pytest.raises(CalledProcessError):
        package.install_dependencies(tmp_path / "again", requirements=lock)


def test_a_pip_that_fails_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_USER", "1")  # which pip refuses together with a target
    with pytest.raises(Refused):
        packed()
    assert "ERROR" in capfd.readouterr().err
