"""Whether GitLab's own API answers at an address. No token goes there."""

from dataclasses import dataclass
from datetime import UTC, datetime

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import CALLS_PER_MINUTE, GitLab
from adapters.gitlab.way import Way
from fleet.errors import FleetError, Refused

# GitLab's own answers to a call without a token: it answers, which is all that is asked.
_WITHOUT_TOKEN = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabAnswer:
    """Whether GitLab answers, else a sentence on the failure, which never quotes the answer."""

    answers: bool
    failure: str = ""


def ask_gitlab(url: str, way: Way) -> GitLabAnswer:
    """Ask the GitLab at this address for its version."""
    allowance = OwnAllowance(calls_per_minute=CALLS_PER_MINUTE, clock=lambda: datetime.now(UTC))
    try:
        GitLab(url, "", allowance=allowance, way=way).version()
    except Refused as error:
        if error.facts.get("status") not in _WITHOUT_TOKEN:
            return GitLabAnswer(answers=False, failure=str(error))
    except FleetError as error:
        return GitLabAnswer(answers=False, failure=str(error))
    return GitLabAnswer(answers=True)
