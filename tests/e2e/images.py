"""Both targets of the runner image, built once by the engine at hand, for the tests that run them.

- `RUNNER_FLEET_GITLAB_RUNNER` names the gitlab-runner that goes into them.
- `RUNNER_FLEET_BASE` names their base, an image of Debian 12; `fleet-base:bookworm` by default.
- `RUNNER_FLEET_PYTHON_3_12` and `RUNNER_FLEET_PYTHON_3_13` name images with that Python in
  `/usr/local`. Without them, Maven fetches builds of CPython that are made for Java programs.
"""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest
from docker.errors import DockerException, ImageNotFound

from adapters.guest.runner_process import BINARY_VARIABLE
from infra.image_sources import ImageSources, image_sources
from local.machines.agent_image import BASE_VARIABLE, given_here, has_image

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """References of the built images: `<name>:<digest of the sources>`."""

    ec2: str
    sandbox: str


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """Both images; the same sources are built once, whatever the number of sessions."""
    client = _engine()
    try:
        yield built(client)
    finally:
        client.close()


def built(client: docker.DockerClient) -> Images:
    """Build what the engine does not have yet."""
    given, arguments = given_here()
    if "gitlab-runner" not in given:
        pytest.skip(f"the images need a gitlab-runner: set {BINARY_VARIABLE}")
    files = image_sources(given=given)
    arguments |= {
        "BASE": BASE,
        "PYTHON_3_12": _python(client, "3.12"),
        "PYTHON_3_13": _python(client, "3.13"),
    }
    return Images(
        ec2=_image(client, files, "ec2", arguments),
        sandbox=_image(client, files, "lambda", arguments),
    )


def _engine() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=1800)
        client.ping()
        client.images.get(BASE)
    except ImageNotFound:
        pytest.skip(f"the engine has no image {BASE}: set RUNNER_FLEET_BASE")
    except DockerException as exc:
        pytest.skip(f"no Docker engine answers: {exc}")
    return client


def _image(
    client: docker.DockerClient, files: ImageSources, target: str, arguments: dict[str, str]
) -> str:
    tag = f"fleet-{target}:{files.digest}"
    if not has_image(client, tag):
        _build(client, files.tar(), tag, target=target, buildargs=arguments)
    return tag


def _python(client: docker.DockerClient, version: str) -> str:
    chosen = os.environ.get(f"RUNNER_FLEET_PYTHON_{version.replace('.', '_')}")
    if chosen:
        return chosen
    artifact, sha256 = CPYTHONS[version]
    tag = f"fleet-python:{version}-{sha256[:12]}"
    if not has_image(client, tag):
        _build(client, _cpython(version, _fetched(artifact, sha256)), tag)
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


def _cpython(version: str, archive: bytes) -> bytes:
    """A build's context whose image has this CPython where Docker's official images have it."""
    packed = io.BytesIO()
    prefix = "org/bytedeco/cpython/linux-x86_64/"
    with tarfile.open(fileobj=packed, mode="w") as context_:
        _add(context_, "Dockerfile", b"FROM scratch\nCOPY usr/ /usr/\n")
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
                    _add(context_, f"usr/local/{name}", parts.read(entry))
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755 if "/bin/" in name else 0o644
    archive.addfile(entry, io.BytesIO(content))


def _build(
    client: docker.DockerClient,
    packed: bytes,
    tag: str,
    *,
    target: str = "",
    buildargs: dict[str, str] | None = None,
) -> None:
    lines = client.api.build(
        fileobj=io.BytesIO(packed),
        custom_context=True,
        tag=tag,
        target=target,
        buildargs=buildargs,
        rm=True,
        forcerm=True,
        decode=True,
    )
    told = [str(line.get("stream") or line.get("error") or "") for line in lines]
    if not has_image(client, tag):
        pytest.fail("".join(told[-30:]))
