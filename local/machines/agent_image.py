"""The agent's image for machines that are containers: the deployed one's sources, built here."""

import hashlib
import io
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused
from infra.image_sources import image_sources

IMAGE_VARIABLE = "RUNNER_FLEET_EC2_IMAGE"  # one that this engine has already
BASE_VARIABLE = "RUNNER_FLEET_BASE"  # an image of Debian 12 to build on


def agent_image(client: docker.DockerClient) -> str:
    """The image that the environment names, else a built one: the same sources are built once."""
    named = os.environ.get(IMAGE_VARIABLE)
    if named:
        if not has_image(client, named):
            raise Refused(f"the engine has no image {named}: build or pull it, or unset it")
        return named
    given, arguments = given_here()
    sources = image_sources(given=given)
    tag = f"runner-fleet-ec2:{sources.digest}"
    if not has_image(client, tag):
        _build(client, sources.tar(), tag, arguments)
    return tag


def given_here() -> tuple[dict[str, Path], dict[str, str]]:
    """Files of this machine for the build, and its arguments. Without gitlab-runner it fetches."""
    given: dict[str, Path] = {}
    arguments: dict[str, str] = {}
    if base := os.environ.get(BASE_VARIABLE):
        arguments["BASE"] = base
    authorities = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if authorities and Path(authorities).is_file():
        given["ca.crt"] = Path(authorities)
    runner = shutil.which(os.environ.get(BINARY_VARIABLE) or "gitlab-runner")
    if runner:
        answer = subprocess.run([runner, "--version"], check=True, capture_output=True, text=True)
        given["gitlab-runner"] = Path(runner)
        arguments |= {
            "GITLAB_RUNNER_VERSION": answer.stdout.split()[1],
            "GITLAB_RUNNER_SHA256_X86_64": hashlib.sha256(Path(runner).read_bytes()).hexdigest(),
        }
    return given, arguments


def _build(client: docker.DockerClient, packed: bytes, tag: str, arguments: dict[str, str]) -> None:
    try:
        client.images.build(
            fileobj=io.BytesIO(packed),
            custom_context=True,
            target="ec2",
            tag=tag,
            buildargs=arguments,
            rm=True,
            forcerm=True,
        )
    except DockerException as exc:
        raise Refused(
            f"the agent's image cannot be built ({exc}): name one in {IMAGE_VARIABLE}"
        ) from exc


def has_image(client: docker.DockerClient, tag: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True
