"""The embedded AWS: one MiniStack process, started, restarted and ended by its id."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import boto3
import urllib3
from botocore.config import Config

ACCOUNT = "123456789012"
REGION = "us-east-1"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0


class EngineFailed(RuntimeError):
    """The engine did not do what it must; its log says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the engine is run."""

    host: str = "127.0.0.1"  # the address of this machine at which it answers
    keep_state: bool = False  # across restart(); costs a write of everything at stop
    log_level: str = "WARNING"
    concurrency: int = 64  # Lambda invocations at once, all functions together
    processes: int = 2  # of one function at most; further invocations wait for one
    tick_s: float = 1.0  # how often rules and schedules are looked at
    settings: Mapping[str, str] = field(default_factory=dict)  # more of MiniStack's own variables


class Engine:
    """A context manager: inside it the engine answers at `url`.

    `data` is its folder: state, S3 objects, temporary files and `engine.log`.
    """

    def __init__(self, data: Path, options: EngineOptions | None = None) -> None:
        self.data = data
        self.options = options or EngineOptions()
        self.port = free_port(self.options.host)
        self._secret = secrets.token_hex(20)
        self._session = boto3.Session(
            aws_access_key_id=ACCOUNT, aws_secret_access_key=self._secret, region_name=REGION
        )
        self._making = threading.Lock()  # a session of boto3 makes one client at a time
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """Where every service answers."""
        return f"http://{self.options.host}:{self.port}"

    @property
    def log(self) -> Path:
        """What the engine and its functions wrote."""
        return self.data / "engine.log"

    @property
    def pid(self) -> int | None:
        """Its process, which also leads its process group; None when it is down."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        with ExitStack() as undo:  # a signal may come while it starts
            undo.callback(self.stop)
            self.start()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers. Raises `EngineFailed` with the end of its log."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # its state holds the secrets
        for folder in ("s3", "state", "tmp"):
            (self.data / folder).mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.aws.main"],
                env=self._environment(),
                stdin=subprocess.PIPE,  # never written to: it closes when we end, however that is
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(
            self._answers, timeout_s=_START_TIMEOUT_S, what="the engine to answer", log=self.log
        )

    def stop(self) -> None:
        """End it and its functions; one that keeps its state writes it first.

        Another has nothing to write, and would wait for seconds for clients to hang up.
        """
        self._end(signal.SIGTERM if self.options.keep_state else signal.SIGKILL)

    def kill(self) -> None:
        """End it as a power cut would: nothing is saved."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again on the same port; what was not kept is gone."""
        self.stop()
        self.start()

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root, made once per service."""
        with self._making:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,  # type: ignore[call-overload]
                    endpoint_url=self.url,
                    config=CONFIG,
                )
            return self._clients[service]

    def session(self) -> boto3.Session:
        """The account's root: it stands for the cloud itself and may do everything."""
        return self._session

    def environment(self) -> dict[str, str]:
        """Variables that point any AWS SDK or command at the engine, as root."""
        return {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def role_environment(self, role: str, session_name: str) -> dict[str, str]:
        """The same as role `role` (an ARN): `aws:userid` is `<RoleId>:<session_name>`."""
        session = self.client("sts").assume_role(RoleArn=role, RoleSessionName=session_name)
        return self.environment() | {
            "AWS_ACCESS_KEY_ID": session["Credentials"]["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": session["Credentials"]["SecretAccessKey"],
            "AWS_SESSION_TOKEN": session["Credentials"]["SessionToken"],
        }

    def emit(self, kind: str, detail: Mapping[str, object], *, source: str = "aws.ec2") -> None:
        """Put an event of the cloud itself on the default bus, such as a spot notice."""
        entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(dict(detail))}
        self.client("events").put_events(Entries=[entry])

    def serve_function(self, name: str, url: str) -> None:
        """Have function `name` run at `url`: its event comes as POST body, JSON is the answer.

        A status other than 2xx is a failed invocation.
        """
        functions = self.client("lambda")
        known = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=name,
            Environment={"Variables": {**known, "MINISTACK_LAMBDA_PROXY_URL": url}},
        )

    def _environment(self) -> dict[str, str]:
        """A clean environment: nothing of the user's own AWS or Docker reaches the engine."""
        tmp = str(self.data / "tmp")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": tmp,
            "TMPDIR": tmp,
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_ENDPOINT_URL": self.url,  # for functions
            "BIND_HOST": self.options.host,
            # It clears containers off any Docker engine that it finds: it must find none.
            "DOCKER_HOST": f"unix://{tmp}/no-docker.sock",
            "FLEET_ENGINE_PROCESSES": str(self.options.processes),
            "FLEET_ENGINE_TICK_S": str(self.options.tick_s),
            "GATEWAY_PORT": str(self.port),
            "LAMBDA_ACCOUNT_CONCURRENCY": str(self.options.concurrency),
            "LAMBDA_EXECUTOR": "local",
            "LOG_LEVEL": self.options.log_level,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_HOST": self.options.host,
            "MINISTACK_REGION": REGION,
            "PERSIST_STATE": "1" if self.options.keep_state else "0",
            "S3_DATA_DIR": str(self.data / "s3"),
            "S3_PERSIST": "1" if self.options.keep_state else "0",
            "STATE_DIR": str(self.data / "state"),
            **self.options.settings,
        }

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise EngineFailed(
                f"the engine ended with {self._process.returncode}\n{_tail(self.log)}"
            )
        return answers(f"{self.url}/_ministack/health")

    def _end(self, how: signal.Signals) -> None:
        process, self._process, self._clients = self._process, None, {}
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_TIMEOUT_S)
        if process.stdin is not None:
            process.stdin.close()
        # Functions are children in the engine's own group; none may outlive it.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 2},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    s3={"addressing_style": "path"},
)


def wait_until(
    holds: Callable[[], bool], *, timeout_s: float, what: str, log: Path | None = None
) -> None:
    """Wait until `holds()`; raises `EngineFailed` naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            tail = "" if log is None else f"\n{_tail(log)}"
            raise EngineFailed(f"waited {timeout_s:.0f} s for {what}{tail}")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether a GET of this URL succeeds, within two seconds."""
    try:
        return urllib3.request("GET", url, timeout=2, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def free_port(host: str) -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
