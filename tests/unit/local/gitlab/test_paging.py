"""Pages by offset and by keyset, followed as a client follows them."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import Response

from local.gitlab.api.paging import page_of


@dataclass(frozen=True)
class Item:
    """Something with an id."""

    id: int


ITEMS = [Item(number) for number in range(1, 8)]
PATH = "/api/v4/projects/acme%2Fdemo/jobs"


def ask(query: str, items: list[Item] = ITEMS) -> Response:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1")],
    }
    return page_of(Request(scope), items, lambda item: {"id": item.id})


def ids(response: Response) -> list[int]:
    return [item["id"] for item in json.loads(bytes(response.body))]


def links(response: Response) -> dict[str, str]:
    pairs = re.findall(r'<([^>]+)>; rel="(\w+)"', response.headers.get("link", ""))
    return {name: url for url, name in pairs}


def follow(query: str) -> list[list[int]]:
    """All pages, by the links to the next one."""
    pages = []
    while True:
        response = ask(query)
        pages.append(ids(response))
        following = links(response).get("next")
        if following is None:
            return pages
        query = urlsplit(following).query


@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("per_page=3", [[7, 6, 5], [4, 3, 2], [1]]),
        ("per_page=3&sort=asc", [[1, 2, 3], [4, 5, 6], [7]]),
        ("", [[7, 6, 5, 4, 3, 2, 1]]),  # twenty by default
        ("pagination=keyset&order_by=id&per_page=3", [[7, 6, 5], [4, 3, 2], [1]]),
        ("pagination=keyset&order_by=id&sort=asc&per_page=4", [[1, 2, 3, 4], [5, 6, 7]]),
        ("pagination=keyset&per_page=7&sort=asc", [[1, 2, 3, 4, 5, 6, 7]]),  # one full page
    ],
)
def test_the_links_lead_through_every_item_once(query: str, pages: list[list[int]]) -> None:
    assert follow(query) == pages


@pytest.mark.parametrize(
    ("query", "numbers", "pages"),
    [
        ("per_page=3", "1 3 7 3 2 ", {"first": "1", "last": "3", "next": "2"}),
        (
            "per_page=3&page=2",
            "2 3 7 3 3 1",
            {"first": "1", "last": "3", "prev": "1", "next": "3"},
        ),
        ("per_page=3&page=3", "3 3 7 3  2", {"first": "1", "last": "3", "prev": "2"}),
        ("pagination=keyset&per_page=3", " 3    ", {"next": ""}),
    ],
)
def test_headers_of_a_page(query: str, numbers: str, pages: dict[str, str]) -> None:
    names = ("x-page", "x-per-page", "x-total", "x-total-pages", "x-next-page", "x-prev-page")
    response = ask(query)
    assert [response.headers.get(name, "") for name in names] == numbers.split(" ")
    queries = {name: parse_qs(urlsplit(url).query) for name, url in links(response).items()}
    assert {name: query.get("page", [""])[0] for name, query in queries.items()} == pages
