"""What AWS and GitLab allow, and how much of it is used: one line each, read on its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from adapters.aws.clients import Clients, aws_call
from adapters.gitlab.call_allowance import CallsLeft
from adapters.gitlab.client import GitLab
from adapters.ledger.call_allowance import FleetAllowance
from fleet.config.reading import FleetConfig
from fleet.errors import FleetError, Refused
from fleet.job_event import instance_of
from fleet.rules.buckets import LAUNCHES, TERMINATIONS, TokenBucket, taken
from fleet.rules.quotas import ON_DEMAND, SPOT
from operations.account import lambda_quota, quota_of
from operations.fleet_handle import Deployed
from operations.fleet_view import FleetView
from operations.lanes import Lane

# Source: GitLab, "Instance limits": the default of self-managed and of GitLab.com's paid plans.
RUNNERS_BY_DEFAULT = 1000
# By market.
_VCPUS = {"on-demand": ON_DEMAND, "spot": SPOT}
_CLASSES = {"on-demand": "Standard/OnDemand", "spot": "Standard/Spot"}
LOOK_BACK = timedelta(minutes=10)

Numbers = tuple[float | None, float | None, str]  # used, allowed, where they are from


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitView:
    """One limit. `used` or `allowed` is None where it could not be read: `failed` says why."""

    name: str
    used: float | None
    allowed: float | None
    unit: str
    note: str = ""  # where the numbers are from
    failed: str = ""

    @property
    def share(self) -> float | None:
        """Used of allowed; None where one is not known."""
        if self.used is None or not self.allowed:
            return None
        return self.used / self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSources:
    """Where the lines are read. A source that is None gives no lines."""

    deployed: Deployed
    aws: Clients | None
    gitlab: GitLab | None


def used_of_allowed(
    sources: LimitSources, view: FleetView, lanes: Iterable[Lane]
) -> tuple[LimitView, ...]:
    """Every line; one that cannot be read says why and stops no other."""
    at, lanes = view.at, tuple(lanes)
    config = sources.deployed.config()
    lines: list[LimitView] = [*_pools(view), *_buckets(sources.deployed, lanes, config, at)]
    if sources.aws is not None:
        aws = sources.aws
        for market in _VCPUS:
            name = f"EC2 vCPU, {market}"
            lines.append(_line(name, "vCPU", partial(_vcpu, aws, view, market, at)))
        lines.append(_line("Lambda concurrency", "executions", lambda: _lambda(aws, view, at)))
    calls = partial(_calls, sources.deployed, config)
    lines.append(_line("GitLab calls in a minute", "calls", calls))
    if sources.gitlab is not None:
        gitlab = sources.gitlab
        lines.append(_line("GitLab runners", "records", lambda: _records(gitlab, config, view)))
        if allowed := _gitlabs_own(gitlab):
            lines.append(_line("GitLab's rate limit", "calls", lambda: allowed))
    return tuple(lines)


def _line(name: str, unit: str, read: Callable[[], Numbers]) -> LimitView:
    try:
        used, allowed, note = read()
    except FleetError as error:
        return LimitView(name=name, used=None, allowed=None, unit=unit, failed=_words(error))
    return LimitView(name=name, used=used, allowed=allowed, unit=unit, note=note)


def _words(error: FleetError) -> str:
    """An error in words; AWS's own say only that a call failed."""
    call, code = error.facts.get("call"), error.facts.get("code")
    return f"AWS answered {call} with {code}" if call and code else str(error)


def _pools(view: FleetView) -> Iterable[LimitView]:
    other = {control.about for control in view.controls if control.ceiling is not None}
    for pool in view.pools:
        if pool.ceiling:
            yield LimitView(
                name=f"Pool {pool.name}",
                used=pool.in_use,
                allowed=pool.ceiling,
                unit="runners",
                note="for a time" if pool.name in other else "the ceiling in fleet.toml",
            )


def _buckets(
    deployed: Deployed, lanes: Iterable[Lane], config: FleetConfig, at: datetime
) -> Iterable[LimitView]:
    """EC2's buckets, by what this fleet launched and ended."""
    on_ec2 = {pool.name for pool in config.pools if pool.backend == "ec2"}
    launches = [lane.stretches[0].start for lane in lanes if lane.machine.pool in on_ec2]
    ended = [run for run in deployed.history.between(at - LOOK_BACK, at) if run.backend == "ec2"]
    launches += [run.launched_at for run in ended if run.launched_at]
    note = "by this fleet's own machines; AWS shows no bucket"
    yield _bucket("EC2 launches", LAUNCHES, launches, at, note)
    yield _bucket("EC2 terminations", TERMINATIONS, [run.ended_at for run in ended], at, note)


def _bucket(
    name: str, bucket: TokenBucket, times: Iterable[datetime], at: datetime, note: str
) -> LimitView:
    refill = f"refilled by {bucket.per_s:.0f} in a second; {note}"
    used = taken(bucket, times, at)
    return LimitView(name=name, used=used, allowed=bucket.size, unit="machines", note=refill)


def _vcpu(aws: Clients, view: FleetView, market: str, at: datetime) -> Numbers:
    allowed = float(quota_of(aws, _VCPUS[market]))
    dimensions = {"Service": "EC2", "Type": "Resource", "Resource": "vCPU"}
    used = _metric(aws, "AWS/Usage", "ResourceCount", dimensions | {"Class": _CLASSES[market]}, at)
    if used is not None:
        return used, allowed, "of the whole account"
    return _own_vcpu(aws, view, market), allowed, "this fleet's own machines"


def _own_vcpu(aws: Clients, view: FleetView, market: str) -> float:
    """The vCPU of this fleet's machines on one market."""
    pools = {pool.name for pool in view.pools if pool.backend == "ec2"}
    own = [machine for machine in view.machines if machine.pool in pools]
    capacities = [machine.capacity.split("/") for machine in own if machine.capacity]
    types = Counter(parts[0] for parts in capacities if len(parts) == 3 and parts[2] == market)
    if not types:
        return 0.0
    with aws_call("DescribeInstanceTypes"):
        named: Any = sorted(types)
        answer = aws.ec2.describe_instance_types(InstanceTypes=named)
    return float(
        sum(
            types[type_["InstanceType"]] * type_["VCpuInfo"]["DefaultVCpus"]
            for type_ in answer["InstanceTypes"]
        )
    )


def _lambda(aws: Clients, view: FleetView, at: datetime) -> Numbers:
    allowed = float(lambda_quota(aws).executions)
    used = _metric(aws, "AWS/Lambda", "ConcurrentExecutions", {}, at)
    if used is not None:
        return used, allowed, "of the whole account, most in five minutes"
    pools = {pool.name for pool in view.pools if pool.backend == "lambda"}
    own = sum(machine.pool in pools for machine in view.machines)
    return float(own), allowed, "this fleet's own runners"


def _metric(
    aws: Clients, namespace: str, name: str, dimensions: Mapping[str, str], at: datetime
) -> float | None:
    """The highest value in the last minutes; None where CloudWatch has none."""
    with aws_call("GetMetricStatistics"):
        answer = aws.cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=at - LOOK_BACK,
            EndTime=at,
            Period=300,
            Statistics=["Maximum"],
        )
    values = [point["Maximum"] for point in answer.get("Datapoints", [])]
    return max(values, default=None)


def _records(gitlab: GitLab, config: FleetConfig, view: FleetView) -> Numbers:
    """Runner records where the fleet makes its own; GitLab counts those of others, too."""
    where = config.gitlab.runners_in
    allowed, note = _runners_allowed(gitlab)
    if where.kind == "group":
        path = f"/groups/{where.id}/runners"
    elif where.kind == "instance":
        path = "/runners/all"
    else:
        own = len(view.machines) + len(view.pools)
        return float(own), allowed, f"this fleet's own, of all projects; {note}"
    return float(sum(1 for _ in gitlab.api.pages(path))), allowed, note


def _runners_allowed(gitlab: GitLab) -> tuple[float, str]:
    try:
        limits = gitlab.api.get("/application/plan_limits")
    except Refused:  # administrators alone may read it
        return RUNNERS_BY_DEFAULT, "GitLab's default limit; 50 on GitLab.com's free plan"
    allowed = limits.get("ci_registered_group_runners") or RUNNERS_BY_DEFAULT
    return float(allowed), "GitLab's limit for a group"


def calls_left(deployed: Deployed, config: FleetConfig) -> CallsLeft:
    """What is left of a minute's calls to GitLab, of all functions together."""
    return FleetAllowance(
        deployed.table,
        instance=instance_of(config.gitlab.url),
        calls_per_minute=config.gitlab.calls_per_minute,
        clock=deployed.clock,
    ).left_of_all


def _calls(deployed: Deployed, config: FleetConfig) -> Numbers:
    """The calls of the fleet's functions; those of people's commands are not in it."""
    left = calls_left(deployed, config)
    return left.of - left.left, left.of, "of the fleet's functions; calls_per_minute in fleet.toml"


def _gitlabs_own(gitlab: GitLab) -> Numbers | None:
    """GitLab's limit for the token of this page; None where GitLab does not say it."""
    with suppress(FleetError):  # then the line of records says what is wrong
        gitlab.version()  # the answer says how many are left
    limit = gitlab.api.left_at_gitlab
    if limit is None:
        return None
    return limit.of - limit.left, limit.of, "for this page's token, as GitLab says"
