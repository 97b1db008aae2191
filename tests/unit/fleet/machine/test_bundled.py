"""Which images the Lambda runners bundle; `test_job_script` shows the same rule in bash."""

import pytest

from fleet.machine.bundled import bundled

IMAGES = {
    "node:22": "/opt/node/22/bin",
    "node:22-alpine": "/opt/node/22/bin",
    "node:22.11.0-bookworm-slim": "/opt/node/22/bin",
    "docker.io/library/node:24-alpine3.20": "/opt/node/24/bin",
    "docker.io/node:24": "/opt/node/24/bin",
    "index.docker.io/library/python:3.11": "/opt/python/3.11/bin",
    "library/python:3.12": "/opt/python/3.12/bin",
    "public.ecr.aws/docker/library/python:3.13-slim": "/opt/python/3.13/bin",
    "gitlab.example.com:443/acme/dependency_proxy/containers/node:22": "/opt/node/22/bin",
    f"python:3.12.7-slim@sha256:{'0' * 64}": "/opt/python/3.12/bin",
    "node": None,
    "node:latest": None,
    "node:lts-alpine": None,
    "node:2": None,
    "node:220": None,
    "node:18": None,
    "python:3": None,
    "python:3.1": None,
    "python:3.120": None,
    "python:3x12": None,
    "python:3.12-windowsservercore": None,
    "python:3.12-rc": None,
    "pypy:3.11": None,
    "acme/node:22": None,
    "registry.example.com/node:22": None,
    "registry.example.com:5000/team/python:3.12": None,
    "ruby:3.3": None,
    "node:22'; touch /tmp/x; '": None,
    "node:22\nruby": None,
    "": None,
}


@pytest.mark.parametrize(("image", "folder"), IMAGES.items())
def test_official_images_of_a_bundled_version_are_there(image: str, folder: str | None) -> None:
    assert bundled(image) == folder
