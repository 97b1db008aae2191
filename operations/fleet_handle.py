"""A deployed fleet, which the commands reach by its stack's name over AWS's API."""

import getpass
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from adapters.aws.clients import Clients
from adapters.aws.demand import DemandQueue
from adapters.aws.secrets import NOT_THERE, SecretStore
from adapters.gitlab.client import GitLab
from adapters.gitlab.way import Way
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.history import HistoryRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.table import Table
from fleet.config.model import LAMBDA_WALL
from fleet.config.reading import FleetConfig, read_config
from fleet.errors import Refused
from fleet.rules.problems.facts import ImageFacts
from operations.account import caller
from operations.clock import now
from operations.gitlab_access import Connect, connect, has_token, token_in
from operations.image_ages import ImageAges
from operations.stacks import outputs_of

LARGEST_RUNNER = "8GB"  # of a stack that does not say


class QueueDepth(Protocol):
    """A queue as a person meets it: its policy lets the fleet's own functions alone send."""

    def depth(self) -> int:
        """Messages that wait."""

    def dead(self) -> int:
        """Its dead letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The resources of a stack. Tests put their own into the command's context."""

    stack: str
    table: Table
    mail: Table  # the mailboxes'
    secrets: SecretStore
    queues: Mapping[str, QueueDepth]  # by back end
    dead_letters: Mapping[str, QueueDepth]  # what nothing reads: failed events, failed expiries
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
    def mailboxes(self) -> MailboxRows:
        """The machines' mailboxes. No person writes a credential there."""
        return MailboxRows(self.mail)

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


def read_applied(stored: StoredConfig) -> FleetConfig:
    """The configuration that `apply` stored."""
    return read_config(stored.text, name="the applied fleet.toml")


def check_pool(config: FleetConfig, pool: str) -> None:
    """Raise `Refused` for a pool that fleet.toml lacks."""
    if config.pool(pool) is None:
        names = ", ".join(known.name for known in config.pools)
        raise Refused(f"fleet.toml has no pool {pool}; it has {names}")


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
        who=lambda: caller(aws).name,
        images=ImageAges(aws, stack, now),
        gitlab_secret=outputs["GitlabSecret"],
        pool_secret_prefix=outputs["PoolSecretPrefix"],
        lambda_wall=_wall(outputs),
        largest_runner=outputs.get("LargestRunner", LARGEST_RUNNER),
    )
