"""A simulated GitLab on a local port, in a thread of this process."""

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import uvicorn

from local.gitlab.api.app import create_app
from local.gitlab.options import Options
from local.gitlab.sweep import sweep
from local.gitlab.world import GitLabWorld

LOOPBACK = "127.0.0.1"
_START_S = 10.0

ResultT = TypeVar("ResultT")


class SimulatorServer:
    """A context manager; `url`, `root_token` and `world` are valid inside."""

    def __init__(
        self,
        data_dir: Path,
        options: Options | None = None,
        *,
        port: int = 0,
        host: str = LOOPBACK,
    ) -> None:
        """Bind the port; 0 picks a free one."""
        self._socket = _bound(host, port)
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"
        self.world = GitLabWorld(data_dir, options=options or Options(), base_url=self.url)
        self.root_token = self.world.root_token
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                create_app(self.world),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=3,
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="gitlab-simulator", daemon=True
        )

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()  # the socket listens already: early callers wait in its queue
        sweeping = asyncio.create_task(self._sweep())
        try:
            await self._uvicorn.serve(sockets=[self._socket])
        finally:
            sweeping.cancel()
            await self.world.dispatcher.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.world.options.sweep_every_s)
            sweep(self.world.ci, self.world.runners)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TimeoutError("the GitLab simulator did not start")
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the calls under way, then end."""
        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()

    def ask(self, question: Callable[[GitLabWorld], ResultT]) -> ResultT:
        """The result of `question`, which runs on the thread of the server."""
        if self._loop is None:
            raise RuntimeError("the GitLab simulator is not running")

        async def answer() -> ResultT:
            return question(self.world)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result()


def _bound(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), backlog=1024)
