"""What `deploy` and `apply` would change, before they do."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import yaml
from botocore.exceptions import ClientError

from adapters.aws.clients import Clients, aws_call
from adapters.ledger.runners import RunnerRows
from fleet.config.model import PoolConfig
from fleet.config.reading import raw_tables, read_config
from fleet.job_event import instance_of
from fleet.month import MonthUse, month_cost
from fleet.prices import DISK_GB
from infra.compose import compose
from infra.package import TEMPLATE, sources_version
from operations.fleet_handle import Deployed
from operations.stacks import find_stack

JOBS = (0, 1_000, 50_000)  # of a month


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """One key of a table, dotted, with its values as the file writes them; None: not there."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChange:
    """One pool that is added, changed or removed, with what it has at present."""

    name: str
    word: Literal["add", "change", "remove"]
    keys: tuple[KeyChange, ...] = ()
    living: int = 0  # its runners, whose jobs run to their end
    waiting: int = 0  # jobs that wait there, which go to another pool that fits or to none


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMonth:
    """The cost of a month in USD with so many jobs, all in one pool; None: no known price."""

    jobs: int
    pool: str
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPlan:
    """What `apply` would change. `before` is the version in force, None before the first one."""

    before: str | None
    after: str
    gitlab: tuple[KeyChange, ...] = ()
    pools: tuple[PoolChange, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything but comments would be different."""
        return bool(self.gitlab or self.pools)

    @property
    def removed(self) -> tuple[PoolChange, ...]:
        """The pools that go."""
        return tuple(pool for pool in self.pools if pool.word == "remove")


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What `deploy` would change: versions of the sources, and resources by their logical ids."""

    before: str | None  # null without a stack, empty where it does not say
    after: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether `deploy` has anything to do."""
        return self.before != self.after or bool(self.added or self.changed or self.removed)


def plan_config(text: str, deployed: Deployed | None) -> ConfigPlan:
    """Compare the text of a fleet.toml with the one in force. `ConfigError` for a wrong one."""
    config = read_config(text)
    stored = deployed.fleet.config() if deployed is not None else None
    if deployed is None or stored is None:
        return _compare({}, text, config.version, before=None)
    instance = instance_of(config.gitlab.url)
    runners = RunnerRows(deployed.table, deployed.mailboxes, instance)
    return _compare(
        raw_tables(stored.text),
        text,
        config.version,
        before=stored.version,
        living=lambda pool: len(runners.live(pool)),
        waiting=lambda pool: len(deployed.jobs.waiting_in(pool)),
    )


def months(pools: Sequence[PoolConfig], *, has_snapshot: bool) -> tuple[PlannedMonth, ...]:
    """A month without jobs, and with many, in the first pool of each back end.

    `has_snapshot`: the webhook starts from one.
    """
    first = {pool.backend: pool for pool in reversed(pools)}
    uses = {pool.name: _use(pool, len(pools)) for pool in pools if pool in first.values()}
    if not has_snapshot:
        uses = {name: replace(use, snapshot_gb=Decimal(0)) for name, use in uses.items()}
    return tuple(
        PlannedMonth(jobs=jobs, pool=name, usd=None if cost is None else round(float(cost.usd), 2))
        for jobs in JOBS
        for name, use in (list(uses.items())[:1] if jobs == 0 else uses.items())
        for cost in (month_cost(replace(use, jobs=jobs)),)
    )


def _use(pool: PoolConfig, pools: int) -> MonthUse:
    is_lambda = pool.backend == "lambda"
    return MonthUse(
        jobs=0,
        instance_type=None if is_lambda else pool.instance_types[0],
        market="on-demand" if pool.market == "on-demand" else "spot",
        disk_gb=pool.disk_gb or DISK_GB,
        memory_gb=pool.memory_gb,
        pools=pools,
    )


def plan_stack(aws: Clients, stack: str) -> StackPlan:
    """Compare the stack with the template and the sources that are here."""
    after = sources_version()
    deployed = find_stack(aws, stack)
    wanted = compose(TEMPLATE.read_text())["Resources"]
    if deployed is None or deployed["StackStatus"] == "DELETE_COMPLETE":
        return StackPlan(before=None, after=after, added=tuple(wanted))
    outputs = {output["OutputKey"]: output["OutputValue"] for output in deployed.get("Outputs", [])}
    existing = _resources(aws, stack)
    return StackPlan(
        before=outputs.get("Version", ""),
        after=after,
        added=tuple(name for name in wanted if name not in existing),
        changed=tuple(
            name for name in wanted if name in existing and existing[name] != wanted[name]
        ),
        removed=tuple(name for name in existing if name not in wanted),
    )


def _resources(aws: Clients, stack: str) -> Mapping[str, Any]:
    """Those of the stack's template; of one that cannot be read none."""
    try:
        with aws_call("cloudformation.GetTemplate", passing=("ValidationError",)):
            body: Any = aws.cloudformation.get_template(StackName=stack)["TemplateBody"]
    except ClientError:
        return {}
    template = yaml.load(body, Loader=yaml.CSafeLoader) if isinstance(body, str) else body
    resources: Mapping[str, Any] = template.get("Resources", {})
    return resources


def _compare(  # noqa: PLR0913  # what is in force, and what is asked about a pool
    before_tables: Mapping[str, Any],
    text: str,
    after: str,
    *,
    before: str | None,
    living: Callable[[str], int] = lambda _: 0,
    waiting: Callable[[str], int] = lambda _: 0,
) -> ConfigPlan:
    tables = raw_tables(text)
    old, new = before_tables.get("pools", {}), tables["pools"]
    pools = [
        PoolChange(name=name, word="add", keys=tuple(_keys({}, table)))
        for name, table in new.items()
        if name not in old
    ]
    pools += [
        PoolChange(
            name=name, word="change", keys=tuple(_keys(old[name], table)), living=living(name)
        )
        for name, table in new.items()
        if name in old and old[name] != table
    ]
    pools += [
        PoolChange(name=name, word="remove", living=living(name), waiting=waiting(name))
        for name in old
        if name not in new
    ]
    gitlab = tuple(_keys(before_tables.get("gitlab", {}), tables["gitlab"]))
    return ConfigPlan(before=before, after=after, gitlab=gitlab, pools=tuple(pools))


def _keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[KeyChange]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for key in dict.fromkeys([*new, *old]):
        if old.get(key) != new.get(key):
            yield KeyChange(key=key, before=old.get(key), after=new.get(key))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key of the table and of the tables in it, dotted."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _written(value)


def _written(value: Any) -> str:
    """The value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(_written(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_written(item)}' for key, item in value.items())}}}"
    return str(value)
