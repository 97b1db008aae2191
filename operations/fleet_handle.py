"""A deployed fleet, which the commands reach by its stack's name over AWS's API."""

import getpass
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from adapters.aws.clients import Clients, aws_call
from adapters.aws.demand import DemandQueue
from adapters.aws.secrets import NOT_THERE, SecretStore
from adapters.gitlab.client import CALLS_PER_MINUTE, GitLab, OwnAllowance
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.gitlab.way import DIRECT, Way
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.history import HistoryRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.mailboxes import Mailboxes
from adapters.ledger.table import Table
from fleet.config.model import LAMBDA_WALL
from fleet.config.reading import FleetConfig, GitLabConfig, read_config
from fleet.errors import Refused
from fleet.job_event import instance_of
from fleet.rules.problems import ImageFacts
from operations.image_ages import ImageAges
from operations.stacks import outputs_of


class Connect(Protocol):
    """Makes a client of GitLab."""

    def __call__(self, url: str, token: str, way: Way = DIRECT) -> GitLab:
        """One for a URL and a token."""


LARGEST_RUNNER = "8GB"  # of a stack that does not say
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_TOKEN = re.compile(r"[!-~]+")  # what an HTTP header can carry


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The resources of a stack. Tests put their own into the command's context."""

    stack: str
    table: Table
    mail: Table  # the mailboxes'
    secrets: SecretStore
    queues: Mapping[str, DemandQueue]  # by back end
    dead_letters: Mapping[str, DemandQueue]  # what nothing reads: failed events, failed expiries
    gitlab_secret: str
    pool_secret_prefix: str
    lambda_wall: timedelta = LAMBDA_WALL  # the stack's LambdaTimeout
    largest_runner: str = LARGEST_RUNNER  # the stack's LargestRunner
    connect: Connect = connect
    clock: Callable[[], datetime] = now
    pause: Callable[[float], None] = time.sleep
    who: Callable[[], str] = getpass.getuser  # the person, as AWS knows them
    # What the cloud of a machine kept of it: by its id, between two times.
    read_console: Callable[[str, datetime, datetime], str] | None = None
    images: Callable[[], tuple[ImageFacts, ...]] = tuple  # of the machines, by their ages

    @property
    def fleet(self) -> FleetRows:
        """Configuration, pools and hooks."""
        return FleetRows(self.table)

    @property
    def jobs(self) -> JobRows:
        """Jobs and their history."""
        return JobRows(self.table)

    @property
    def history(self) -> HistoryRows:
        """Past runs: the ended jobs and machines of 90 days."""
        return HistoryRows(self.table)

    @property
    def mailboxes(self) -> Mailboxes:
        """The machines' mailboxes. No person writes a credential there."""
        return Mailboxes(self.mail)

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The rows that a listing left out so far, by their keys."""
        return tuple(sorted(self.table.unreadable | self.mail.unreadable))

    def stored(self) -> StoredConfig:
        """What was applied last, and when. `Refused` before the first time."""
        stored = self.fleet.config()
        if stored is None:
            raise Refused("the fleet has no configuration: run `runner-fleet apply`")
        return stored

    def config(self) -> FleetConfig:
        """The configuration in force. `Refused` before the first `apply`."""
        return read_applied(self.stored())

    def stored_token(self) -> str | None:
        """The fleet's own GitLab token, or None before it has one."""
        try:
            return self.secrets.gitlab_token(self.gitlab_secret)
        except Refused as error:
            if error.facts.get("code") != NOT_THERE and "fields" not in error.facts:
                raise
            return None

    def own_token(self, without: str) -> str:
        """The same. Raises `Refused` with the sentence `without` before it has one."""
        token = self.stored_token()
        if token is None:
            raise Refused(without, secret=self.gitlab_secret)
        return token


def find(stack: str, aws: Clients) -> Deployed:
    """The fleet of this stack. Raises `Refused` without a stack or access to it."""
    outputs = outputs_of(aws, stack)
    try:
        return _deployed(stack, aws, outputs)
    except KeyError as error:
        raise Refused(
            "this stack is not a runner fleet, or an older one: deploy it again",
            stack=stack,
            lacks=error.args[0],
        ) from error


def caller(aws: Clients) -> str:
    """Who calls AWS here: the last part of the identity's name."""
    with aws_call("sts.GetCallerIdentity"):
        return aws.sts.get_caller_identity()["Arn"].rpartition(":")[2]


def read_applied(stored: StoredConfig) -> FleetConfig:
    """The configuration that `apply` stored."""
    return read_config(stored.text, name="the fleet.toml that was applied")


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


def gitlab_of(deployed: Deployed, token_env: str) -> GitLab | None:
    """GitLab with the token of the environment, else with the fleet's own; None without either."""
    if has_token(token_env):
        token = token_in(token_env)
    else:
        try:
            token = deployed.stored_token() or ""
        except Refused:
            return None
    if not token:
        return None
    stored = deployed.stored()
    return deployed.connect(read_applied(stored).gitlab.url, token, way_of(stored))


def way_of(stored: StoredConfig) -> Way:
    """The way to GitLab that `apply` stored."""
    return Way(tls_ca=stored.tls_ca or "", proxy=read_applied(stored).gitlab.proxy or "")


def way_to(gitlab: GitLabConfig, path: Path) -> Way:
    """The way to GitLab in the fleet.toml at this path. Raises `Refused` for a bad tls_ca_file."""
    tls_ca = ""
    if gitlab.tls_ca_file is not None:
        tls_ca = read_tls_ca(path.parent / Path(gitlab.tls_ca_file).expanduser(), at=now())
    return Way(tls_ca=tls_ca, proxy=gitlab.proxy or "")


def _wall(outputs: Mapping[str, str]) -> timedelta:
    """When Lambda ends a runner; an older stack does not say."""
    seconds = outputs.get("LambdaTimeout")
    return timedelta(seconds=int(seconds)) if seconds else LAMBDA_WALL


def _deployed(stack: str, aws: Clients, outputs: Mapping[str, str]) -> Deployed:
    def queue(output: str, dead_letters: str = "") -> DemandQueue:
        return DemandQueue(aws.sqs, outputs[output], outputs[dead_letters] if dead_letters else "")

    return Deployed(
        stack=stack,
        # Rows that cannot be read are a problem of `status`, not a line in between its own.
        table=Table(aws.dynamodb, outputs["LedgerTable"], warn=lambda _: None),
        mail=Table(aws.dynamodb, outputs["MailboxTable"], warn=lambda _: None),
        secrets=SecretStore(aws.secrets, timedelta(0), now),
        queues={
            "ec2": queue("Ec2QueueUrl", "Ec2DeadLetterUrl"),
            "lambda": queue("LambdaQueueUrl", "LambdaDeadLetterUrl"),
        },
        dead_letters={
            "events": queue("EventDeadLetterUrl"),
            "expiries": queue("ExpiryDeadLetterUrl"),
        },
        who=lambda: caller(aws),
        images=ImageAges(aws, stack, now),
        gitlab_secret=outputs["GitlabSecret"],
        pool_secret_prefix=outputs["PoolSecretPrefix"],
        lambda_wall=_wall(outputs),
        largest_runner=outputs.get("LargestRunner", LARGEST_RUNNER),
    )
