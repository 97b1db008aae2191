"""Calls to one GitLab over python-gitlab, counted, with its errors as ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, urlsplit

from adapters.gitlab.answer import NotGitLabs, Refusal, read_body, read_deletion, read_refusal
from adapters.gitlab.call_allowance import CallAllowance, CallsLeft
from adapters.gitlab.way import DIRECT, Way
from fleet.errors import Refused, Transient
from fleet.trouble import TLS, TOKEN, kind_of

if TYPE_CHECKING:
    import gitlab
    import requests

TIMEOUT_S = 10.0
TEXTS = ("text/plain", "application/octet-stream")
NOT_GITLABS = (
    "this answer is not from GitLab's API: something before it answered (a proxy, a login or a "
    "maintenance page), or the address of [gitlab] is another"
)
UNTRUSTED = (
    "GitLab's certificate is not trusted: set tls_ca_file of [gitlab] to the certificate of its "
    "authority (`webhook` has --tls-ca-file)"
)
NO_PROXY = "the proxy to GitLab does not answer: check proxy of [gitlab], or HTTPS_PROXY"
MOVED = "GitLab's address redirects: give [gitlab] the address that it redirects to"
NO_SUCH_CALL = "this GitLab has no such call: it is too old, or the path of its address is another"

# GitLab reads the runner's own token there: success says nothing of ours.
_BY_RUNNER_TOKEN = frozenset({"POST /runners/verify"})
_TRY_AGAIN = frozenset({408, 409, 429})  # 409: GitLab's "resource lock"
_WHAT_TO_DO: Mapping[int, str] = {
    401: "GitLab does not know this token: make a new one, and put it into the variable that it was"
    " read from, or give it to the fleet with `runner-fleet token set`, which names the page",
    403: "this token may not do this: give it the scope and the role that the call needs",
    404: "GitLab does not have it, or hides it from this token: check its name, and in GitLab that"
    " the token's user is a member there",
}


class Witness(Protocol):
    """Records whether GitLab accepts calls; see `fleet.trouble` for the kinds."""

    def failed(self, call: str, words: str, *, kind: str) -> None:
        """GitLab refuses all calls, or this call, until a person acts."""

    def accepted(self, call: str) -> None:
        """GitLab accepted a call with the token."""


class GitLabApi:
    """The verbs of GitLab's REST API. Answers are JSON as GitLab sent it.

    Raises `Refused` for what GitLab itself refuses (facts have `call` and `status`, save where
    GitLab has no such call), and `Transient` for everything else: no answer, 408, 409, 429, 5xx,
    the allowance used up (`retry_after_s` where it is known), and whatever GitLab did not write
    itself, such as an ingress's 404, a login page, or JSON that is cut off.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        allowance: CallAllowance,
        witness: Witness | None = None,
        way: Way = DIRECT,
    ) -> None:
        self.url = url
        self._way = way
        self._token = token
        self._allowance = allowance
        self._witness = witness

    @property
    def calls_left(self) -> CallsLeft:
        """The calls that are left, as of the last one."""
        return self._allowance.left

    @property
    def left_at_gitlab(self) -> CallsLeft | None:
        """What is left of GitLab's own limit for this token; None where GitLab says nothing."""
        return self._allowance.left_at_gitlab

    def get(self, path: str, **query: Any) -> Any:
        """One answer."""
        return self._json("GET", path, query=query)

    def text(self, path: str) -> str:
        """An answer that is plain text, such as a job's log; bytes that are no UTF-8 are marked."""
        response = self._send("GET", path)
        kind = response.headers.get("Content-Type", "text/plain")
        if response.status_code != 200 or not kind.startswith(TEXTS):
            raise _not_gitlabs(f"GET {path}", status=response.status_code, type=kind[:40])
        return response.content.decode("utf-8", "replace")

    def pages(self, path: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Every item of a list, page after page as they are asked for; in GitLab's order."""
        call, page_query = f"GET {path}", {"per_page": 100} | query
        while True:
            response = self._send("GET", path, query=page_query)
            items = self._read(call, response)
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise _not_gitlabs(call, status=response.status_code, type="not a list")
            yield from items
            # GitLab writes the address that it believes to have; the token must not go there.
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            page_query = parse_qs(urlsplit(following).query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a POST."""
        return self._json("POST", path, body=body or {})

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a PUT."""
        return self._json("PUT", path, body=body)

    def delete(self, path: str) -> None:
        """Delete it."""
        response = self._send("DELETE", path)
        with _as_transient(f"DELETE {path}"):
            read_deletion(response.status_code, response.headers, response.content)
        self._accepted(f"DELETE {path}")

    def _json(self, verb: str, path: str, **sent: Any) -> Any:
        """The object that answers."""
        call, response = f"{verb} {path}", self._send(verb, path, **sent)
        body = self._read(call, response)
        if not isinstance(body, dict):
            raise _not_gitlabs(call, status=response.status_code, type="not an object")
        return body

    def _send(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> "requests.Response":
        """A response with a success status, from GitLab or a proxy before it."""
        from requests import RequestException  # noqa: PLC0415
        from requests.exceptions import ProxyError, SSLError  # noqa: PLC0415

        from adapters.gitlab.session import Unread, untrusted  # noqa: PLC0415

        call = f"{verb} {path}"
        try:
            return self._client.http_request(
                verb.lower(),
                path,
                query_data=dict(query or {}),
                post_data=None if body is None else dict(body),
            )
        except Unread as exc:
            raise self._refusal(exc.response, call) from None
        except SSLError as exc:
            words = untrusted(exc)
            if words is None:
                raise Transient("GitLab did not answer", call=call, error="SSLError") from exc
            self._failed(call, words, TLS)
            raise Transient(UNTRUSTED, call=call, words=words) from None
        except ProxyError as exc:
            raise Transient(NO_PROXY, call=call, error="ProxyError") from exc
        except (RequestException, ValueError) as exc:
            # its text may hold a URL with a query; its class says enough
            raise Transient("GitLab did not answer", call=call, error=type(exc).__name__) from exc

    def _read(self, call: str, response: "requests.Response") -> Any:
        with _as_transient(call):
            body = read_body(response.status_code, response.headers, response.content)
        self._accepted(call)
        return body

    def _accepted(self, call: str) -> None:
        if self._witness is not None and call not in _BY_RUNNER_TOKEN:
            self._witness.accepted(call)

    def _refusal(self, response: "requests.Response", call: str) -> Refused | Transient:
        error, refusal = _error_of(response, call)
        if refusal is not None and (refusal.of_token or refusal.of_scope):
            self._failed(call, refusal.words, TOKEN if refusal.of_token else kind_of(call))
        return error

    def _failed(self, call: str, words: str, kind: str) -> None:
        if self._witness is not None and call not in _BY_RUNNER_TOKEN:
            self._witness.failed(call, words, kind=kind)

    @cached_property
    def _client(self) -> "gitlab.Gitlab":
        from gitlab import Gitlab  # noqa: PLC0415  # 0.2 s that only callers of GitLab pay

        from adapters.gitlab.session import PacedSession  # noqa: PLC0415

        return Gitlab(
            self.url,
            private_token=self._token,
            timeout=TIMEOUT_S,
            retry_transient_errors=False,
            keep_base_url=True,
            session=PacedSession(self._allowance, self._way),
        )


@contextmanager
def _as_transient(call: str) -> Iterator[None]:
    """Raise `NotGitLabs` as `Transient`."""
    try:
        yield
    except NotGitLabs as exc:
        raise _not_gitlabs(call, **exc.facts) from None


def _not_gitlabs(call: str, **facts: object) -> Transient:
    return Transient(NOT_GITLABS, call=call, **facts)


def _error_of(
    response: "requests.Response", call: str
) -> tuple[Refused | Transient, Refusal | None]:
    """The error for an answer, and GitLab's own refusal in it."""
    from adapters.gitlab.session import redirects_to  # noqa: PLC0415

    status = response.status_code
    if status >= 500 or status in _TRY_AGAIN:
        return Transient("GitLab did not answer well", call=call, status=status), None
    if there := redirects_to(response):
        return Transient(MOVED, call=call, status=status, to=there), None
    try:
        refusal = read_refusal(status, response.headers, response.content)
    except NotGitLabs as exc:
        return _not_gitlabs(call, **exc.facts), None
    if not refusal.knows_call:
        return Refused(NO_SUCH_CALL, call=call), refusal
    facts = {"call": call, "status": status} | (
        {"words": refusal.words} if refusal.has_words else {}
    )
    return Refused(_WHAT_TO_DO.get(status, "GitLab does not accept this request"), **facts), refusal
