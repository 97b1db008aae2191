"""The dashboard's web application: its pages, their live parts, the changes, and the metrics."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from opentelemetry.sdk.trace import SpanProcessor
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from fleet.errors import FleetError, Refused
from monitor import job, limits, now, past, pool, waits
from monitor.board import Board
from monitor.guard import Guard
from monitor.metrics import FleetCollector
from monitor.page import Page
from monitor.questions import Ask, Recent, Sources, in_this_process, read_picture, read_recent
from monitor.readings import Readings
from monitor.traces import TraceSender
from operations.fleet_handle import Deployed

STATIC = Path(__file__).with_name("static")
RECENT_KEPT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the dashboard is served."""

    names: Collection[str]  # hosts under which it may be called
    may_change: bool = True
    as_called: Callable[[str], str] = str  # a text with its commands as the user calls them
    traces: SpanProcessor | None = None  # gets a trace of each job that ends


def board_of(deployed: Deployed, ask: Ask) -> Board:
    """The board over one fleet, which `ask` reads."""
    return Board(lambda known: ask(read_picture, known), deployed.clock)


def make_app(
    deployed: Deployed,
    serving: Serving,
    *,
    ask: Ask | None = None,
    board: Board | None = None,
    readings: Readings | None = None,
) -> FastAPI:
    """The application over one fleet. It has the fleet read in the background while it is served.

    `ask` calls the functions of `monitor.questions`, by default in this process.
    """
    ask = ask or in_this_process(Sources(deployed=deployed))
    board = board or board_of(deployed, ask)
    guard = Guard(serving.names, may_change=serving.may_change)
    readings = readings or Readings(deployed.clock)
    page = Page(deployed, board, guard, readings=readings, ask=ask, as_called=serving.as_called)

    @asynccontextmanager
    async def served(_app: FastAPI) -> AsyncIterator[None]:
        sender = _sender(deployed, serving)
        board.start()
        if sender:
            sender.start()
        yield
        board.end()
        if sender:
            sender.end()

    app = FastAPI(openapi_url=None, lifespan=served)
    app.state.board = board
    app.middleware("http")(guard)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for pages in (now, pool, job, waits, past, limits):
        app.include_router(pages.routes(page))
    _add_streams(app, board, lambda: _recent(page))

    _add_failures(app, page)
    return app


def _add_failures(app: FastAPI, page: Page) -> None:
    """Pages for what cannot be shown."""

    @app.exception_handler(FleetError)
    async def failed(request: Request, error: Exception) -> Response:
        return page.failure(request, str(error), status=400 if type(error) is Refused else 502)

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, _error: Exception) -> Response:
        return page.failure(request, "a value in the address is not valid", status=400)

    @app.exception_handler(404)
    async def missing(request: Request, _error: Exception) -> Response:
        return page.failure(request, "there is no such page", status=404)


def _sender(deployed: Deployed, serving: Serving) -> TraceSender | None:
    if serving.traces is None:
        return None
    read, clock = deployed.history.between, deployed.clock
    return TraceSender(read, clock, serving.traces, stack=deployed.stack)


def _recent(page: Page) -> Recent | None:
    """What ended lately; read in the background, as a scrape waits for nothing."""
    known: Recent | None = page.readings.ask(
        "metrics", lambda: page.ask(read_recent), keep=RECENT_KEPT
    ).value
    return known


def _add_streams(app: FastAPI, board: Board, recent: Callable[[], Recent | None]) -> None:
    registry = CollectorRegistry()
    registry.register(FleetCollector(board, recent))

    @app.get("/live")
    async def live() -> StreamingResponse:
        """An event for each new picture; the page then asks for its live part."""

        async def events() -> AsyncIterator[str]:
            async for number in board.changes():
                yield f"event: changed\ndata: {number}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.get("/metrics")
    def metrics() -> Response:
        """The fleet for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
