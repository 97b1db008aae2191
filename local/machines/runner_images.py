"""The images of machines that are containers: the deployed ones' sources, built here."""

import hashlib
import io
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused
from infra.image_sources import ImageSources, image_sources
from infra.package import ROOT
from local.machines.binaries import STANDIN

AGENT, SANDBOX = "ec2", "lambda"  # targets of the Dockerfile
# Variables that name an image which this engine has already.
IMAGE_VARIABLES = {AGENT: "RUNNER_FLEET_EC2_IMAGE", SANDBOX: "RUNNER_FLEET_LAMBDA_IMAGE"}
BASE_VARIABLE = "RUNNER_FLEET_BASE"  # an image of Debian 12 to build on
# Arguments of the Dockerfile that the environment may set, by target.
_PYTHONS = {name: f"RUNNER_FLEET_{name}" for name in ("PYTHON_3_12", "PYTHON_3_13")}
ARGUMENT_VARIABLES = {AGENT: {"BASE": BASE_VARIABLE}, SANDBOX: {"BASE": BASE_VARIABLE, **_PYTHONS}}
EMULATOR = "/usr/local/bin/aws-lambda-rie"
EMULATOR_LOCK = ROOT / "infra" / "e2e.txt"
FETCH_WITHIN_S = 300.0
PACKAGES = "/opt/runner-fleet/packages"  # in the images
RUNNER = Path("/usr/bin/gitlab-runner")
CHECKSUMS = ("GITLAB_RUNNER_SHA256_X86_64", "GITLAB_RUNNER_SHA256_ARM64")


def runner_image(client: docker.DockerClient, target: str) -> str:
    """The image that the environment names, else a built one: the same sources are built once.

    Raises `Refused` when the engine lacks the one or cannot build the other.
    """
    named = os.environ.get(IMAGE_VARIABLES[target])
    if named:
        if not has_image(client, named):
            raise Refused(f"the engine has no image {named}: build or pull it, or unset it")
        return named
    with tempfile.TemporaryDirectory(prefix="runner-fleet-image-") as folder:
        files, arguments = _files_and_arguments(Path(folder), target)
        sources = image_sources(given=files)
    what = hashlib.sha256(f"{sources.digest} {sorted(arguments.items())}".encode()).hexdigest()
    tag = f"runner-fleet-{target}:{what[:16]}"
    build(client, tag, sources, target=target, arguments=arguments)
    return tag


def sandbox_image(client: docker.DockerClient) -> str:
    """The Lambda runners' image with AWS's runtime interface emulator in it, as `EMULATOR`."""
    image = client.images.get(runner_image(client, SANDBOX))
    what = hashlib.sha256(f"{image.id} {EMULATOR_LOCK.read_text()}".encode()).hexdigest()
    tag = f"runner-fleet-emulated:{what[:16]}"
    if has_image(client, tag):
        return tag
    steps = [f"FROM {image.id}", f"COPY aws-lambda-rie {EMULATOR}"]
    # Jobs have the emulator's user, and must not read its memory: root alone may read the program.
    steps += [f'RUN ["chmod", "0711", "{EMULATOR}"]']
    if _named_runner() == STANDIN.resolve():
        steps += [f'RUN ["chmod", "0755", "{RUNNER}"]']  # Python reads its programs
    files = {"Dockerfile": "\n".join(steps).encode(), "aws-lambda-rie": _emulator()}
    build(client, tag, ImageSources(files=files))
    return tag


def build(
    client: docker.DockerClient,
    tag: str,
    sources: ImageSources,
    *,
    target: str = "",
    arguments: Mapping[str, str] | None = None,
) -> None:
    """Build what the engine does not have under this tag. Raises `Refused` with the last lines."""
    if has_image(client, tag):
        return
    last: list[str] = []
    try:
        for line in client.api.build(
            fileobj=io.BytesIO(sources.tar()),
            custom_context=True,
            tag=tag,
            target=target,
            buildargs=dict(arguments or {}),
            rm=True,
            forcerm=True,
            decode=True,
        ):
            last = [*last[-30:], str(line.get("stream") or line.get("error") or "")]
    except DockerException as exc:
        last = [str(exc)]
    if not has_image(client, tag):
        raise Refused(f"the image {tag} cannot be built: {''.join(last).strip()}")


def has_image(client: docker.DockerClient, tag: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _files_and_arguments(folder: Path, target: str) -> tuple[dict[str, Path], dict[str, str]]:
    """Files of this machine for the build, and its arguments; the build fetches what is missing."""
    files: dict[str, Path] = {}
    arguments = {
        argument: os.environ[variable]
        for argument, variable in ARGUMENT_VARIABLES[target].items()
        if os.environ.get(variable)
    }
    authorities = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if authorities and Path(authorities).is_file():
        files["ca.crt"] = Path(authorities)
    runner = _named_runner()
    if runner is None:
        return files, arguments
    answer = subprocess.run([runner, "--version"], check=True, capture_output=True, text=True)
    if runner == STANDIN.resolve():
        runner = _packed_stand_in(folder)
    files["gitlab-runner"] = runner
    return files, arguments | {
        "GITLAB_RUNNER_VERSION": answer.stdout.split()[1],
        **dict.fromkeys(CHECKSUMS, hashlib.sha256(runner.read_bytes()).hexdigest()),
    }


def _named_runner() -> Path | None:
    """The gitlab-runner that the environment names, else the one on PATH; or None."""
    path = shutil.which(os.environ.get(BINARY_VARIABLE) or RUNNER.name)
    return Path(path).resolve() if path else None


def _packed_stand_in(folder: Path) -> Path:
    """The stand-in runner as one file, which needs what the images have for the agent."""
    tree, packed = folder / "stand-in", folder / "gitlab-runner"
    shutil.copytree(STANDIN.parents[1] / "stand_in", tree / "local" / "stand_in")
    start = f"import sys\nsys.path.append({PACKAGES!r})\n" + (
        "from local.stand_in.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    (tree / "__main__.py").write_text(start)
    (tree / "local" / "__init__.py").touch()
    for cache in tree.rglob("__pycache__"):
        shutil.rmtree(cache)
    with zipfile.ZipFile(packed, "w") as archive:  # the same bytes for the same sources
        for path in sorted(tree.rglob("*.py")):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(tree))), path.read_bytes())
    packed.write_bytes(b"#!/usr/bin/python3 -I\n" + packed.read_bytes())
    return packed


def _emulator() -> bytes:
    """AWS's runtime interface emulator for this processor, from the pinned wheel of PyPI."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
    with tempfile.TemporaryDirectory(prefix="runner-fleet-emulator-") as folder:
        try:
            subprocess.run(
                [*fetch, "-d", folder, "-r", str(EMULATOR_LOCK)], check=True, timeout=FETCH_WITHIN_S
            )
        except subprocess.SubprocessError as exc:
            raise Refused("AWS's runtime interface emulator cannot be fetched from PyPI") from exc
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            return files.read(f"samcli/local/rapid/aws-lambda-rie-{machine}")
