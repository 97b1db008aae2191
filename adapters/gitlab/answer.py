"""Whether an answer is GitLab's own, and its content.

Proxies, ingresses, gateways, firewalls and login pages between the fleet and GitLab answer with
GitLab's statuses, too. Only an answer of GitLab's API itself is a fact.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Rails sets it on every answer. Source: gitlab-labkit, `lib/labkit/middleware/rack.rb`. A proxy may
# take it away, so GitLab's wording proves as much.
META = "X-Gitlab-Meta"
# Where GitLab's text is the validation's own, without the number before it. Source: GitLab,
# `lib/api/helpers.rb`, `render_validation_error!`; Grape's own `{"error": "name is missing"}`.
_FREE_WORDS = frozenset({400, 409, 422})
_KEYS = frozenset({"message", "error", "error_description", "scope", "reason", "code"})
# Source: GitLab, `lib/api/api_guard.rb`, `install_error_responders`.
_OAUTH = frozenset(
    {
        "unauthorized",
        "invalid_token",
        "insufficient_scope",
        "dpop_error",
        "restricted_language_server_client_error",
    }
)


class NotGitLabs(Exception):
    """An answer of something else. `facts` hold its status and its content type."""

    def __init__(self, **facts: object) -> None:
        super().__init__()
        self.facts = facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A 4xx of GitLab itself."""

    status: int
    words: str
    code: str | None = None  # of OAuth, such as "insufficient_scope"
    knows_call: bool = True  # False: GitLab has no such route; the object may exist

    @property
    def has_words(self) -> bool:
        """Whether GitLab says more than its status."""
        return self.status not in (401, 404) or self.code is not None

    @property
    def of_token(self) -> bool:
        """Whether GitLab refuses the token as such, whatever it is asked for."""
        return self.status == 401

    @property
    def of_scope(self) -> bool:
        """Whether the token lacks the scope that this call needs."""
        return self.code == "insufficient_scope"


def read_body(status: int, headers: Mapping[str, str], content: bytes) -> Any:
    """The object or list of an answer of 200 or 201. Raises `NotGitLabs`."""
    body = _json(headers, content)
    if status not in (200, 201, 202) or not isinstance(body, dict | list):
        raise _foreign(status, headers)
    return body


def read_deletion(status: int, headers: Mapping[str, str], content: bytes) -> None:
    """GitLab deletes with a 204 and nothing else. Raises `NotGitLabs`."""
    if status != 204 or content or "html" in headers.get("Content-Type", "").lower():
        raise _foreign(status, headers)


def read_refusal(status: int, headers: Mapping[str, str], content: bytes) -> Refusal:
    """GitLab's refusal in a 4xx. Raises `NotGitLabs`."""
    body = _json(headers, content)
    if not isinstance(body, dict) or not {"message", "error"} & body.keys():
        raise _foreign(status, headers)
    code = body.get("error")
    message = body.get("message", code)
    is_numbered = isinstance(message, str) and message.startswith(str(status))
    is_oauth = status in (401, 403) and isinstance(code, str) and code in _OAUTH
    is_free = status in _FREE_WORDS and body.keys() <= _KEYS
    if not (META in headers or is_numbered or is_oauth or is_free):
        raise _foreign(status, headers)
    return Refusal(
        status=status,
        words=_words(body.get("error_description") or message),
        code=code if is_oauth else None,
        knows_call="message" in body or status != 404,
    )


def _json(headers: Mapping[str, str], content: bytes) -> Any:
    """The body; None when it is not JSON."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # cut off, or not GitLab's
        return None


def _words(message: object) -> str:
    text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    return " ".join(text.split())[:200]


def _foreign(status: int, headers: Mapping[str, str]) -> NotGitLabs:
    return NotGitLabs(status=status, type=headers.get("Content-Type", "none")[:40])
