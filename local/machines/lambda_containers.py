"""Stands for Lambda with a Docker engine: sandboxes are containers of the Lambda runners' image.

Each runs AWS's runtime interface emulator, and is kept as Lambda keeps a sandbox: read-only,
without rights, for one invocation at a time, warm for the next one of its function and tenant,
and ended as soon as its runtime ends.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import APIError, NotFound

from adapters.guest.runner_process import BINARY_VARIABLE
from local.machines.lambda_host import (
    FunctionAnswer,
    LambdaCloud,
    LambdaHost,
    LambdaOptions,
    error_answer,
    host_closed,
)
from local.machines.runner_images import EMULATOR

if TYPE_CHECKING:
    from docker.models.containers import Container

NETWORK = "bridge"
AT_ONCE = 32  # sandboxes; further invocations wait
PORT = 8080
USER = 65534  # as in Lambda: no user of the image, without rights
PROCESSES = 1024  # with their threads; source: Lambda quotas
STARTS_WITHIN_S = 30.0
ANSWERS_AFTER_S = 15.0  # the emulator itself, after the function's time is over
LABEL = "runner-fleet.lambda"  # with the folder of its host
_PATH = "/2015-03-31/functions/function/invocations"
_ENDED = frozenset({"Runtime.ExitError", "Sandbox.Timedout", "Sandbox.Failure"})


@dataclass(slots=True)
class ContainerSandbox:
    """One container. It serves one invocation at a time, of one function and one tenant."""

    container: "Container"
    address: str
    kind: tuple[str, str]  # function and tenant
    is_gone: bool = field(default=False)

    @property
    def pid(self) -> int:
        """Of the emulator, in the host's view; 0 without one."""
        return int(self.container.attrs.get("State", {}).get("Pid") or 0)

    def close(self) -> None:
        """End it, and all that runs inside, at once."""
        self.is_gone = True
        with suppress(NotFound, APIError):
            self.container.remove(force=True, v=True)


class LambdaContainers(LambdaHost):
    """An HTTP server at `url`; a context. Its sandboxes are containers."""

    def __init__(
        self, cloud: LambdaCloud, options: LambdaOptions, engine: docker.DockerClient, image: str
    ) -> None:
        """`image`: of the Lambda runners, with the emulator (`runner_images.sandbox_image`)."""
        super().__init__(cloud, replace(options, concurrency=AT_ONCE))
        self._engine = engine
        self._image = image
        config: Mapping[str, Any] = engine.images.get(image).attrs["Config"]
        self._command = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
        self._warm: list[ContainerSandbox] = []
        self.durations_s: list[float] = []  # of the invocations that ended, in their order

    def kill_all(self) -> int:
        """End every sandbox, the warm ones too; the number of those at work."""
        self.end_idle()
        return super().kill_all()

    def end_idle(self) -> int:
        """End the warm sandboxes, as Lambda does after a time; their number."""
        with self._lock:
            idle, self._warm = self._warm, []
        for sandbox in idle:
            sandbox.close()
        return len(idle)

    def _run(self, function: str, event: str, request: str, folder: Path) -> FunctionAnswer:
        setting = self._cloud.client("lambda").get_function_configuration(FunctionName=function)
        timeout_s = float(setting["Timeout"])
        kind = (function, tenant_of(event))
        sandbox = self._take(kind) or self._start(setting, kind)
        with self._lock:
            is_closed = self._closed
            self._keepers[request], self._events[request] = sandbox, event
        try:
            if is_closed:
                return host_closed()
            return self._ask(sandbox, event, timeout_s)
        finally:
            with self._lock:
                self._keepers.pop(request, None)
                self._events.pop(request, None)
                is_kept = not sandbox.is_gone and not self._closed
                if is_kept:
                    self._warm.append(sandbox)
            if not is_kept:
                sandbox.close()

    def _take(self, kind: tuple[str, str]) -> ContainerSandbox | None:
        """A warm sandbox of this function and tenant."""
        with self._lock:
            fitting = next((sandbox for sandbox in self._warm if sandbox.kind == kind), None)
            if fitting is not None:
                self._warm.remove(fitting)
        return fitting

    def _start(self, setting: Mapping[str, Any], kind: tuple[str, str]) -> ContainerSandbox:
        disk_mb = int(setting.get("EphemeralStorage", {}).get("Size", 512))
        container = self._engine.containers.run(
            self._image,
            ["--log-level", "error", *self._command],
            entrypoint=[EMULATOR],
            detach=True,
            labels={LABEL: str(self._options.folder)},
            read_only=True,
            user=f"{USER}:{USER}",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=PROCESSES,
            ipc_mode="none",  # Lambda has no /dev/shm
            mem_limit=f"{setting['MemorySize']}m",
            tmpfs={"/tmp": f"rw,exec,nosuid,nodev,mode=0700,uid={USER},gid={USER},size={disk_mb}m"},  # noqa: S108
            environment=self._inside(setting),
            network=NETWORK,
        )
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        sandbox = ContainerSandbox(container, networks[NETWORK]["IPAddress"], kind)
        try:
            _wait_for(sandbox.address)
        except OSError:
            sandbox.close()
            raise
        return sandbox

    def _inside(self, setting: Mapping[str, Any]) -> dict[str, str]:
        """The environment of a function that is a container."""
        return {
            **self._function_environment(setting),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(setting["Timeout"]),
            **{
                name: value
                for name, value in self._options.environment.items()
                if name != BINARY_VARIABLE  # the image has its own
            },
        }

    def _ask(self, sandbox: ContainerSandbox, event: str, timeout_s: float) -> FunctionAnswer:
        """Post one event to the emulator. A sandbox whose runtime ended is ended."""
        began = time.monotonic()
        try:
            with _connected(sandbox.address, timeout_s + ANSWERS_AFTER_S) as http:
                http.request("POST", _PATH, event, {"Content-Type": "application/json"})
                body = http.getresponse().read().decode()
        except (OSError, HTTPException) as error:
            sandbox.is_gone = True
            return error_answer("Runtime.ExitError", f"the sandbox is gone: {error}")
        finally:
            self._keep_log(sandbox)
        self.durations_s.append(time.monotonic() - began)
        kind = error_of(body)
        if kind is None:
            return FunctionAnswer(status=200, body=body)
        if kind in _ENDED or "exited" in body or "timed out" in body.lower():
            sandbox.is_gone = True
        return FunctionAnswer(status=500, body=body)

    def _keep_log(self, sandbox: ContainerSandbox) -> None:
        """Add what the container wrote to the function's log."""
        with suppress(NotFound, APIError, OSError):
            text = sandbox.container.logs(tail=500)
            with (self._options.folder / f"{sandbox.kind[0]}.log").open("ab") as log:
                log.write(text)


def tenant_of(event: str) -> str:
    """The tenant of an event, as `adapters.machines.lambda_` names it: a project, or one runner."""
    try:
        fields = json.loads(event)
    except ValueError:
        return ""
    if not isinstance(fields, dict):
        return ""
    return str(fields.get("project") or fields.get("runner_id") or "")


def error_of(body: str) -> str | None:
    """The type of the error that a runtime or the emulator answers with, or None."""
    try:
        fields = json.loads(body)
    except ValueError:
        return "Runtime.ExitError" if body else "Sandbox.Failure"  # the emulator's words
    return str(fields["errorType"]) if isinstance(fields, dict) and "errorType" in fields else None


@contextmanager
def _connected(address: str, timeout_s: float) -> Iterator[HTTPConnection]:
    """An HTTP connection that is closed in the end."""
    http = HTTPConnection(address, PORT, timeout=timeout_s)
    try:
        yield http
    finally:
        http.close()


def _wait_for(address: str) -> None:
    """Return once the emulator listens. Raises `OSError` when it does not in time."""
    give_up = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            with _connected(address, 1.0) as http:
                http.connect()
        except OSError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.01)
        else:
            return
