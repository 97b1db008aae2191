"""Calls to one GitLab, counted and translated; python-gitlab does the talking."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from fleet.errors import Refused, Transient

if TYPE_CHECKING:
    import gitlab
    import requests
    from gitlab.exceptions import GitlabError

TIMEOUT_S = 10.0

_TRY_AGAIN = frozenset({408, 409, 429})  # 409: GitLab's "resource lock"
_WHAT_TO_DO: Mapping[int, str] = {
    401: "GitLab does not know this token: make a new one and store it",
    403: "this token may not do this: give it the scope and the role that the call needs",
    404: "GitLab does not have it, or hides it from this token",
}


class Budget:
    """A token bucket: how many calls one process makes per minute, bursts up to a minute's worth.

    `clock` tells the time; `take` never waits, it refuses.
    """

    def __init__(self, *, calls_per_minute: int, clock: Callable[[], datetime]) -> None:
        self._capacity = float(calls_per_minute)
        self._per_second = calls_per_minute / 60
        self._clock = clock
        self._left = self._capacity
        self._counted_at = clock()
        self._held_until = self._counted_at
        self._lock = Lock()

    def take(self) -> None:
        """Count one call. Raises `Transient` with `retry_after_s` when there is none left."""
        with self._lock:
            at = self._clock()
            passed_s = max(0.0, (at - self._counted_at).total_seconds())
            self._left = min(self._capacity, self._left + passed_s * self._per_second)
            self._counted_at = at
            if at < self._held_until:
                wait_s = (self._held_until - at).total_seconds()
                raise Transient("GitLab asked for a pause", retry_after_s=round(wait_s, 1))
            if self._left < 1:
                wait_s = (1 - self._left) / self._per_second
                raise Transient("our calls to GitLab are used up", retry_after_s=round(wait_s, 1))
            self._left -= 1

    def hold(self, wait_s: float) -> None:
        """Refuse every call for so long: GitLab asked for it."""
        with self._lock:
            until = self._clock() + timedelta(seconds=wait_s)
            self._held_until = max(self._held_until, until)


class GitLabApi:
    """The verbs of GitLab's REST API. Answers are JSON as GitLab sent it.

    Raises `Transient` (no answer, 408, 409, 429, 5xx, budget used up; `retry_after_s` where
    it is known) and `Refused` (everything else; facts have `call` and `status`).
    """

    def __init__(self, url: str, token: str, *, budget: Budget) -> None:
        self.url = url
        self._token = token
        self._budget = budget

    def get(self, path: str, **query: Any) -> Any:
        """One answer."""
        with _translated("GET", path):
            return self._json(self._client.http_get(path, query_data=query), path)

    def text(self, path: str) -> str:
        """An answer that is plain text, such as a job's log; bytes that are no UTF-8 are marked."""
        with _translated("GET", path):
            answer = cast("requests.Response", self._client.http_get(path, raw=True))
            kind = answer.headers.get("Content-Type", "text/plain")
            if not kind.startswith(("text/plain", "application/octet-stream")):
                raise Refused("this is not GitLab's API: check the URL", url=self.url, call=path)
            return bytes(answer.content).decode("utf-8", "replace")

    def pages(self, path: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        """Every item of a list, page after page as they are asked for; in GitLab's order."""
        with _translated("GET", path):
            yield from self._client.http_list(
                path, query_data={"per_page": 100} | query, iterator=True
            )

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer to a POST; an empty one where GitLab sends no JSON."""
        with _translated("POST", path):
            answer = self._client.http_post(path, post_data=dict(body or {}))
            return answer if isinstance(answer, dict) else {}

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a PUT."""
        with _translated("PUT", path):
            return self._json(self._client.http_put(path, post_data=dict(body)), path)

    def delete(self, path: str) -> None:
        """Delete it."""
        with _translated("DELETE", path):
            self._client.http_delete(path)

    @cached_property
    def _client(self) -> "gitlab.Gitlab":
        from gitlab import Gitlab  # noqa: PLC0415  # 0.2 s that only callers of GitLab pay

        from adapters.gitlab_session import BudgetedSession  # noqa: PLC0415

        return Gitlab(
            self.url,
            private_token=self._token,
            timeout=TIMEOUT_S,
            retry_transient_errors=False,
            keep_base_url=True,
            session=BudgetedSession(self._budget),
        )

    def _json(self, answer: Any, path: str) -> Any:
        if isinstance(answer, dict | list):
            return answer
        raise Refused("this is not GitLab's API: check the URL", url=self.url, call=path)


@contextmanager
def _translated(verb: str, path: str) -> Iterator[None]:
    from gitlab.exceptions import GitlabError  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    try:
        yield
    except GitlabError as exc:
        raise _ours(exc, f"{verb} {path}") from exc
    except RequestException as exc:
        # its text may hold a URL with a query; its class says enough
        raise Transient(
            "GitLab did not answer", call=f"{verb} {path}", error=type(exc).__name__
        ) from exc


def _ours(exc: "GitlabError", call: str) -> Refused | Transient:
    status = exc.response_code or 0
    if status >= 500 or status in _TRY_AGAIN:
        return Transient("GitLab did not answer well", call=call, status=status)
    said = str(exc.error_message)[:200] if status in (400, 403, 422) else ""
    facts = {"call": call, "status": status} | ({"said": said} if said else {})
    return Refused(_WHAT_TO_DO.get(status, "GitLab does not accept this request"), **facts)
