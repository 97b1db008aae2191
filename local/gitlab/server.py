"""Runs a simulated GitLab on a local port: in a thread for tests, in the foreground for people."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import uvicorn

from local.gitlab.api.app import create_app
from local.gitlab.options import Options
from local.gitlab.sweep import sweep
from local.gitlab.world import GitLabWorld

LOOPBACK = "127.0.0.1"
_START_S = 10.0

ResultT = TypeVar("ResultT")


def bind(port: int, host: str = LOOPBACK) -> socket.socket:
    """A listening socket on one of this machine's addresses; port 0 picks a free one."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(1024)
    return bound


def address(bound: socket.socket) -> str:
    """The base URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process by the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the caller."""
        yield


class Service:
    """A world and the uvicorn server in front of it."""

    def __init__(self, world: GitLabWorld) -> None:
        self.world = world
        self.uvicorn = _Server(
            uvicorn.Config(
                create_app(world),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
            )
        )

    async def run(self, bound: socket.socket, on_ready: Callable[[], None]) -> None:
        """Serve until asked to stop."""
        on_ready()  # the socket listens already: early callers wait in its queue
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self.uvicorn.serve(sockets=[bound])
        finally:
            sweeping.cancel()
            await self.world.dispatcher.close()

    def stop(self) -> None:
        """Finish the calls under way, then let `run` return."""
        self.uvicorn.should_exit = True

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.world.options.sweep_every_s)
            sweep(self.world.ci, self.world.runners)


class SimulatorServer:
    """A simulated GitLab in a thread of this process.

    Use as a context manager; `url`, `root_token` and `world` are valid inside.
    """

    def __init__(
        self,
        data_dir: Path,
        options: Options | None = None,
        *,
        port: int = 0,
        host: str = LOOPBACK,
    ) -> None:
        self._socket = bind(port, host)
        self.url = address(self._socket)
        self.world = GitLabWorld(data_dir, options=options or Options(), base_url=self.url)
        self.root_token = self.world.root_token
        self._service = Service(self.world)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gitlab-simulator", daemon=True)

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._service.run(self._socket, self._ready.set)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TimeoutError("the GitLab simulator did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._service.stop()
        self._thread.join()
        self._socket.close()

    def ask(self, question: Callable[[GitLabWorld], ResultT]) -> ResultT:
        """The result of `question`, which runs on the thread of the server."""
        if self._loop is None:
            raise RuntimeError("the GitLab simulator is not running")

        async def answer() -> ResultT:
            return question(self.world)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()
