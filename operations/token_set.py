"""Puts another GitLab token in force, once GitLab says that it may do what the fleet needs."""

from contextlib import suppress
from dataclasses import dataclass

from adapters.gitlab.client import GitLab
from fleet.config.reading import FleetConfig
from fleet.errors import Refused
from operations.fleet_handle import Deployed, read_applied, way_of
from operations.token_check import TokenNeed, check_token


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """What GitLab says of a token, and what was done with it."""

    user: str  # of the token in GitLab; empty where GitLab does not say
    needs: tuple[TokenNeed, ...]
    is_stored: bool = False  # it is the fleet's token now
    is_change: bool = False  # it was another before

    @property
    def is_good(self) -> bool:
        """Whether no need is known to be unmet."""
        return all(need.is_met is not False for need in self.needs)


def inspect_token(deployed: Deployed, token: str) -> TokenSet:
    """What GitLab says of a token. Raises `Refused` where it does not know it."""
    config, gitlab = _gitlab(deployed, token)
    needs = check_token(config, gitlab, deployed.clock())
    user = ""
    with suppress(Refused):
        user = gitlab.user_name()
    return TokenSet(user=user, needs=needs)


def set_token(deployed: Deployed, token: str) -> TokenSet:
    """Store a token that is good, and have the fleet try it at once; else change nothing.

    The functions use it as soon as their copy of the former one is old, within a minute.
    """
    inspected = inspect_token(deployed, token)
    if not inspected.is_good:
        return inspected
    is_change = store_token(deployed, token)
    fleet = deployed.fleet
    fleet.forget_token_life()
    for trouble in fleet.troubles():
        fleet.drop_trouble(trouble.kind)
    fleet.drop_holds()
    return TokenSet(user=inspected.user, needs=inspected.needs, is_stored=True, is_change=is_change)


def store_token(deployed: Deployed, token: str) -> bool:
    """Store the fleet's GitLab token; whether it was another before."""
    if token == deployed.stored_token():
        return False
    deployed.secrets.store_gitlab_token(deployed.gitlab_secret, token)
    return True


def _gitlab(deployed: Deployed, token: str) -> tuple[FleetConfig, GitLab]:
    stored = deployed.stored()
    config = read_applied(stored)
    return config, deployed.connect(config.gitlab.url, token, way_of(stored))
