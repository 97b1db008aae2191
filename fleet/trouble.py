"""That GitLab cannot be used, as such or for some calls: what is remembered of it and said."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fleet.times import HasUtcTimes

# Kinds; any other is a call whose scope the token lacks, as `kind_of` writes it.
TOKEN = "token"  # noqa: S105  # GitLab refuses the fleet's token whatever it is asked
TLS = "tls"  # whoever answers at GitLab's address is not proven to be GitLab
_NUMBER = re.compile(r"/\d+(?=/|$)")
DO_RENEW = "make a new token, then `runner-fleet apply --gitlab-token-env GITLAB_TOKEN`"
_APPLY = "`runner-fleet apply --gitlab-token-env GITLAB_TOKEN`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(HasUtcTimes):
    """Nothing, or not everything, can be asked of GitLab since then; a person must mend it."""

    kind: str
    since: datetime
    call: str  # the first that failed
    words: str  # GitLab's, or the library's

    @property
    def is_general(self) -> bool:
        """Whether nothing at all can be asked."""
        return self.kind in {TOKEN, TLS}

    @property
    def says(self) -> str:
        """What is wrong, since when, and in whose words."""
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
        return f"give it a token with the scopes that `runner-fleet validate` names: {_APPLY}"


# So long before its last day a token should be renewed: GitLab's own mail comes a week before.
RENEW_WITHIN = timedelta(days=14)


def ends_soon(expires_on: date | None, at: datetime) -> bool:
    """Whether a token should be renewed now. GitLab refuses it from the start of that day, UTC."""
    return expires_on is not None and expires_on - at.date() < RENEW_WITHIN


def kind_of(call: str) -> str:
    """A call without the numbers of what it is about: all of a kind need the same scope."""
    return _NUMBER.sub("/:id", call)
