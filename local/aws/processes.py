"""How functions run on a small machine: a few forked processes each, used in turn.

MiniStack starts a process for every invocation that comes while the others are busy, as AWS starts
an environment. Here each costs a second of the two cores that everything shares, so an invocation
waits for a process instead. Reserved concurrency still throttles, before anything waits. A state's
time-out starts when its function does: on AWS nothing would have waited.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar, copy_context
from threading import Event, Lock, Semaphore, local
from types import SimpleNamespace
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc, stepfunctions

_LONGEST_WAIT_S = 900.0  # for a process; no task of the fleet takes longer in all
_BEGUN: ContextVar[Event | None] = ContextVar("begun", default=None)  # set: a process has the task


def install() -> None:
    """Patch the engine of this process; call once, before it serves."""
    limit = int(os.environ.get("FLEET_ENGINE_PROCESSES", "2"))
    turns = Turns(limit)
    lambda_svc.acquire_worker = turns.acquiring(lambda_svc.acquire_worker)
    lambda_svc.release_worker = turns.releasing(lambda_svc.release_worker)
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "local.aws.fork_server", str(theirs.fileno())]
    subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    fork_server = ForkServer(ours)
    lambda_runtime.subprocess = SimpleNamespace(PIPE=subprocess.PIPE, Popen=fork_server.start)
    stepfunctions._invoke_resource_with_timeout = run_task


def run_task(resource: str, request: Any, timeout_s: float) -> Any:
    """A task's result; the time that it may take starts when its function has a process.

    As MiniStack's own, whose time starts when the function is asked for. Like there, a task that
    takes longer goes on, and its result is ignored.
    """
    begun = Event()
    context = copy_context()
    context.run(_BEGUN.set, begun)
    thread = ThreadPoolExecutor(max_workers=1)
    task = thread.submit(context.run, stepfunctions._invoke_resource, resource, request)
    thread.shutdown(wait=False)
    task.add_done_callback(lambda _: begun.set())
    if "lambda" in resource:
        begun.wait(_LONGEST_WAIT_S)
    if task in wait([task], timeout_s).not_done:
        late = f"Task timed out after {timeout_s} seconds"
        raise stepfunctions._ExecutionError("States.Timeout", late)
    return task.result()


class ForkServer:
    """Starts functions below a process that has their libraries; see `local.aws.fork_server`."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._one_at_a_time = Lock()

    def start(self, command: list[str], **how: Any) -> Any:
        """A function's process: forked if it is Python, else as MiniStack starts it."""
        if command[0] != sys.executable:
            return subprocess.Popen(command, **how)
        ours, theirs = socket.socketpair()
        pipes = [os.pipe() for _ in range(3)]
        far = [theirs.fileno(), pipes[0][0], pipes[1][1], pipes[2][1]]
        with self._one_at_a_time:
            socket.send_fds(self._line, [b"."], far)
        theirs.close()
        for descriptor in far[1:]:
            os.close(descriptor)
        order = {"script": command[1], "cwd": how["cwd"], "env": how["env"]}
        ours.sendall(json.dumps(order).encode() + b"\n")
        return Fork(ours, pipes[0][1], pipes[1][0], pipes[2][0])


class Fork:
    """A forked function; as much of `subprocess.Popen` as MiniStack uses."""

    def __init__(self, line: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self._line = line
        self.stdin = os.fdopen(stdin, "w", buffering=1)
        self.stdout = os.fdopen(stdout)
        self.stderr = os.fdopen(stderr)
        self.pid = int(line.recv(32) or b"0")

    def poll(self) -> int | None:
        """None while it lives: its end of the line closes with it."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        """Wait until it has ended; raises `subprocess.TimeoutExpired`. How it ended is not kept."""
        self._line.settimeout(timeout)
        try:
            self._line.recv(1)
        except (BlockingIOError, TimeoutError):
            raise subprocess.TimeoutExpired(str(self.pid), timeout) from None
        return 0

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, which: signal.Signals) -> None:
        if self.pid and self.poll() is None:
            os.kill(self.pid, which)


class Turns:
    """A few processes for each function; the longest waiting invocation gets the next free one."""

    def __init__(self, limit: int) -> None:
        self._most = limit
        self._lock = Lock()
        self._free: dict[str, Semaphore] = {}
        self._mine = local()  # an invocation begins and ends in one thread

    def acquiring(self, acquire: Callable[..., Any]) -> Callable[..., Any]:
        """Lease a process of the function as soon as one is free."""

        def acquired(function: str, *args: Any, **named: Any) -> Any:
            with self._lock:
                turn = self._free.setdefault(function, Semaphore(self._most))
            turn.acquire()
            self._mine.turn = turn
            if begun := _BEGUN.get():
                begun.set()
            return acquire(function, *args, **named)

        return acquired

    def releasing(self, release: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a process, also one that has ended, and let the next invocation have it."""

        def released(worker: Any) -> None:
            release(worker)
            self._mine.turn.release()

        return released
