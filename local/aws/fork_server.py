"""A process that has imported what the engine's functions import, and forks one for each order.

A new Python process spends most of a second on libraries before it runs a line of ours. A fork has
them already. What is forked is still a process of its own, with its own code, environment and role.
"""

import importlib
import json
import os
import random
import runpy
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# Libraries only: our own packages come from the function's zip.
LIBRARIES = "boto3 fastapi gitlab mangum pydantic pydantic_settings standardwebhooks starlette"
SERVICES = "dynamodb ec2 events kms lambda scheduler secretsmanager sqs"
_MODELS = ("service-2", "endpoint-rule-set-1")
_SHARED = ("endpoints", "partitions", "sdk-default-configuration", "_retry")


def main() -> None:
    """Fork a function for each byte that comes with descriptors; end with the engine.

    The first argument is the descriptor of our end of the engine's line. Each byte brings the
    function's own line, which brings its order, and its three streams.
    """
    engine = socket.socket(fileno=int(sys.argv[1]))
    _prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for a function's exit code
    while True:
        called, descriptors, _, _ = socket.recv_fds(engine, 1, 4)
        if not called:
            return
        if os.fork() == 0:
            engine.close()
            _become(socket.socket(fileno=descriptors[0]), descriptors[1:])
        for descriptor in descriptors:
            os.close(descriptor)


def _prepare() -> None:
    """Import the libraries, and read botocore's models once for all who will ask for them."""
    for name in LIBRARIES.split():
        importlib.import_module(name)
    sessions: Any = importlib.import_module("botocore.session")
    shared = sessions.create_loader()
    for name in _SHARED:
        shared.load_data(name)
    for service in SERVICES.split():
        for model in _MODELS:
            shared.load_service_model(service, model)
    sessions.create_loader = lambda search_path_string=None: shared


def _become(line: socket.socket, streams: list[int]) -> None:
    """Turn this fork into the function that its line describes; never returns."""
    with line.makefile("rb") as lines:
        order = json.loads(lines.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    random.seed()
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = [order["script"]]
    sys.path[0] = str(Path(order["script"]).parent)
    line.sendall(str(os.getpid()).encode())  # and it stays open for as long as we live
    try:
        runpy.run_path(order["script"], run_name="__main__")
        sys.stdout.flush()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
