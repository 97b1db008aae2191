"""What the pages ask of the fleet: functions of plain values, so that any process may answer."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from adapters.aws.clients import Clients
from fleet.rules.costs import By
from fleet.rules.waits import WaitLine, wait_lines
from monitor.board import RECENT_JOBS
from operations.cost import CostView, cost
from operations.explain import UnknownJob, explain_job, read_reference
from operations.fleet_handle import Deployed, gitlab_of
from operations.fleet_view import FleetView
from operations.job_use import JobUse, job_use
from operations.jobs import JobQuery, JobsView, list_jobs
from operations.lanes import Lane, LaneReader
from operations.limits import LimitSources, LimitView, calls_left, used_of_allowed
from operations.periods import read_period
from operations.status import gather
from operations.trail import Trail
from operations.wait_series import ChartSpan, WaitSeries, wait_series

# Lines of a page; the commands have all of them.
LINES_SHOWN = 200
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where answers are read. `aws` None: AWS's quotas are not shown."""

    deployed: Deployed
    aws: Clients | None = None
    token_env: str = "GITLAB_TOKEN"  # noqa: S105 - a variable's name


# Calls one of the functions below with the sources, and gives its answer.
Ask = Callable[..., Any]


def in_this_process(sources: Sources) -> Ask:
    """Answers in this process."""
    return lambda function, *values: function(sources, *values)


def read_picture(sources: Sources, known: tuple[Lane, ...]) -> tuple[FleetView, tuple[Lane, ...]]:
    """The fleet, and a lane for each of its machines. `known`: those of the last picture."""
    view = gather(sources.deployed, jobs=RECENT_JOBS)
    return view, LaneReader(sources.deployed, known).read(view)


def read_jobs(sources: Sources, since: str, filters: dict[str, Any]) -> JobsView:
    """The jobs since then. `filters`: the other fields of `JobQuery`."""
    period = read_period(since, sources.deployed.clock())
    return list_jobs(sources.deployed, JobQuery(period=period, **filters))


def read_waits(sources: Sources, span: ChartSpan, over_s: float) -> WaitSeries:
    """The waits of a span until now."""
    period = read_period(span.since, sources.deployed.clock())
    return wait_series(sources.deployed, period, step=span.step, over_s=over_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPage:
    """The dearest lines of a cost, and what all of its lines add up to."""

    view: CostView  # with the lines that are shown
    jobs: int
    ran_s: float
    left_out: int


def read_costs(sources: Sources, since: str, by: By) -> CostPage:
    """What machines cost since then."""
    view = _cost(sources, since, by)
    return CostPage(
        view=replace(view, lines=view.lines[:LINES_SHOWN]),
        jobs=sum(line.jobs for line in view.lines),
        ran_s=sum(line.ran_s for line in view.lines),
        left_out=max(0, len(view.lines) - LINES_SHOWN),
    )


def read_costs_csv(sources: Sources, since: str, by: By) -> str:
    """The same with every line, as CSV."""
    return _cost(sources, since, by).to_csv()


def _cost(sources: Sources, since: str, by: By) -> CostView:
    return cost(sources.deployed, read_period(since, sources.deployed.clock()), by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What `/metrics` shows of ended machines, and of calls to GitLab."""

    waits: tuple[WaitLine, ...]  # of the last hour: all jobs, then each pool
    ended: Mapping[tuple[str, ...], float]  # machines of today, UTC, by pool and reason
    usd: Mapping[str, float]  # of the same, by pool
    calls_left: float  # to GitLab, of this minute's


def read_recent(sources: Sources) -> Recent:
    """The ended machines of today, UTC, and of the last hour."""
    deployed = sources.deployed
    at = deployed.clock()
    midnight, hour_ago = at.replace(hour=0, minute=0, second=0, microsecond=0), at - HOUR
    runs = list(deployed.history.between(min(midnight, hour_ago), at))
    machines = [run for run in runs if run.had_machine and run.ended_at >= midnight]
    usd: dict[str, float] = defaultdict(float)
    for run in machines:
        usd[run.pool or ""] += float(run.usd or 0)
    return Recent(
        waits=wait_lines([run for run in runs if run.ended_at >= hour_ago], over_s=0),
        ended=Counter((run.pool or "", run.reason or "") for run in machines),
        usd=dict(usd),
        calls_left=calls_left(deployed, deployed.config()).left,
    )


def read_limits(
    sources: Sources, view: FleetView, lanes: tuple[Lane, ...]
) -> tuple[LimitView, ...]:
    """Used of allowed, by the fleet as it was last read."""
    deployed = sources.deployed
    gitlab = gitlab_of(deployed, sources.token_env)
    limits = LimitSources(deployed=deployed, aws=sources.aws, gitlab=gitlab)
    return used_of_allowed(limits, view, lanes)


def read_job(sources: Sources, named: str) -> tuple[Trail, JobUse] | UnknownJob:
    """One job's history and use. Raises `Refused` for what names no job of this fleet."""
    deployed = sources.deployed
    answer = explain_job(
        deployed, read_reference(named), lambda: gitlab_of(deployed, sources.token_env)
    )
    return answer if isinstance(answer, UnknownJob) else (answer, job_use(deployed, answer))
