"""Both targets of the runner image, built once by the engine at hand, for the tests that run them.

- `RUNNER_FLEET_GITLAB_RUNNER` names the gitlab-runner that goes into them; else the stand-in does.
- `RUNNER_FLEET_BASE` names their base, an image of Debian 12; `fleet-base:bookworm` by default.
- `RUNNER_FLEET_PYTHON_3_12` and `RUNNER_FLEET_PYTHON_3_13` name images with that Python in
  `/usr/local`. Without them, Maven fetches builds of CPython that are made for Java programs.
- `RUNNER_FLEET_EC2_IMAGE` and `RUNNER_FLEET_LAMBDA_IMAGE` name images to use as they are.
"""

import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest
from docker.errors import ImageNotFound

from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused
from infra.image_sources import ImageSources
from local.machines.binaries import STANDIN
from local.machines.containers import docker_engine
from local.machines.runner_images import (
    AGENT,
    BASE_VARIABLE,
    IMAGE_VARIABLES,
    SANDBOX,
    build,
    has_image,
    runner_image,
    sandbox_image,
)

BASE = os.environ.get(BASE_VARIABLE, "fleet-base:bookworm")
# By their checksums. They are for x86-64, as the machine of these tests is.
CPYTHONS = {
    "3.12": (
        "org.bytedeco:cpython:3.12.1-1.5.10:jar:linux-x86_64",
        "a135fcf4dc01adebf7ea439252276fc3196db80f7e0dd3da0b61f1ec489b68bd",
    ),
    "3.13": (
        "org.bytedeco:cpython:3.13.5-1.5.12:jar:linux-x86_64",
        "50ad91aa0baa57f0235bb666b87d8bf2a44e215d28c250de1030502906af143b",
    ),
}


class Images:
    """References of the images, each built when it is asked for."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self.executor = "shell" if os.environ[BINARY_VARIABLE] == str(STANDIN) else "docker"

    @cached_property
    def ec2(self) -> str:
        """Of the agent."""
        return runner_image(self._client, AGENT)

    @cached_property
    def sandbox(self) -> str:
        """Of the Lambda runners."""
        self._bring_pythons()
        return runner_image(self._client, SANDBOX)

    @cached_property
    def emulated(self) -> str:
        """Of the Lambda runners, with AWS's emulator in it."""
        self._bring_pythons()
        return sandbox_image(self._client)

    def _bring_pythons(self) -> None:
        for version in CPYTHONS:
            variable = f"RUNNER_FLEET_PYTHON_{version.replace('.', '_')}"
            if not os.environ.get(variable) and not os.environ.get(IMAGE_VARIABLES[SANDBOX]):
                os.environ[variable] = _python(self._client, version)


def needs_gitlab_runner(images: Images) -> None:
    """Skip a test of what the stand-in does not have."""
    if images.executor == "shell":
        pytest.skip(f"the stand-in does not have this: set {BINARY_VARIABLE}")


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The images; the same sources are built once, whatever the number of sessions."""
    with pytest.MonkeyPatch.context() as environment, closing(_engine()) as client:
        environment.setenv(BASE_VARIABLE, BASE)
        environment.setenv(BINARY_VARIABLE, os.environ.get(BINARY_VARIABLE) or str(STANDIN))
        yield Images(client)


def _engine() -> docker.DockerClient:
    try:
        client = docker_engine()
        client.images.get(BASE)
    except ImageNotFound:
        pytest.skip(f"the engine has no image {BASE}: set {BASE_VARIABLE}")
    except Refused as exc:
        pytest.skip(str(exc))
    return client


def _python(client: docker.DockerClient, version: str) -> str:
    artifact, sha256 = CPYTHONS[version]
    tag = f"fleet-python:{version}-{sha256[:12]}"
    if not has_image(client, tag):
        build(client, tag, _cpython(version, _fetched(artifact, sha256)))
    return tag


def _fetched(artifact: str, sha256: str) -> bytes:
    if not shutil.which("mvn"):
        pytest.skip("no Maven to fetch CPython with: set RUNNER_FLEET_PYTHON_3_12 and …_3_13")
    with TemporaryDirectory(prefix="fleet-cpython-") as folder:
        get = ("mvn", "-q", "dependency:get", f"-Dartifact={artifact}", "-Dtransitive=false")
        subprocess.run([*get, f"-Dmaven.repo.local={folder}"], check=True, timeout=600)
        (archive,) = Path(folder).rglob("cpython-*linux-x86_64.jar")
        content = archive.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256
    return content


def _cpython(version: str, archive: bytes) -> ImageSources:
    """A build's context whose image has this CPython where Docker's official images have it."""
    prefix = "org/bytedeco/cpython/linux-x86_64/"
    files = {"Dockerfile": b"FROM scratch\nCOPY usr/ /usr/\n"}
    with zipfile.ZipFile(io.BytesIO(archive)) as parts:
        for entry in parts.infolist():
            name = entry.filename.removeprefix(prefix)
            if entry.is_dir() or name == entry.filename:
                continue
            if name.startswith("libffi.so."):
                name = f"lib/python{version}/lib-dynload/{name}"
            elif name.startswith("libpython"):
                name = f"lib/{name}"
            if name.split("/")[0] in {"bin", "include", "lib"}:
                files[f"usr/local/{name}"] = parts.read(entry)
    return ImageSources(files=files)
