"""The built images: what is in them, how large they are, and jobs' tools on Lambda's terms."""

import json
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.images import Images, needs_gitlab_runner

MB = 1_000_000
# What Lambda gives a job: a read-only root, /tmp, a user without rights, 1,024 processes. What it
# has not is /dev/shm, which Docker would make.
ON_LAMBDAS_TERMS: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": "exec,size=2g,mode=1777"},
    "user": "65534:65534",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "pids_limit": 1024,
    "ipc_mode": "none",
    "entrypoint": [],
    "remove": True,
    "working_dir": "/tmp",
}
AUTHORITIES = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "")
CLIENTS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
TOOLS = """
    bash cc corepack cp curl find g++ gcc git git-lfs gitlab-runner gzip jq make node npm npx pip
    pip3 pip3.11 pip3.12 pip3.13 pnpm pnpx ps python python3 python3.11 python3.12 python3.13 ssh
    tar unzip uv uvx which xargs xz yarn yarnpkg zip zstd
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    """The engine at hand."""
    client = docker.from_env(timeout=600)
    yield client
    client.close()


class Sandbox:
    """Commands in the Lambda image, on Lambda's terms."""

    def __init__(self, engine: docker.DockerClient, image: str) -> None:
        """Each command is a container of its own."""
        self._engine = engine
        self._image = image

    def run(self, script: str, **options: Any) -> str:
        """The output of a bash script; an error of its ends the test."""
        output: bytes = self._engine.containers.run(
            self._image, ["bash", "-euo", "pipefail", "-c", script], **ON_LAMBDAS_TERMS | options
        )
        return output.decode().strip()

    def with_registries(self, script: str) -> str:
        """The same on the host's network, with the certificate authorities that the host trusts."""
        known: dict[str, Any] = {"network_mode": "host"}
        if AUTHORITIES.is_file():
            known["volumes"] = {str(AUTHORITIES): {"bind": "/mnt/authorities.pem", "mode": "ro"}}
            known["environment"] = dict.fromkeys(CLIENTS, "/mnt/authorities.pem")
        return self.run(script, **known)


@pytest.fixture(scope="module")
def sandbox(engine: docker.DockerClient, images: Images) -> Sandbox:
    """A place for commands of a Lambda job."""
    return Sandbox(engine, images.sandbox)


def versions(engine: docker.DockerClient, image: str) -> dict[str, Any]:
    command = ["cat", "/opt/runner-fleet/versions.json"]
    output = engine.containers.run(image, command, entrypoint=[], remove=True)
    contents: dict[str, Any] = json.loads(output)
    return contents


@pytest.mark.parametrize(("target", "most"), [("ec2", 350 * MB), ("sandbox", 1500 * MB)])
def test_an_image_is_small(
    engine: docker.DockerClient, images: Images, target: str, most: int
) -> None:
    assert engine.images.get(getattr(images, target)).attrs["Size"] < most


@pytest.mark.parametrize("target", ["ec2", "sandbox"])
def test_the_runner_is_roots_and_no_other_user_may_read_it(
    engine: docker.DockerClient, images: Images, target: str
) -> None:
    command = ["stat", "--format", "%U:%G %a", "/usr/bin/gitlab-runner"]
    output = engine.containers.run(getattr(images, target), command, entrypoint=[], remove=True)
    assert output.decode().strip() == "root:root 711"


@pytest.mark.parametrize("target", ["ec2", "sandbox"])
def test_an_image_says_what_it_holds(
    engine: docker.DockerClient, images: Images, target: str
) -> None:
    contents = versions(engine, getattr(images, target))
    assert re.fullmatch(r"\d+\.\d+\.\d+", contents["gitlab_runner"]["version"])
    assert re.fullmatch(r"[0-9a-f]{64}", contents["gitlab_runner"]["sha256"])
    assert contents["python"].keys() >= {"boto3", "docker"}
    assert contents["debian"].keys() >= {"git", "git-lfs", "openssh-client"}
    assert "pip" not in contents["python"]
    command = ["cat", "/opt/runner-fleet/sbom.cdx.json"]
    parts = json.loads(
        engine.containers.run(getattr(images, target), command, entrypoint=[], remove=True)
    )
    names = {part["name"] for part in parts["components"]}
    assert names >= {"gitlab-runner", *contents["python"], *contents["debian"]}
    assert (target == "sandbox") is (names >= {"node", "python", "npm", "pnpm", "yarn"})


def test_the_machines_image_has_no_compiler_and_no_cache(
    engine: docker.DockerClient, images: Images
) -> None:
    script = (
        "! command -v gcc cc pip; ls -A /var/lib/apt/lists /var/cache /tmp /root/.cache || true"
    )
    output = engine.containers.run(images.ec2, ["sh", "-c", script], remove=True, stderr=False)
    assert set(output.decode().split()) <= {"/var/lib/apt/lists:", "/var/cache:", "/tmp:"}


def test_the_machines_image_is_the_helper_image_of_gitlab_runner(
    engine: docker.DockerClient, images: Images
) -> None:
    needs_gitlab_runner(images)
    commands = (
        "gitlab-runner-helper cache-init /a;"
        " echo 'test -d /a; git lfs version' | gitlab-runner-build"
    )
    output = engine.containers.run(images.ec2, ["sh", "-euc", commands], remove=True)
    assert b"git-lfs/" in output


@pytest.mark.parametrize("target", ["ec2", "sandbox"])
def test_the_agent_and_the_function_start(
    engine: docker.DockerClient, images: Images, target: str
) -> None:
    """Without the fleet's variables, which are named in their refusals."""
    program = {"ec2": "ec2_runner.__main__", "sandbox": "lambda_runner.handler, awslambdaric"}[
        target
    ]
    paths = {"PYTHONPATH": "/opt/runner-fleet:/opt/runner-fleet/packages"}
    command = ["/usr/bin/python3", "-c", f"import {program}; print('imported')"]
    output = engine.containers.run(
        getattr(images, target), command, environment=paths, entrypoint=[], remove=True
    )
    assert output.decode().strip() == "imported"


def test_lambda_loads_the_image_whole(engine: docker.DockerClient, images: Images) -> None:
    """A lazy-loading index of the registry makes an image fail to start."""
    assert engine.images.get(images.sandbox).labels["DISABLE_SOCI"] == "1"


def test_every_tool_is_there_for_a_user_without_rights(sandbox: Sandbox) -> None:
    missing = sandbox.run(
        f"for one in {' '.join(TOOLS.split())}; do which $one >/dev/null || echo $one; done"
    )
    assert missing == ""


@pytest.mark.parametrize("major", ["22", "24"])
def test_each_node_is_where_the_versions_say(
    sandbox: Sandbox, engine: docker.DockerClient, images: Images, major: str
) -> None:
    node = versions(engine, images.sandbox)["node"][major]
    output = sandbox.run(
        f"PATH={node['path']}:$PATH;"
        " for one in node npm corepack pnpm yarn; do $one --version; done"
    )
    assert output.splitlines()[0] == f"v{node['version']}"
    assert node["version"].startswith(f"{major}.")
    assert len(output.splitlines()) == 5


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_each_python_is_where_the_versions_say(
    sandbox: Sandbox, engine: docker.DockerClient, images: Images, version: str
) -> None:
    python = versions(engine, images.sandbox)["interpreters"][version]
    script = (
        f"PATH={python['path']}:$PATH; python --version; pip --version;"
        " python -m venv v; v/bin/pip --version;"
        " python -c 'import bz2, ctypes, lzma, readline, sqlite3, ssl, zlib'"
    )
    output = sandbox.run(script).splitlines()
    assert output[0] == f"Python {python['version']}"
    assert python["version"].startswith(f"{version}.")
    assert all(f"(python {version})" in line for line in output[1:])


def test_bundled_package_managers_need_no_network(sandbox: Sandbox) -> None:
    """Each in a cache that another job's would have been wiped from."""
    output = sandbox.run("pnpm --version; yarn --version; npm --version", network_mode="none")
    assert len(output.splitlines()) == 3


def test_a_compiler_builds_a_program(sandbox: Sandbox) -> None:
    source = r'printf "int main(void) { return 7; }" > a.c && make a && { ./a || echo $?; }'
    assert sandbox.run(source).splitlines()[-1] == "7"


def test_git_works_in_folders_of_others(sandbox: Sandbox) -> None:
    output = sandbox.run("git config --system --get-all safe.directory; git lfs version")
    assert output.startswith("*\ngit-lfs/")


def test_what_jobs_write_lies_below_tmp(sandbox: Sandbox) -> None:
    """With the environment of the image, and with the one that the fleet gives a job."""
    question = (
        "npm config get cache; npm prefix --global; pip cache dir; uv cache dir;"
        " python -m site --user-base"
    )
    bare = f"env -i PATH=$PATH HOME=/tmp TMPDIR=/tmp/tmp bash -c '{question}'"
    for script in (question, bare):
        places = sandbox.run(script).splitlines()
        assert len(places) == 5
        assert all(place.startswith("/tmp/") for place in places)


def test_npm_ci_and_npm_test_run(sandbox: Sandbox) -> None:
    package = {
        "name": "a",
        "version": "1.0.0",
        "scripts": {"test": "node --test"},
        "dependencies": {"is-odd": "3.0.1"},
    }
    test = (
        "const t = require('node:test'); const odd = require('is-odd');"
        " t('odd', () => { if (!odd(3)) throw new Error(); });"
    )
    script = (
        f"mkdir a; cd a; echo '{json.dumps(package)}' > package.json;"
        " npm install --package-lock-only --silent;"
        f' echo "{test}" > a.test.js; npm ci --silent; npm test'
    )
    assert "pass 1" in sandbox.with_registries(script)


def test_pnpm_and_yarn_install_a_package(sandbox: Sandbox) -> None:
    script = (
        'mkdir p y; cd p; echo \'{"name": "p", "version": "1.0.0"}\' > package.json;'
        " cp package.json ../y; pnpm add --silent is-odd@3.0.1;"
        " cd ../y; yarn add --silent is-odd@3.0.1;"
        " ls ../p/node_modules node_modules | grep -c is-odd"
    )
    assert sandbox.with_registries(script).splitlines()[-1] == "2"


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_uv_run_pytest_runs(sandbox: Sandbox, version: str) -> None:
    project = f'[project]\nname = "a"\nversion = "1"\nrequires-python = "=={version}.*"\n'
    script = (
        f"mkdir a; cd a; printf '{project}' > pyproject.toml; uv add --quiet --dev pytest;"
        " printf 'import sys\\ndef test_a(): print(sys.version)' > test_a.py;"
        f" uv run --python {version} pytest -q; uv run python --version"
    )
    output = sandbox.with_registries(script.replace("\n", "\\n"))
    assert "1 passed" in output
    assert f"Python {version}." in output


def test_pip_installs_what_a_job_needs(sandbox: Sandbox) -> None:
    script = "pip install --quiet cowsay; python -c 'import cowsay'; cowsay --text moo"
    assert "moo" in sandbox.with_registries(script)


def test_a_job_can_have_many_processes_but_not_more_than_lambda_allows(sandbox: Sandbox) -> None:
    assert (
        sandbox.run("for _ in $(seq 900); do sleep 300 & done; jobs -r | wc -l; kill $(jobs -p)")
        == "900"
    )
