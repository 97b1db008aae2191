"""How a command reaches a GitLab: its address, a token from the environment, the way there."""

import os
import re
from pathlib import Path
from typing import Protocol

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import CALLS_PER_MINUTE, GitLab
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.gitlab.way import DIRECT, Way
from fleet.config.model import GitLabConfig
from fleet.errors import Refused
from fleet.job_event import instance_of
from operations.clock import now

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_TOKEN = re.compile(r"[!-~]+")  # what an HTTP header can carry


class Connect(Protocol):
    """Makes a client of GitLab."""

    def __call__(self, url: str, token: str, way: Way = DIRECT) -> GitLab:
        """One for a URL and a token."""


def connect(url: str, token: str, way: Way = DIRECT) -> GitLab:
    """One GitLab, with a call allowance of its own. `Refused` for a URL that is not valid."""
    try:
        instance_of(url)
    except ValueError as error:
        # An empty address would send the token to gitlab.com.
        raise Refused("write GitLab's address as https://gitlab.example.com") from error
    return GitLab(
        url, token, allowance=OwnAllowance(calls_per_minute=CALLS_PER_MINUTE, clock=now), way=way
    )


def has_token(variable: str) -> bool:
    """Whether the environment has something in this variable."""
    return bool(os.environ.get(variable, "").strip())


def token_in(variable: str) -> str:
    """A GitLab token from the environment. Raises `Refused`, which never has the token."""
    if not _VARIABLE.fullmatch(variable):
        raise Refused("give the name of an environment variable that holds the token")
    if not has_token(variable):
        raise Refused(f"the environment has no GitLab token: put it into {variable}")
    return read_token(os.environ[variable], variable)


def read_token(text: str, where: str) -> str:
    """A GitLab token that stands alone in a text. Raises `Refused`, which never has the text."""
    token = text.strip()
    if not token:
        raise Refused(f"{where} is empty: it must hold a GitLab token and nothing else")
    if not _TOKEN.fullmatch(token):
        raise Refused(
            f"{where} holds no GitLab token: it has a space, a line break or a foreign letter"
        )
    return token


def way_to(gitlab: GitLabConfig, path: Path) -> Way:
    """The way to GitLab in the fleet.toml at this path. Raises `Refused` for a bad tls_ca_file."""
    tls_ca = ""
    if gitlab.tls_ca_file is not None:
        tls_ca = read_tls_ca(path.parent / Path(gitlab.tls_ca_file).expanduser(), at=now())
    return Way(tls_ca=tls_ca, proxy=gitlab.proxy or "")
