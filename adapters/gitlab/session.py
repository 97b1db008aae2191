"""The HTTP session of python-gitlab: it counts every request and obeys a 429."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

from adapters.gitlab.call_allowance import CallAllowance
from adapters.gitlab.way import DIRECT, Way
from fleet.errors import Transient

LONGEST_PAUSE_S = 600.0
USUAL_PAUSE_S = 60.0  # GitLab counts by the minute


class Unread(Exception):
    """An answer without success, before python-gitlab interprets it."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.response = response


class _Trusting(HTTPAdapter):
    """Trusts one more authority; requests adds the public ones itself."""

    def __init__(self, pem: str) -> None:
        self._context = create_urllib3_context()
        self._context.load_verify_locations(cadata=pem)
        super().__init__()

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """For connections straight to GitLab and over a proxy alike."""
        there, how = super().build_connection_pool_key_attributes(*args, **kwargs)
        how["ssl_context"] = self._context
        return there, how


class PacedSession(requests.Session):
    """Takes from the allowance before each request, redirects and further pages included."""

    def __init__(self, allowance: CallAllowance, way: Way = DIRECT) -> None:
        super().__init__()
        self._allowance = allowance
        self._proxy = way.proxy
        if way.tls_ca:
            self.mount("https://", _Trusting(way.tls_ca))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send it. Raises `Transient` when the allowance is used up or GitLab answers 429, and
        `Unread` for every other answer that is neither a success nor a redirect to follow."""
        self._allowance.take()
        if self._proxy:  # goes before that of the environment, which requests put here
            kwargs["proxies"] = {"http": self._proxy, "https": self._proxy}
        response = super().send(request, **kwargs)
        headers = response.headers
        self._allowance.note(headers.get("RateLimit-Remaining"), headers.get("RateLimit-Limit"))
        if response.status_code == 429:
            wait_s = pause_s(response.headers.get("Retry-After"))
            self._allowance.hold(wait_s)
            raise Transient("GitLab's rate limit", status=429, retry_after_s=wait_s)
        if not response.ok or (300 <= response.status_code < 400 and not response.is_redirect):
            raise Unread(response)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """The next address of a GET. Other verbs raise `Unread`: a write would become a read, or
        its body would go to a login page. So does a redirect to the same page of another
        address, such as from http to https: writes fail there, and a working read would hide it."""
        if resp.is_redirect and (resp.request.method != "GET" or _to_the_same_page(resp)):
            resp.close()
            raise Unread(resp)
        return super().get_redirect_target(resp)

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """On a redirect to another host leave our token behind; requests drops only its own."""
        old, new = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("PRIVATE-TOKEN", None)
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]


def untrusted(error: requests.exceptions.SSLError) -> str | None:
    """Why the certificate is not trusted; None for another error.

    The rest of the error's text may hold a URL with a query.
    """
    match = re.search(r"certificate verify failed: ([^(]{1,200})", str(error))
    return match[1].strip() if match else None


def _to_the_same_page(response: requests.Response) -> bool:
    """Whether a redirect changes only the scheme, the host or the port."""
    try:
        there = urlsplit(urljoin(response.url, response.headers["Location"]))
        here = urlsplit(response.url)
    except ValueError:
        return False
    return there[:2] != here[:2] and there.path == here.path


def redirects_to(response: requests.Response) -> str | None:
    """Scheme, host and port of a redirect's target; its path and query may hold a secret."""
    if not response.is_redirect:
        return None
    try:
        parts = urlsplit(response.headers["Location"])
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "no address"
    return (
        f"{parts.scheme}://{parts.hostname}{port}" if parts.scheme and parts.hostname else "itself"
    )


def pause_s(retry_after: str | None) -> float:
    """Seconds to wait; a minute when GitLab names no readable number."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return USUAL_PAUSE_S
    return min(float(retry_after), LONGEST_PAUSE_S)
