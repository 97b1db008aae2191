"""A page with an answer that is read in the background, and how long such an answer is kept."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from fastapi import Request
from starlette.responses import Response

from fleet.errors import Refused
from monitor.page import Page
from monitor.readings import KeptAnswer
from operations.periods import read_length

MINUTE = timedelta(minutes=1)
FRESH, OF_A_MONTH = timedelta(seconds=20), timedelta(minutes=5)


def answer_page(
    page: Page, request: Request, template: str, reading: KeptAnswer, values: Mapping[str, Any]
) -> Response:
    """A page with an answer, or with the word that it is being read."""
    shared = {"reading": reading, "answer": reading.value, "query": str(request.url.query)}
    of = (reading.at, reading.is_reading, reading.failed)
    return page.render(request, template, {**values, **shared}, of=of)


def keep_for(since: str) -> timedelta:
    """How long an answer of a period is kept: a month takes seconds to read, and changes less."""
    try:
        is_short = read_length(since) <= timedelta(days=1)
    except Refused:
        is_short = since == "today"
    return FRESH if is_short else OF_A_MONTH


def refresh_s(since: str) -> int:
    """How often an open page asks for an answer of a period again."""
    return int(max(keep_for(since), MINUTE).total_seconds())
