"""The HTTP session under python-gitlab: every request is counted, a 429 is heeded."""

from typing import Any

import requests

from adapters.gitlab_api import Budget
from fleet.errors import Transient

LONGEST_PAUSE_S = 600.0
USUAL_PAUSE_S = 60.0  # GitLab counts by the minute


class BudgetedSession(requests.Session):
    """Takes from the budget before each request, redirects and further pages included."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send it. Raises `Transient` when the budget is used up or GitLab answers 429."""
        self._budget.take()
        response = super().send(request, **kwargs)
        if response.status_code == 429:
            wait_s = pause_s(response.headers.get("Retry-After"))
            self._budget.hold(wait_s)
            raise Transient("GitLab's rate limit", status=429, retry_after_s=wait_s)
        return response

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """On a redirect to another host leave our token behind; requests drops only its own."""
        old, new = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(old, new):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("PRIVATE-TOKEN", None)
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]


def pause_s(retry_after: str | None) -> float:
    """Seconds to stay away; a minute where GitLab names none that we can read."""
    if retry_after is None or not retry_after.strip().isdecimal():
        return USUAL_PAUSE_S
    return min(float(retry_after), LONGEST_PAUSE_S)
