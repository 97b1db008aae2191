"""Budgets of a day, UTC: which pools and projects have used theirs up. Pure.

A machine counts whole on the day of its end; one that lives counts what it has cost so far.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from fleet.config.reading import FleetConfig
from fleet.model import Job, Runner
from fleet.past import NANO
from fleet.reasons import Reason
from fleet.rules.past import MachinePart, machine_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was spent today, in 10**-9 USD, by pool and by project's number."""

    pools: Mapping[str, int] = field(default_factory=dict)
    projects: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """A budget and what is used of it today."""

    name: str  # a pool, or a project as fleet.toml names it
    is_project: bool
    usd_per_day: Decimal
    used_usd: Decimal

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is launched for it until midnight, UTC."""
        return self.used_usd >= self.usd_per_day


def has_budgets(config: FleetConfig) -> bool:
    """Whether anything is to be counted."""
    return bool(config.budgets.projects) or any(pool.budget_usd_per_day for pool in config.pools)


def with_living(
    closed: Spending, runners: Iterable[Runner], config: FleetConfig, at: datetime
) -> Spending:
    """The spending of ended machines with that of live ones added."""
    pools, projects = defaultdict(int, closed.pools), defaultdict(int, closed.projects)
    for runner in runners:
        part = MachinePart(
            runner=runner,
            steps=(),
            reason=Reason.HEALTHY,
            ended_at=at,
            pool=config.pool(runner.pool),
        )
        nano = machine_price(part) or 0
        pools[runner.pool] += nano
        if runner.works_for is not None:
            projects[runner.works_for] += nano
    return Spending(pools=dict(pools), projects=dict(projects))


def pool_use(config: FleetConfig, spending: Spending, pool: str) -> BudgetUse | None:
    """The budget of a pool; None where it has none."""
    configured = config.pool(pool)
    if configured is None or configured.budget_usd_per_day is None:
        return None
    return _use(pool, configured.budget_usd_per_day, spending.pools.get(pool, 0), is_project=False)


def project_use(config: FleetConfig, spending: Spending, job: Job) -> BudgetUse | None:
    """The budget of a job's project, named by its number or by its path; None without one."""
    by_path = {name.lower(): name for name in config.budgets.projects}
    name = by_path.get(str(job.project_id)) or by_path.get(job.project_path.lower())
    if name is None:
        return None
    used = spending.projects.get(job.project_id, 0)
    return _use(name, config.budgets.projects[name], used, is_project=True)


def projects_used_up(
    config: FleetConfig, spending: Spending, backlog: Iterable[Job]
) -> frozenset[int]:
    """The projects, of those that wait, whose budget is used up."""
    uses = ((job.project_id, project_use(config, spending, job)) for job in backlog)
    return frozenset(project for project, use in uses if use is not None and use.is_used_up)


def _use(name: str, usd_per_day: float, used: int, *, is_project: bool) -> BudgetUse:
    return BudgetUse(
        name=name,
        is_project=is_project,
        usd_per_day=Decimal(str(usd_per_day)),
        used_usd=used * NANO,
    )
