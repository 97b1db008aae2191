"""What builds gitlab-runner into an image proves where it is from: the real script and gpg."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from infra.package import ROOT

SCRIPT = ROOT / "infra" / "runner_image" / "gitlab_runner.sh"
VERSION = "17.9.0"
PROGRAM = "#!/bin/sh\necho 'Version:      {}'\n"

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not all(map(shutil.which, ("gpg", "dpkg", "curl"))),
    reason="needs root, gpg, dpkg and curl",
)


def gpg(home: Path, *command: str, text: str | None = None) -> str:
    done = subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--pinentry-mode",
         "loopback", "--passphrase", "", *command],
        input=text, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A key that signs releases."""

    home: Path
    fingerprint: str

    def sign(self, path: Path) -> None:
        """Leave the signature beside the file, as GitLab does."""
        gpg(self.home, "--yes", "--armor", "--detach-sign", str(path))

    def public_key(self, path: Path) -> None:
        """Write the key as people import it."""
        path.write_text(gpg(self.home, "--armor", "--export", self.fingerprint))

    def revoke(self) -> None:
        """With the certificate that gpg makes for every key, disarmed by a colon."""
        certificate = self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev"
        gpg(
            self.home, "--import", text=certificate.read_text().replace(":-----BEGIN", "-----BEGIN")
        )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: gpg's agent listens at a socket in it, whose name has 107 letters at most."""
    with TemporaryDirectory(prefix="gpg-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def signers(folder: Path) -> Iterator[Callable[[str], Signer]]:
    """Makes keys; their agents end with the test."""
    homes: list[Path] = []

    def make(name: str) -> Signer:
        home = folder / name
        home.mkdir(mode=0o700)
        homes.append(home)
        gpg(home, "--quick-generate-key", f"{name}@example.com", "ed25519", "sign", "never")
        listed = gpg(home, "--list-keys", "--with-colons")
        line = next(line for line in listed.splitlines() if line.startswith("fpr"))
        return Signer(home=home, fingerprint=line.split(":")[9])

    yield make
    for home in homes:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release as GitLab publishes it, and the variables of the Dockerfile that name it."""

    folder: Path
    signer: Signer

    @property
    def binary(self) -> Path:
        """The program for this machine."""
        words = ["dpkg", "--print-architecture"]
        architecture = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return self.folder / "binaries" / f"gitlab-runner-linux-{architecture.strip()}"

    @property
    def checksum(self) -> str:
        """Of the program as it lies there."""
        return hashlib.sha256(self.binary.read_bytes()).hexdigest()

    def publish(self, program: str = PROGRAM.format(VERSION)) -> None:
        """The program, the list of checksums, and its signature."""
        self.binary.parent.mkdir(parents=True)
        self.binary.write_text(program)
        checksums = self.folder / "release.sha256"
        other = f"{'0' * 64} *binaries/gitlab-runner-linux-mips"
        checksums.write_text(f"{other}\n{self.checksum} *binaries/{self.binary.name}\n")
        self.signer.sign(checksums)
        self.signer.public_key(self.folder / "key")

    def install(self, target: Path, pin: str = "") -> subprocess.CompletedProcess[str]:
        """Run the script as the Dockerfile does."""
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.folder.parent),
            "GITLAB_RUNNER_VERSION": VERSION,
            "GITLAB_RUNNER_SHA256_X86_64": pin,
            "GITLAB_RUNNER_SHA256_ARM64": pin,
            "GITLAB_RUNNER_RELEASES": self.folder.parent.as_uri(),
            "GITLAB_RUNNER_KEY": (self.folder / "key").as_uri(),
            "GITLAB_RUNNER_SIGNER": self.signer.fingerprint,
        }
        return subprocess.run(
            ["sh", str(SCRIPT), str(target)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def release(folder: Path, signers: Callable[[str], Signer]) -> Release:
    return Release(folder=folder / "releases" / f"v{VERSION}", signer=signers("gitlab"))


def test_a_release_that_gitlabs_key_has_signed_is_installed(
    release: Release, tmp_path: Path
) -> None:
    release.publish()
    done = release.install(tmp_path / "runner")
    assert (done.returncode, done.stderr) == (0, "")
    installed = (tmp_path / "runner").stat()
    assert (oct(installed.st_mode)[-4:], installed.st_uid) == ("0711", 0)
    assert done.stdout.startswith(f"gitlab-runner {VERSION} for ")
    assert done.stdout.endswith(f": sha256 {release.checksum}\n")


def test_a_checksum_of_the_dockerfile_needs_no_list(release: Release, tmp_path: Path) -> None:
    release.publish()
    checksum = release.checksum
    (release.folder / "release.sha256").unlink()
    assert release.install(tmp_path / "runner", checksum).returncode == 0


def other_list(release: Release, _: Callable[[str], Signer]) -> None:
    path = release.folder / "release.sha256"
    path.write_text(path.read_text().replace(release.checksum, "1" * 64))


def other_program(release: Release, _: Callable[[str], Signer]) -> None:
    release.binary.write_text(PROGRAM.format(VERSION) + "# and more\n")


def other_key(release: Release, signers: Callable[[str], Signer]) -> None:
    other = signers("stranger")
    other.sign(release.folder / "release.sha256")
    other.public_key(release.folder / "key")


def revoked_key(release: Release, _: Callable[[str], Signer]) -> None:
    release.signer.revoke()
    release.signer.public_key(release.folder / "key")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (other_list, "not signed by"),
        (other_key, "not signed by"),
        (revoked_key, "not signed by"),
        (other_program, "its checksum is not"),
    ],
)
def test_nothing_else_becomes_part_of_an_image(
    release: Release,
    signers: Callable[[str], Signer],
    tmp_path: Path,
    damage: Callable[[Release, Callable[[str], Signer]], None],
    says: str,
) -> None:
    release.publish()
    damage(release, signers)
    done = release.install(tmp_path / "runner")
    assert done.returncode == 1
    assert says in done.stderr


@pytest.mark.parametrize(
    ("program", "pin", "says"),
    [
        (PROGRAM.format(VERSION), "2" * 64, f"its checksum is not {'2' * 64}"),
        (PROGRAM.format("16.0.0"), "", f"this is not version {VERSION}"),
    ],
)
def test_another_checksum_or_version_than_the_dockerfile_names_is_refused(
    release: Release, tmp_path: Path, program: str, pin: str, says: str
) -> None:
    release.publish(program)
    done = release.install(tmp_path / "runner", pin)
    assert done.returncode == 1
    assert says in done.stderr
