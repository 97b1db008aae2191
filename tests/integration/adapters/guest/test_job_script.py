"""What stands before a shell job's script, run by bash: its image, its services, its notice."""

import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.machine.bundled import image_script
from fleet.machine.runner_toml import runner_toml
from tests.unit.fleet.machine.test_bundled import IMAGES
from tests.unit.fleet.machine.test_runner_toml import AT, PLACE, SHELL


class Home:
    """The home of a job, with the folders of bundled images below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = "\n".join(image_script(str(folder / "image"), str(folder / "services")))
        self.script = script.replace("/opt/", f"{folder}/opt/")

    def bundles(self, path: str) -> str:
        there = self.folder / path.removeprefix("/")
        there.mkdir(parents=True)
        return str(there)

    def bash(self, *arguments: str, image: str = "") -> str:
        """What bash prints in a job of this image."""
        done = subprocess.run(
            ["/bin/bash", *arguments],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "CI_JOB_IMAGE": image},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(("image", "folder"), IMAGES.items())
def test_a_job_gets_the_same_version_in_front_and_its_log_says_so(
    image: str, folder: str | None, home: Home
) -> None:
    """As `bundled` chooses it for routing."""
    front = f"{home.bundles(folder)}:" if folder else ""
    script = f'{home.script}\necho "PATH $PATH"'
    first, _, path = home.bash("-euo", "pipefail", "-c", script, image=image).rpartition("PATH ")
    assert path == f"{front}/usr/bin:/bin\n"
    assert first.startswith("runner-fleet: image: ") is bool(image)
    # Another login shell runs after_script.
    after = home.bash("--login", "-c", 'echo "$PATH"', image=image)
    assert after.startswith(front)
    assert (home.folder / ".bash_profile").exists() is bool(folder)
    if image:
        assert (home.folder / "image").read_text() == image


def test_a_job_without_an_image_or_services_reads_nothing_of_them(home: Home) -> None:
    assert home.bash("-euo", "pipefail", "-c", home.script) == ""
    assert list(home.folder.iterdir()) == []
    (home.folder / "services").write_text("a report\n")
    assert home.bash("-euo", "pipefail", "-c", home.script) == "a report\n"


@pytest.mark.parametrize("has_notice", [True, False], ids=["with a notice", "without"])
def test_a_stopped_job_prints_the_notice(tmp_path: Path, *, has_notice: bool) -> None:
    notice = tmp_path / "it's here"
    if has_notice:
        notice.write_text("why it stopped\n")
    text = runner_toml(SHELL, replace(PLACE, notice=str(notice)), ends_at=AT)
    script = tomllib.loads(text)["runners"][0]["pre_build_script"]
    done = subprocess.run(
        ["bash", "-c", f"{script}\nkill -TERM $$\necho not reached"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, "")
    assert ("why it stopped" in done.stdout) is has_notice
    assert "not reached" not in done.stdout
