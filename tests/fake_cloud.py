"""A clock, a demand queue, a back end and a secret store, in memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from adapters.aws.demand import BATCH, Demand, DemandQueue, Received
from adapters.aws.secrets import PoolToken, SecretStore
from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, Machine, Shortfall
from fleet.aws_errors import ErrorKind
from fleet.config.model import PoolConfig
from fleet.errors import FleetError, Refused
from fleet.rules.capacity import CapacityPool
from fleet.rules.demand import hidden_s
from fleet.webhook_secrets import AllWebhookSecrets

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
VISIBILITY_S = 30


def later(seconds: float) -> datetime:
    """The time so many seconds after `AT`."""
    return AT + timedelta(seconds=seconds)


class Clock:
    """A clock that only `go` moves."""

    def __init__(self, at: datetime = AT) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def go(self, seconds: float) -> datetime:
        self.at += timedelta(seconds=seconds)
        return self.at


@dataclass(slots=True, kw_only=True)
class _Message:
    demand: Demand | None
    visible_at: datetime
    times: int = 0


class FakeQueue(DemandQueue):
    """`adapters.aws.demand.DemandQueue` in memory: what is received is hidden for a while."""

    def __init__(self, clock: Clock, url: str = "queue") -> None:
        self._clock = clock
        self._url = url
        self.messages: dict[str, _Message] = {}
        self.failing: FleetError | None = None
        self.unread: FleetError | None = None  # raised by `depth` and `receive`
        self._sent = 0
        self._dead_letters: FakeQueue | None = None

    @property
    def dead_letters(self) -> "FakeQueue":
        self._dead_letters = self._dead_letters or FakeQueue(self._clock, f"{self._url}-dead")
        return self._dead_letters

    @property
    def buried(self) -> list[Demand]:
        return self.dead_letters.demands

    @property
    def demands(self) -> list[Demand]:
        return [message.demand for message in self.messages.values() if message.demand]

    def depth(self) -> int:
        if self.unread:
            raise self.unread
        return len(self.messages)

    def dead(self) -> int:
        return self.dead_letters.depth()

    def send(self, demands: Iterable[Demand]) -> None:
        if self.failing:
            raise self.failing
        for demand in demands:
            self._add(demand)

    def litter(self) -> None:
        """Put a message there that is not a demand."""
        self._add(None)

    def _add(self, demand: Demand | None) -> None:
        self._sent += 1
        self.messages[str(self._sent)] = _Message(demand=demand, visible_at=self._clock())

    def bury(self, demand: Demand) -> None:
        self.dead_letters.send([demand])

    def receive(self) -> tuple[Received, ...]:
        if self.unread:
            raise self.unread
        at = self._clock()
        taken = [
            (key, message) for key, message in self.messages.items() if message.visible_at <= at
        ][:BATCH]
        for _, message in taken:
            message.times += 1
            message.visible_at = at + timedelta(seconds=VISIBILITY_S)
        return tuple(
            Received(demand=message.demand, receipt=k, times=message.times) for k, message in taken
        )

    def delete(self, messages: Sequence[Received]) -> None:
        for message in messages:
            self.messages.pop(message.receipt, None)

    def postpone(self, messages: Sequence[Received]) -> None:
        for message in messages:
            hidden = timedelta(seconds=hidden_s(message.times))
            self.messages[message.receipt].visible_at = self._clock() + hidden


@dataclass(slots=True, kw_only=True)
class FakeBackend:
    """A third back end, for tests only: as many machines as `room`, then `short`."""

    clock: Clock
    name: str = "tests"
    room: int = 1_000
    short: Shortfall = field(
        default_factory=lambda: Shortfall(
            kind=ErrorKind.CAPACITY,
            code="InsufficientInstanceCapacity",
            capacity=None,
            message="there is none",
        )
    )
    places: tuple[CapacityPool, ...] = ()
    orders: list[LaunchOrder] = field(default_factory=list)
    shown: dict[str, Machine] = field(default_factory=dict)
    shows_machines: bool = True
    ended: list[str] = field(default_factory=list)
    failing: FleetError | None = None  # raised by `launch` and `end`
    _answers: dict[str, LaunchResult] = field(default_factory=dict)

    @property
    def ends_alone(self) -> bool:
        """As Lambda, which shows no machines and ends none."""
        return not self.shows_machines

    def capacity_pools(self, pool: PoolConfig) -> tuple[CapacityPool, ...]:
        return self.places

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        """One machine per runner while there is room; the same order again launches nothing."""
        if self.failing:
            raise self.failing
        if order.launch_id not in self._answers:
            self._answers[order.launch_id] = self._launch(pool, order)
            self.orders.append(order)
        return self._answers[order.launch_id]

    def _launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        names = order.runner_ids[: self.room]
        self.room -= len(names)
        launched = [
            Launched(
                runner_id=name,
                machine_id=f"m-{name}",
                mailbox=f"box-m-{name}",
                capacity=order.try_in[0] if order.try_in else None,
            )
            for name in names
        ]
        for machine in launched:
            self.shown[machine.machine_id] = Machine(
                machine_id=machine.machine_id,
                alive=True,
                launched_at=self.clock(),
                launch_id=order.launch_id,
                pool=pool.name,
                expires_at=order.expires_at,
            )
        short = () if len(names) == len(order.runner_ids) else (self.short,)
        return LaunchResult(launched=tuple(launched), shortfalls=short)

    def end(self, machine_ids: Sequence[str]) -> None:
        if self.failing:
            raise self.failing
        self.ended += machine_ids
        for machine_id in machine_ids:
            self.die(machine_id)

    def die(self, machine_id: str) -> None:
        """The machine ends by itself."""
        if machine_id in self.shown:
            self.shown[machine_id] = replace(self.shown[machine_id], alive=False)

    def mailboxes(self, machine_id: str) -> tuple[str, ...]:
        return (f"box-{machine_id}",)

    def machine(self, machine_id: str) -> Machine | None:
        return self.shown.get(machine_id) if self.shows_machines else None

    def machines(self) -> tuple[Machine, ...] | None:
        return tuple(self.shown.values()) if self.shows_machines else None


class FakeSecrets(SecretStore):
    """`adapters.aws.secrets.SecretStore` in memory."""

    def __init__(self) -> None:
        self.pools: dict[str, PoolToken] = {}
        self.gitlab: dict[str, str] = {}
        self.webhooks: dict[str, AllWebhookSecrets] = {}

    def webhook_secrets(self, name: str, *, doubted: bool = False) -> AllWebhookSecrets:
        return self.webhooks.get(name, {})

    def newest_webhook_secrets(self, name: str) -> AllWebhookSecrets:
        return self.webhook_secrets(name)

    def gitlab_token(self, name: str) -> str:
        if name not in self.gitlab:
            raise Refused(call="secretsmanager.GetSecretValue", code="ResourceNotFoundException")
        return self.gitlab[name]

    def pool_token(self, name: str) -> PoolToken:
        if name not in self.pools:
            raise Refused(call="secretsmanager.GetSecretValue", code="ResourceNotFoundException")
        return self.pools[name]

    def find_pool_token(self, name: str) -> PoolToken | None:
        return self.pools.get(name)

    def store_webhook_secrets(self, name: str, secrets: AllWebhookSecrets) -> None:
        self.webhooks[name] = secrets

    def store_gitlab_token(self, name: str, token: str) -> None:
        self.gitlab[name] = token

    def store_pool_token(self, name: str, pool: PoolToken) -> None:
        self.pools[name] = pool

    def delete_pool_token(self, name: str) -> None:
        self.pools.pop(name, None)
