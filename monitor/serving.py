"""The server of the dashboard, and the socket that it listens on."""

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI


class Server(uvicorn.Server):
    """Serves the application until it is told to exit: then `on_end` is called and streams end."""

    def __init__(self, app: FastAPI, on_end: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
        )
        self._app = app
        self._on_end = on_end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the readings and the streams, then the rest."""
        self._app.state.board.stop()
        self._on_end()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A socket on this address. Raises `OSError`, such as for a port that is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    door = socket.socket(family, kind, protocol)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(128)  # a reader of the address may call it at once
    except OSError:
        door.close()
        raise
    return door
