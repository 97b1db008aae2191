"""Builds the world of a function from its environment, once per cold start."""

import os
import secrets
from datetime import UTC, datetime
from functools import cache, cached_property

from adapters.aws.cache_keys import CacheKeys
from adapters.aws.cipher import KmsCipher
from adapters.aws.clients import Clients, clients, slow
from adapters.aws.demand import DemandQueue
from adapters.aws.hook_secrets import HookSecretStore
from adapters.aws.secrets import PoolSecrets, SecretStore, pool_secret
from adapters.aws.settings import OrchestratorSettings
from adapters.gitlab.client import GitLab
from adapters.gitlab.way import Way
from adapters.ledger.call_allowance import FleetAllowance
from adapters.ledger.fleet import FleetRows
from adapters.ledger.history import HistoryRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.runners import RunnerRows
from adapters.ledger.table import Table
from adapters.ledger.trouble_watch import TroubleWatch
from adapters.machines.backend import Backend
from adapters.machines.ec2 import Ec2Backend, Ec2Resources, MachineKind
from adapters.machines.expiry import Expiry, ExpiryTarget
from adapters.machines.lambda_ import LambdaBackend
from adapters.machines.spot_prices import SpotPrices
from fleet.config.reading import FleetConfig, read_config
from fleet.errors import Refused
from fleet.events import name_stack
from fleet.job_event import instance_of
from orchestrator.world import World


def wiring(function: str) -> World:
    """The world of one invocation; its configuration is at most the cache's lifetime old."""
    return _wiring(function).world()


def cloud(function: str) -> tuple[Backend, ...]:
    """The back ends alone: what can end machines when nothing else works."""
    return tuple(_wiring(function).backends().values())


@cache
def _wiring(function: str) -> "Wiring":
    settings = OrchestratorSettings()
    name_stack(settings.stack)
    return Wiring(function, settings, clients())


class Wiring:
    """Clients are made once; configuration and token are read again when they are old."""

    def __init__(self, function: str, settings: OrchestratorSettings, aws: Clients) -> None:
        self._function = function
        self._settings = settings
        self._aws = aws
        self._secrets = SecretStore(aws.secrets, settings.cache_ttl, _now)
        self._table = Table(aws.dynamodb, settings.ledger_table)
        # The key's policy lets scale alone seal.
        cipher = KmsCipher(aws.kms, settings.mailbox_key) if function == "scale" else None
        self._mailboxes = MailboxRows(Table(aws.dynamodb, settings.mailbox_table), cipher)
        self._world: World | None = None
        self._read_at = _now()

    def world(self) -> World:
        """What handlers work with now."""
        at = _now()
        if self._world is None or at - self._read_at > self._settings.cache_ttl:
            self._world = self._make(self._world)
            self._read_at = at
        return self._world

    def _make(self, before: World | None) -> World:
        fleet = FleetRows(self._table)
        stored = fleet.config()
        if stored is None:
            raise Refused("the fleet has no configuration: run `runner-fleet apply`")
        if before is not None and before.config.version == stored.version:
            config = before.config
        else:
            config = read_config(stored.text)
        instance = instance_of(config.gitlab.url)
        prefix = self._settings.pool_secret_prefix
        hook_secrets = HookSecretStore(self._secrets, self._settings.webhook_secret, fleet, _now)
        return World(
            config=config,
            stack=self._settings.stack,
            instance=instance,
            jobs=JobRows(self._table),
            runners=RunnerRows(self._table, self._mailboxes, instance),
            history=HistoryRows(self._table),
            fleet=fleet,
            gitlab=self._gitlab(config, stored.tls_ca),
            queues=self._queues(),
            backends=self.backends(),
            # of open pools only: machines of protected ones never share a token
            pool_token=lambda pool: self._secrets.pool_token(
                pool_secret(prefix, pool, is_protected=False)
            ),
            pool_secrets=PoolSecrets(self._secrets, prefix),
            clock=_now,
            new_id=lambda: secrets.token_hex(6),
            drop_older=hook_secrets.drop_older,
            cache=self._cache.of,
            spot_price=self._spot_prices.usd_per_hour if self._function == "scale" else None,
            applied_at=stored.applied_at,
            removed=tuple(stored.removed),
            tls_ca=stored.tls_ca,
            leaving=stored.leaving,
        )

    def _gitlab(self, config: FleetConfig, tls_ca: str | None) -> GitLab:
        token = self._secrets.gitlab_token(self._settings.gitlab_secret)
        settings = config.gitlab
        way = Way(tls_ca=tls_ca or "", proxy=settings.proxy or "")
        allowance = _allowance(self._table, instance_of(settings.url), settings.calls_per_minute)
        return _gitlab(settings.url, token, allowance, way, self._watch)

    @cached_property
    def _watch(self) -> TroubleWatch:
        """Made once, for it keeps what it knows of the ledger."""
        return TroubleWatch(FleetRows(self._table), _now)

    def _queues(self) -> dict[str, DemandQueue]:
        sqs, names = self._aws.sqs, self._settings
        return {
            "ec2": DemandQueue(sqs, names.ec2_queue_url, names.ec2_dead_letter_url),
            "lambda": DemandQueue(sqs, names.lambda_queue_url, names.lambda_dead_letter_url),
        }

    def backends(self) -> dict[str, Backend]:
        """By name. Route meets no machine, and its start should not pay for their clients."""
        if self._function == "route":
            return {}
        settings = self._settings
        functions = LambdaBackend(
            self._aws.functions,
            settings.runner_function_prefix,
            isolates=settings.tenant_isolation,
        )
        return {"ec2": self._ec2, "lambda": functions}

    @cached_property
    def _ec2(self) -> Ec2Backend:
        """Made once, for it keeps what it learnt of the subnets."""
        names = self._settings
        resources = Ec2Resources(
            stack=names.stack,
            subnets=names.subnets,
            arm64_image=names.arm64_image,
            open=MachineKind(launch_template=names.launch_template, role_id=names.machine_role_id),
            protected=MachineKind(
                launch_template=names.protected_launch_template,
                role_id=names.protected_machine_role_id,
            ),
        )
        target = ExpiryTarget(
            function_arn=names.sweep_arn,
            role_arn=names.expiry_role,
            dead_letter_arn=names.expiry_dead_letter_arn,
            group=names.schedule_group,
        )
        # EC2 takes long to answer a launch of many machines; all else is better asked again soon.
        aws = self._aws.timed(slow()) if self._function == "scale" else self._aws
        return Ec2Backend(aws.ec2, resources, Expiry(self._aws.scheduler, target))

    @cached_property
    def _spot_prices(self) -> SpotPrices:
        """Made once, for it keeps what AWS said."""
        return SpotPrices(self._aws.ec2, _now)

    @cached_property
    def _cache(self) -> CacheKeys:
        names = self._settings
        return CacheKeys(
            self._aws.sts, bucket=names.cache_bucket, role=names.cache_role, environment=os.environ
        )


@cache
def _allowance(table: Table, instance: str, calls_per_minute: int) -> FleetAllowance:
    """One for each limit, so that its lease of calls outlives the configuration's cache."""
    return FleetAllowance(table, instance=instance, calls_per_minute=calls_per_minute, clock=_now)


@cache
def _gitlab(
    url: str, token: str, allowance: FleetAllowance, way: Way, watch: TroubleWatch
) -> GitLab:
    """One client per token."""
    return GitLab(url, token, allowance=allowance, witness=watch, way=way)


def _now() -> datetime:
    return datetime.now(UTC)
