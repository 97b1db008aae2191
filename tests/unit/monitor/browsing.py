"""Requests to a dashboard, over ASGI, as a browser on its page makes them."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from monitor.app import Serving, board_of, make_app
from monitor.board import Board
from monitor.guard import LOOPBACK_NAMES
from monitor.questions import Ask, Sources, in_this_process
from monitor.readings import Readings
from tests.unit.cli.fleet_at_work import AtWork

ADDRESS = "http://127.0.0.1:8720"


@dataclass(frozen=True)
class Browser:
    """Asks an application; it follows redirects."""

    app: FastAPI
    board: Board

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **options))

    def post(self, path: str, fields: dict[str, str], **options: Any) -> httpx.Response:
        """One form, with the token of the page that it is on."""
        token = re.search(
            r'name="token" value="([^"]+)"', self.get(path.rpartition("/")[0] or "/").text
        )
        whole = ({"token": token[1]} if token else {}) | fields
        return asyncio.run(self._ask("POST", path, data=whole, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url=ADDRESS, follow_redirects=True
        ) as client:
            return await client.request(method, path, **options)


def browser_of(
    at_work: AtWork,
    *,
    may_change: bool = True,
    is_read: bool = True,
    ask: Ask | None = None,
    readings: Readings | None = None,
) -> Browser:
    """A browser on the fleet's dashboard, which has read the fleet once."""
    deployed = at_work.deployed
    ask = ask or in_this_process(Sources(deployed=deployed))
    board = board_of(deployed, ask)
    if is_read:
        board.read_now()
    readings = readings or Readings(deployed.clock, run=lambda read: read())
    serving = Serving(names=LOOPBACK_NAMES, may_change=may_change)
    app = make_app(deployed, serving, ask=ask, board=board, readings=readings)
    return Browser(app=app, board=board)
