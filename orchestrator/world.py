"""What every handler works with: the ledger, GitLab, queues and back ends of one fleet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.aws.cache_keys import CacheScope
from adapters.aws.demand import DemandQueue
from adapters.aws.secrets import PoolSecrets, PoolToken
from adapters.gitlab.client import GitLab
from adapters.ledger.fleet import FleetRows
from adapters.ledger.history import HistoryRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.runners import RunnerRows
from adapters.machines.backend import Backend
from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig
from fleet.errors import Refused
from fleet.machine.mailbox import CacheBucket
from fleet.model import Runner
from fleet.rules.capacity import CapacityPool
from fleet.rules.limits import shares_record
from fleet.rules.runner_record import read_record_name, runner_record_name
from fleet.times import iso
from fleet.webhook_secrets import WebhookSecrets


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Collaborators of one invocation. `clock` gives aware UTC, `new_id` twelve hex digits."""

    config: FleetConfig
    stack: str  # this fleet's, among those that one GitLab may serve
    instance: str  # of GitLab, as job keys name it
    jobs: JobRows
    runners: RunnerRows
    history: HistoryRows
    fleet: FleetRows
    gitlab: GitLab
    queues: Mapping[str, DemandQueue]  # by back end
    backends: Mapping[str, Backend]  # by name
    pool_token: Callable[[str], PoolToken]  # of a pool whose machines share it
    pool_secrets: PoolSecrets  # reconcile renews them
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    drop_older: Callable[[str, str], WebhookSecrets] | None = None  # see `HookSecretStore`
    cache: Callable[[CacheScope], CacheBucket] | None = None
    applied_at: datetime | None = None  # when `apply` ran last; None: it is not known
    removed: tuple[str, ...] = ()  # pools that `apply` took away in the last days
    tls_ca: str | None = None  # PEM of the authority that GitLab's certificate is from
    spot_price: Callable[[CapacityPool | None], float | None] | None = None  # USD an hour
    leaving: tuple[str, ...] = ()  # pools that `apply` took away and that may have runners still

    @property
    def applied(self) -> str | None:
        """What tells the last `apply` from every other, also of the same file."""
        return iso(self.applied_at)

    def pool(self, name: str) -> PoolConfig | None:
        """The configuration of a pool; None when `apply` took it away."""
        return next((pool for pool in self.config.pools if pool.name == name), None)

    def description(self, runner_id: str) -> str:
        """What GitLab shows for a runner record: whose it is, and of which fleet."""
        return runner_record_name(runner_id, self.stack)

    def runner_described(self, description: str) -> str | None:
        """The id of the runner of this fleet whose record is described so; None when not ours."""
        named = read_record_name(description)
        return named.runner_id if named and named.stack == self.stack else None

    def neighbour(self, description: str) -> str | None:
        """The other stack whose runner record is described so; None for any other record."""
        named = read_record_name(description)
        return named.stack if named and named.stack != self.stack else None

    def shares_record(self, pool: str | None) -> bool:
        """Whether the machines of a pool share one runner record, and its token."""
        named = self.pool(pool) if pool else None
        return shares_record(self.config, named)

    def ends_alone(self, runner: Runner) -> bool:
        """Whether a runner's machine cannot be ended from outside."""
        backend = self.backends.get(runner.backend)
        return backend is not None and backend.ends_alone

    def backend(self, pool: PoolConfig) -> Backend:
        """The back end of a pool."""
        try:
            return self.backends[pool.backend]
        except KeyError:
            raise Refused("this stack has no such back end", backend=pool.backend) from None
