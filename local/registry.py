"""The registry that stands for ECR: Debian's `docker-registry`, for pushing and for guests."""

import shutil
import subprocess
from pathlib import Path
from typing import Self

import docker
import urllib3

from fleet.errors import Refused
from local.aws.engine import answers, free_port, wait_until

PROGRAM = "docker-registry"
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
"""


class Registry:
    """Two processes over one folder, as a context.

    An engine pushes over the loopback interface, where it takes plain HTTP by default;
    guests pull at `address`, on the network of containers.
    """

    def __init__(self, folder: Path, gateway: str) -> None:
        """Nothing starts before the context is entered."""
        self._folder = folder
        self._pushed_at = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.address = f"{gateway}:{free_port(gateway)}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Raises `Refused` without the program."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise Refused(f"containers as machines need {PROGRAM}: install Debian's package of it")
        self._folder.mkdir(parents=True, exist_ok=True)
        for address in (self._pushed_at, self.address):
            config = self._folder / f"{address.replace(':', '-')}.yml"
            config.write_text(_CONFIG.format(folder=self._folder / "data", address=address))
            with (self._folder / "registry.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(
                        [program, "serve", str(config)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )
        for address in (self._pushed_at, self.address):
            wait_until(
                lambda: answers(f"http://{address}/v2/"),  # noqa: B023  asked at once
                timeout_s=20,
                what=f"the registry at {address}",
                log=self._folder / "registry.log",
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def push(self, client: docker.DockerClient, image: str, repository: str) -> str:
        """Push an image of the engine at hand as `repository`; its digest, `sha256:…`."""
        tag = f"{self._pushed_at}/{repository}"
        client.images.get(image).tag(tag, "pushed")
        digest = ""
        try:
            for line in client.api.push(tag, tag="pushed", stream=True, decode=True):
                if "error" in line:
                    raise Refused(f"{image} cannot be pushed: {line['error']}")
                digest = line.get("aux", {}).get("Digest", digest)
        finally:
            client.images.remove(f"{tag}:pushed")
        return digest

    def forget(self, repository: str, digest: str) -> None:
        """Delete an image. Raises `HTTPError` of urllib3 without the registry."""
        url = f"http://{self._pushed_at}/v2/{repository}/manifests/{digest}"
        urllib3.request("DELETE", url, timeout=20, retries=False)
