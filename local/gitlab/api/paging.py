"""Pages of a list, by offset or by keyset, with the headers GitLab sends."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from starlette.datastructures import URL, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.gitlab.api.call import ApiError

_DEFAULT_PER_PAGE = 20
_MOST_PER_PAGE = 100


class HasId(Protocol):
    """Anything listed by id."""

    @property
    def id(self) -> int:
        """The id that orders the list."""


ItemT = TypeVar("ItemT", bound=HasId)


def page_of(
    request: Request, items: Sequence[ItemT], view: Callable[[ItemT], dict[str, Any]]
) -> Response:
    """One page of `items`, which must be in ascending order of id; newest first by default."""
    query = request.query_params
    per_page = min(_whole(query, "per_page", _DEFAULT_PER_PAGE), _MOST_PER_PAGE)
    descending = query.get("sort", "desc") == "desc"
    if query.get("pagination") == "keyset":
        chosen, headers = _keyset(request, items, per_page, descending)
    else:
        ordered = items[::-1] if descending else items
        chosen, headers = _offset(request, ordered, per_page)
    return JSONResponse([view(item) for item in chosen], headers=headers)


def _whole(query: QueryParams, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise ApiError(400, f"{name} does not have a valid value")
    return int(text)


def _keyset(
    request: Request, items: Sequence[ItemT], per_page: int, descending: bool
) -> tuple[Sequence[ItemT], dict[str, str]]:
    cursor = _read_cursor(request.query_params.get("cursor"))
    if descending:
        rest = [item for item in reversed(items) if cursor is None or item.id < cursor]
    else:
        rest = [item for item in items if cursor is None or item.id > cursor]
    chosen = rest[:per_page]
    headers = {"X-Per-Page": str(per_page)}
    if len(rest) > per_page:
        following = request.url.include_query_params(cursor=_write_cursor(chosen[-1].id))
        headers["Link"] = _link(request, following, "next")
    return chosen, headers


def _offset(
    request: Request, ordered: Sequence[ItemT], per_page: int
) -> tuple[Sequence[ItemT], dict[str, str]]:
    page = _whole(request.query_params, "page", 1)
    pages = max(1, -(-len(ordered) // per_page))
    headers = {
        "X-Page": str(page),
        "X-Per-Page": str(per_page),
        "X-Total": str(len(ordered)),
        "X-Total-Pages": str(pages),
        "X-Next-Page": str(page + 1) if page < pages else "",
        "X-Prev-Page": str(page - 1) if page > 1 else "",
    }
    links = {"first": 1, "last": pages}
    if page > 1:
        links["prev"] = page - 1
    if page < pages:
        links["next"] = page + 1
    headers["Link"] = ", ".join(
        _link(request, request.url.include_query_params(page=number, per_page=per_page), name)
        for name, number in links.items()
    )
    return ordered[(page - 1) * per_page : page * per_page], headers


def _link(request: Request, url: URL, relation: str) -> str:
    """A link to the raw path: an encoded slash in it stays encoded."""
    raw_path = request.scope["raw_path"].decode().split("?", 1)[0]
    return f'<{url.scheme}://{url.netloc}{raw_path}?{url.query}>; rel="{relation}"'


def _write_cursor(number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"id": number}).encode()).decode()


def _read_cursor(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["id"])
    except (binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise ApiError(400, "cursor is invalid") from exc
