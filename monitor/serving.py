"""The socket that the dashboard listens on."""

import socket


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
