"""Trouble with GitLab as such or with some calls: a dead token, TLS, a missing scope."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fleet.times import HasUtcTimes

# Kinds; any other is a call whose scope the token lacks, as `kind_of` writes it.
TOKEN = "token"  # noqa: S105  # GitLab refuses the fleet's token whatever it is asked
TLS = "tls"  # the certificate at GitLab's address is not trusted
_NUMBER = re.compile(r"/\d+(?=/|$)")
DO_RENEW = "make a new token, then `runner-fleet token set`"
_SET = "`runner-fleet token set`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(HasUtcTimes):
    """Since `since` GitLab refuses all calls, or calls of one kind; a person must act."""

    kind: str
    since: datetime
    call: str  # the first that failed
    words: str  # GitLab's, or the library's

    @property
    def is_general(self) -> bool:
        """Whether every call is refused."""
        return self.kind in {TOKEN, TLS}

    @property
    def says(self) -> str:
        """The problem as a sentence, with its start and GitLab's or the library's words."""
        since = f"since {self.since:%F %R} UTC: {self.words}"
        if self.kind == TLS:
            return f"GitLab's certificate is not trusted {since}"
        what = "" if self.is_general else f" for {self.kind}"
        return f"GitLab refuses the fleet's token{what} {since}"

    @property
    def do(self) -> str:
        """What to do about it."""
        if self.kind == TLS:
            return "set tls_ca_file of [gitlab] in fleet.toml, then `runner-fleet apply`"
        if self.kind == TOKEN:
            return DO_RENEW
        return f"give it a token with the scopes that `runner-fleet validate` names: {_SET}"


# A token is renewed this long before its last day; GitLab's own mail is sent a week before.
RENEW_WITHIN = timedelta(days=14)


def ends_soon(expires_on: date | None, at: datetime) -> bool:
    """Whether a token should be renewed now. GitLab refuses it from the start of that day, UTC."""
    return expires_on is not None and expires_on - at.date() < RENEW_WITHIN


def kind_of(call: str) -> str:
    """A call without its ids: all calls of a kind need the same scope."""
    return _NUMBER.sub("/:id", call)
