"""Stands for Lambda where the engine needs Docker: runs the runner functions as processes.

The engine posts every invocation of such a function here. Each gets a fresh process with the
function's environment and its role's keys, and a working folder of its own.
"""

import json
import os
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from botocore.exceptions import BotoCoreError, ClientError

from adapters.guest.wipe import remove_tree
from local.loopback import Answerer, LoopbackServer
from local.machines.keeper import ROOT, Keeper, ProcessSpec, count_below

WIPE_WITHIN_S = 10.0


class LambdaCloud(Protocol):
    """The part of the embedded engine that functions need."""

    def client(self, service: str) -> Any:
        """A boto3 client."""

    def role_environment(self, role: str, session_name: str) -> dict[str, str]:
        """AWS_* variables of a session of the role."""


class RunningSandbox(Protocol):
    """A sandbox at work: `local.machines.keeper.Keeper`, or a container."""

    @property
    def pid(self) -> int:
        """All that it keeps is below."""

    def close(self) -> None:
        """End all that it keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaOptions:
    """The settings of one host."""

    folder: Path  # logs and working folders
    environment: Mapping[str, str] = field(default_factory=dict)  # more, for every function
    concurrency: int = 16  # sandboxes at once; further invocations wait, as on Lambda


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionAnswer:
    """The host's answer to one invocation."""

    status: int
    body: str  # JSON


class LambdaHost(LoopbackServer):
    """An HTTP server at `url`; a context."""

    def __init__(self, cloud: LambdaCloud, options: LambdaOptions) -> None:
        """Bind a free port of the loopback interface, so that `url` is known at once."""
        self._cloud = cloud
        self._options = options
        self._keepers: dict[str, RunningSandbox] = {}
        self._events: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._room = threading.BoundedSemaphore(options.concurrency)
        super().__init__(type("Answerer", (_InvokeAnswerer,), {"host": self}))

    def __enter__(self) -> Self:
        self._options.folder.mkdir(parents=True, exist_ok=True)
        return super().__enter__()

    def __exit__(self, *_error: object) -> None:
        """End every sandbox at once; nothing of an invocation is left after that."""
        with self._lock:
            self._closed = True
        self.kill_all()
        super().__exit__()
        for _ in range(self._options.concurrency):
            self._room.acquire()  # each is free when its invocation has removed its files
        for _ in range(self._options.concurrency):
            self._room.release()  # those that wait are refused

    @property
    def sandboxes(self) -> int:
        """The number of running invocations."""
        with self._lock:
            return len(self._keepers)

    def processes(self) -> int:
        """The number of living processes of functions, without their keepers."""
        with self._lock:
            keepers = tuple(self._keepers.values())
        return count_below(keeper.pid for keeper in keepers)

    def events(self) -> dict[str, str]:
        """The event (JSON) of every living sandbox, by request."""
        with self._lock:
            return dict(self._events)

    def kill(self, request: str) -> bool:
        """End one sandbox without a goodbye; False after its own end."""
        with self._lock:
            keeper = self._keepers.get(request)
        if keeper is not None:
            keeper.close()
        return keeper is not None

    def kill_all(self) -> int:
        """End every sandbox without a goodbye; their number."""
        return sum(self.kill(request) for request in self.events())

    def invoke(self, function: str, event: str) -> FunctionAnswer:
        """Run the function with this event (JSON) to its end, as soon as a sandbox is free."""
        with self._room:
            if self._closed:
                return host_closed()
            request = str(uuid.uuid4())
            folder = self._options.folder / request
            (folder / "work").mkdir(parents=True)
            try:
                return self._run(function, event, request, folder)
            except (BotoCoreError, ClientError) as error:  # the engine ended meanwhile
                return error_answer("ServiceException", str(error))
            finally:
                remove_tree(folder, within_s=WIPE_WITHIN_S)

    def _run(self, function: str, event: str, request: str, folder: Path) -> FunctionAnswer:
        event_file, answer_file = folder / "event.json", folder / "answer.json"
        event_file.write_text(event)
        setting = self._cloud.client("lambda").get_function_configuration(FunctionName=function)
        spec = ProcessSpec(
            command=[
                sys.executable,
                "-m",
                "local.machines.lambda_sandbox",
                str(event_file),
                str(answer_file),
            ],
            environment=self._environment(setting, folder),
            folder=ROOT,
            log=self._options.folder / f"{function}.log",
        )
        with self._lock:
            if self._closed:
                return host_closed()
            keeper = Keeper(spec)
            self._keepers[request] = keeper
            self._events[request] = event
        timeout_s = float(setting["Timeout"])
        in_time = keeper.wait(timeout_s)
        keeper.close()
        with self._lock:
            del self._keepers[request], self._events[request]
        if not in_time:
            return error_answer("Sandbox.Timedout", f"Task timed out after {timeout_s:.2f} seconds")
        if not answer_file.exists():
            return error_answer("Runtime.ExitError", f"Runtime exited, code {keeper.exit_code}")
        return FunctionAnswer(
            status=200 if keeper.exit_code == 0 else 500, body=answer_file.read_text()
        )

    def _environment(self, setting: Mapping[str, Any], folder: Path) -> dict[str, str]:
        """The environment of a function that is a process."""
        return {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            ),
            "LANG": "en_US.UTF-8",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{setting['FunctionName']}",
            "LOCAL_LAMBDA_TIMEOUT_S": str(setting["Timeout"]),
            **self._function_environment(setting),
            "FLEET_WORK_DIR": str(folder / "work"),
            **self._options.environment,
        }

    def _function_environment(self, setting: Mapping[str, Any]) -> dict[str, str]:
        """Source: Lambda guide, "Defined runtime environment"."""
        name = setting["FunctionName"]
        return {
            "TZ": ":UTC",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(setting["MemorySize"]),
            **self._cloud.role_environment(setting["Role"], name),
            **setting.get("Environment", {}).get("Variables", {}),
        }


class _InvokeAnswerer(Answerer):
    """One invocation. The headers are those of the engine's proxy mode."""

    host: LambdaHost

    def do_POST(self) -> None:  # noqa: N802  the name http.server asks for
        event = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        function = self.headers.get("X-Amzn-Lambda-Function-Name", "")
        answer = self.host.invoke(function, event)
        self.answer(answer.status, answer.body.encode(), "application/json")


def host_closed() -> FunctionAnswer:
    """The answer to an invocation that comes after the host's end."""
    return error_answer("Runtime.ExitError", "the host is closed")


def error_answer(kind: str, message: str) -> FunctionAnswer:
    """The answer to an invocation that fails."""
    return FunctionAnswer(status=500, body=json.dumps({"errorType": kind, "errorMessage": message}))
