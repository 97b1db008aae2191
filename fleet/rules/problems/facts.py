"""The facts of the whole fleet, from which its problems follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig
from fleet.holds import Hold
from fleet.hook_scope import HookScope
from fleet.model import Job, Runner
from fleet.rules.budgets import BudgetUse
from fleet.rules.warm import WarmMemory
from fleet.times import HasUtcTimes
from fleet.trouble import Trouble

# After an `apply` the next ticks read every job and pool again; problems wait for that.
CHECKED_WITHIN = timedelta(minutes=5)
# As many jobs within this time, and no webhook of any, are no accident.
SILENT_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookFacts:
    """An unhealthy webhook of the fleet."""

    scope: HookScope
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts(HasUtcTimes):
    """An image of the stack's own that machines start from, and the newest one of its kind."""

    kind: str  # ec2, ec2-arm64, lambda
    used_at: datetime  # when it was built
    newest_at: datetime
    sources: str = ""  # the digest of those that it was built from
    code_sources: str = ""  # of those of the stack's code; empty: an older stack does not say

    @property
    def is_of_other_code(self) -> bool:
        """Whether the stack's code, from which machines get their work, is of other sources."""
        return self.code_sources not in {"", self.sources}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDiscovery:
    """How the fleet learned of one of the last jobs."""

    by_webhook: bool  # any webhook of it arrived
    is_listed: bool  # reconcile read it in GitLab's list first


@dataclass(frozen=True, slots=True, kw_only=True)
class LastSweep(HasUtcTimes):
    """What the last sweep could not end, and which other fleets' runners it met."""

    at: datetime
    leaked: tuple[str, ...] = ()  # runners, machines and runner records
    neighbours: tuple[str, ...] = ()  # other stacks with runners beside ours in GitLab


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """One pool with its backlog and its runners."""

    name: str
    config: PoolConfig | None  # None: it is no longer in fleet.toml
    refused: str | None = None  # AWS's words about the configuration in force
    verified_at: datetime | None = None  # when it last showed itself to GitLab
    token_expires_at: datetime | None = None  # of its runner record
    renewal_failed_at: datetime | None = None  # since when that cannot be renewed
    renewal_failed: str = ""  # and why
    warm: WarmMemory = field(default_factory=WarmMemory)
    removed_at: datetime | None = None  # when `apply` took it out of fleet.toml
    runners: tuple[Runner, ...] = ()
    backlog: tuple[Job, ...] = ()  # jobs that wait in it, oldest first
    full_since: datetime | None = None  # since then jobs wait because of its ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """The whole fleet at `at`: every open job is in a pool's backlog or in `unpooled`."""

    at: datetime
    config: FleetConfig
    applied_at: datetime
    token_ends_on: date | None = None  # as GitLab said within the last days
    troubles: tuple[Trouble, ...] = ()  # with GitLab, for all of the fleet
    hooks: tuple[HookFacts, ...] = ()  # those that do not work
    holds: tuple[Hold, ...] = ()  # where GitLab gives no credential for machines
    dead: Mapping[str, int] = field(default_factory=dict)  # dead letters, by queue
    pools: tuple[PoolFacts, ...] = ()
    unpooled: tuple[Job, ...] = ()  # jobs that run, and jobs that wait without a pool
    unreadable: tuple[str, ...] = ()  # rows of the fleet's tables that were left out, by their keys

    discoveries: tuple[JobDiscovery, ...] = ()  # the jobs that changed within `SILENT_WITHIN`
    swept: LastSweep | None = None
    budgets: tuple[BudgetUse, ...] = ()
    images: tuple[ImageFacts, ...] = ()  # of those kinds that the pools use

    @property
    def is_checked(self) -> bool:
        """Whether the fleet had the time to read everything since the last `apply`."""
        return self.at - self.applied_at >= CHECKED_WITHIN
