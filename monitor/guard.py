"""Who may call the dashboard: the browser of its own page, and no other page in that browser.

The dashboard acts with its operator's AWS credentials, and a browser sends requests to a loopback
address for every page that it shows. So a request must name the dashboard's own host (else a
foreign name may have been pointed at it), and a change must carry the token of a page that it
served.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Collection
from ipaddress import ip_address

from fastapi import Request
from starlette.responses import PlainTextResponse, Response

TOKEN_FIELD = "token"  # noqa: S105 - the name of a form's field
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Nothing of the page comes from elsewhere, and no text in it can become a script or a style.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none a browser would not say where a form is from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READS = frozenset({"GET", "HEAD"})

Next = Callable[[Request], Awaitable[Response]]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Checks each request. `names`: the hosts under which the dashboard may be called."""

    def __init__(self, names: Collection[str], *, may_change: bool) -> None:
        self._names = frozenset(name.lower() for name in names)
        self.may_change = may_change
        self.token = secrets.token_urlsafe(32)  # of this process: an open page outlives none

    async def __call__(self, request: Request, answer: Next) -> Response:
        """Answer, or refuse with a line that says why."""
        refusal = self._refusal(request)
        response = PlainTextResponse(refusal + "\n", 403) if refusal else await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.url.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    def is_ours(self, token: str) -> bool:
        """Whether a form carries the token of a page of this process."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def _refusal(self, request: Request) -> str:
        if host_of(request.headers.get("host", "")) not in self._names:
            return "this dashboard has another name: open the address that the command printed"
        if request.method in _READS:
            return ""
        if not self.may_change:
            return "this dashboard is read-only: other machines can reach it"
        origin = request.headers.get("origin", "")
        if origin and origin != f"{request.url.scheme}://{request.headers['host']}":
            return "a change must be made on the dashboard's own page"
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return "a change must be made on the dashboard's own page"
        return ""


def host_of(header: str) -> str:
    """The host of a Host header, without its port, in lower case."""
    name, colon, port = header.lower().rpartition(":")
    return name if colon and port.isdecimal() else header.lower()
