"""`runner-fleet dashboard`: the fleet in a browser, from this machine."""

import errno
import os
import webbrowser
from contextlib import suppress
from functools import partial
from typing import Annotated

import typer
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from adapters.aws.clients import clients
from cli.commands import DEFAULT_STACK, as_called
from cli.lines import say
from cli.options import InJson, Local, Stack, reach
from fleet.errors import Refused
from monitor.app import Serving, make_app
from monitor.guard import LOOPBACK_NAMES, is_loopback
from monitor.questions import Sources
from monitor.reader_processes import ReaderProcesses
from monitor.serving import Server, listen
from operations.fleet_handle import Deployed, find

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any free one.")]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        help="Address to listen on. On any but a loopback address the pages are read-only.",
    ),
]
Name = Annotated[
    list[str] | None,
    typer.Option("--name", help="A host name under which browsers may call it; repeatable."),
]
Browse = Annotated[bool, typer.Option("--open", help="Open it in a browser.")]
TokenEnv = Annotated[
    str, typer.Option("--token-env", help="Environment variable with a GitLab token.")
]
DEFAULT_PORT = 8720
COLLECTOR_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def dashboard(  # noqa: PLR0913 - options
    ctx: typer.Context,
    *,
    port: Port = DEFAULT_PORT,
    host: Host = "127.0.0.1",
    name: Name = None,
    browse: Browse = False,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    _as_json: InJson = False,
) -> None:
    """Serve the fleet's pages and metrics on this machine.

    Until Ctrl-C; Prometheus finds the metrics at /metrics.

    Example: runner-fleet dashboard --open
    """
    deployed = reach(ctx, stack)
    deployed.stored()  # without a configuration there is nothing to show
    try:
        door = listen(host, port)
    except OSError as error:
        hint = ": try --port 0" if error.errno == errno.EADDRINUSE else ""
        raise Refused(f"cannot listen on {host} port {port} ({error.strerror}){hint}") from error
    is_local = is_loopback(host)
    names = {*(LOOPBACK_NAMES if is_local else ()), host.lower(), *(name or ())}
    serving = Serving(
        names=frozenset(names),
        may_change=is_local,
        as_called=as_called,
        traces=_traces(),
    )
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{door.getsockname()[1]}/"
    say(f"Dashboard of {deployed.stack}: {address}")
    if not is_local:
        say("Other machines can reach it, so its pages are read-only.", err=True)
    if browse:
        webbrowser.open(address)
    sources = partial(_sources, stack, token_env)
    readers = None if isinstance(ctx.obj, Deployed) else ReaderProcesses(sources)
    app = make_app(deployed, serving, ask=readers)
    server = Server(app, readers.end) if readers else Server(app)
    with suppress(KeyboardInterrupt), door:
        server.run(sockets=[door])


def _sources(stack: str, token_env: str) -> Sources:
    """In a process that reads."""
    aws = clients()
    return Sources(deployed=find(stack, aws), aws=aws, token_env=token_env)


def _traces() -> SpanProcessor | None:
    """What sends traces, where OpenTelemetry's own variables name a collector."""
    if not any(os.environ.get(name) for name in COLLECTOR_VARIABLES):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )

    return BatchSpanProcessor(OTLPSpanExporter())
