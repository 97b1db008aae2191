"""The lines of the page of limits: used of allowed, where both are from, and what stops neither."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adapters.aws.clients import Clients
from adapters.gitlab.call_allowance import CallsLeft
from adapters.ledger.call_allowance import FleetAllowance
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.rules.quotas import ON_DEMAND, SPOT
from local.past_month import month
from operations.controls import set_ceiling
from operations.lanes import LaneReader
from operations.limits import LimitSources, LimitView, used_of_allowed
from operations.status import gather
from tests.unit.cli.cloudformation import refusal
from tests.unit.cli.fleet_at_work import AT, INSTANCE, AtWork, ago

FLEET = """\
[gitlab]
url = "https://gitlab.example.com"
runners_in = "{where}"
calls_per_minute = 600

[pools.docker]
backend = "ec2"
tags = ["docker"]
instance_types = ["m7i.large"]
ceiling = 5

[pools.node]
backend = "lambda"
tags = ["node"]
ceiling = 50
max_job_time = "11m"
"""


@dataclass
class Account:
    """AWS's quotas and its metrics; `refuses` names the calls that it does not answer."""

    quotas: Mapping[str, float] = field(
        default_factory=lambda: {ON_DEMAND.code: 64.0, SPOT.code: 32.0}
    )
    metrics: Mapping[str, float] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()

    def clients(self) -> Clients:
        """What the lines are read with."""
        names = ("quotas", "cloudwatch", "ec2", "functions")
        return cast("Clients", SimpleNamespace(**dict.fromkeys(names, _Calls(self))))


@dataclass
class _Calls:
    account: Account

    def get_service_quota(self, **request: str) -> dict[str, Any]:
        self._asked("get_service_quota")
        return {"Quota": {"Value": self.account.quotas[request["QuotaCode"]]}}

    def get_account_settings(self) -> dict[str, Any]:
        self._asked("get_account_settings")
        return {"AccountLimit": {"ConcurrentExecutions": 100, "UnreservedConcurrentExecutions": 1}}

    def get_metric_statistics(self, **request: Any) -> dict[str, Any]:
        self._asked("get_metric_statistics")
        named = {dimension["Name"]: dimension["Value"] for dimension in request["Dimensions"]}
        name = named.get("Class", request["MetricName"])
        points = [{"Maximum": value} for value in (0.0, self.account.metrics.get(name))]
        return {"Datapoints": points if name in self.account.metrics else []}

    def describe_instance_types(self, **request: list[str]) -> dict[str, Any]:
        self._asked("describe_instance_types")
        return {
            "InstanceTypes": [
                {"InstanceType": name, "VCpuInfo": {"DefaultVCpus": 2}}
                for name in request["InstanceTypes"]
            ]
        }

    def _asked(self, call: str) -> None:
        if call in self.account.refuses:
            raise refusal("AccessDeniedException")


def at_work(where: str = "group:42") -> AtWork:
    """Two machines on EC2 spot, one in Lambda, and one that ended."""
    stack = AtWork().configure(FLEET.format(where=where))
    for number in (1, 2):
        runner = stack.runner(number, launched_s=1)
        stack.reports(runner, MachineState.BUSY, job_id=number)
    stack.reports(stack.runner(3, pool="node", backend_of="lambda"), MachineState.IDLE)
    stack.deployed.history.write(
        replace(next(month(1, AT)), backend="ec2", launched_at=ago(9), ended_at=ago(0.1))
    )
    stack.gitlab.fake_api.answers["/groups/42/runners"] = [{"id": number} for number in range(7)]
    return stack


def lines(
    stack: AtWork, account: Account | None = None, *, gitlab: bool = True
) -> dict[str, LimitView]:
    view = gather(stack.deployed, jobs=1)
    sources = LimitSources(
        deployed=stack.deployed,
        aws=account.clients() if account else None,
        gitlab=stack.gitlab if gitlab else None,
    )
    read = used_of_allowed(sources, view, LaneReader(stack.deployed).read(view))
    return {line.name: line for line in read}


def numbers(line: LimitView) -> tuple[float | None, float | None, str]:
    return line.used, line.allowed, line.unit


@pytest.mark.parametrize(
    ("name", "used", "allowed", "unit", "note"),
    [
        ("Pool docker", 2, 5, "runners", "fleet.toml"),
        ("Pool node", 1, 50, "runners", "fleet.toml"),
        ("EC2 launches", 0, 1000, "machines", "2 in a second"),
        ("EC2 terminations", 0, 1000, "machines", "20 in a second"),
        ("EC2 vCPU, on-demand", 0, 64, "vCPU", "this fleet's own"),
        ("EC2 vCPU, spot", 4, 32, "vCPU", "this fleet's own"),
        ("Lambda concurrency", 1, 100, "executions", "this fleet's own"),
        ("GitLab calls in a minute", 0, 600, "calls", "calls_per_minute"),
        ("GitLab runners", 7, 1000, "records", "default"),
    ],
)
def test_a_line_has_used_of_allowed(
    name: str, used: float, allowed: float, unit: str, note: str
) -> None:
    line = lines(at_work(), Account())[name]
    assert numbers(line) == (used, allowed, unit)
    assert note in line.note


def test_what_aws_counts_goes_before_what_the_fleet_knows() -> None:
    account = Account(metrics={"Standard/Spot": 20.0, "ConcurrentExecutions": 60.0})
    by_name = lines(at_work(), account)
    assert numbers(by_name["EC2 vCPU, spot"]) == (20, 32, "vCPU")
    assert numbers(by_name["Lambda concurrency"]) == (60, 100, "executions")
    assert "whole account" in by_name["EC2 vCPU, spot"].note + by_name["Lambda concurrency"].note


def test_a_ceiling_for_a_time_is_the_one_that_counts() -> None:
    stack = at_work()
    set_ceiling(stack.deployed, "docker", 9, lasts=timedelta(hours=1), note="")
    line = lines(stack)["Pool docker"]
    assert (line.allowed, line.note) == (9, "for a time")


def test_calls_to_gitlab_are_those_of_all_functions() -> None:
    stack = at_work()
    allowance = FleetAllowance(
        stack.table, instance=INSTANCE, calls_per_minute=600, clock=stack.clock
    )
    for _ in range(40):
        allowance.take()
    used = lines(stack)["GitLab calls in a minute"].used
    assert used is not None
    assert 40 <= used < 60  # calls are leased by the dozen
    stack.clock.go(60)
    assert lines(stack)["GitLab calls in a minute"].used == 0


def test_gitlabs_own_limit_is_a_line_where_gitlab_says_it() -> None:
    stack = at_work()
    assert "GitLab's rate limit" not in lines(stack)
    stack.gitlab.fake_api.said_left = CallsLeft(left=500, of=2000)
    assert numbers(lines(stack)["GitLab's rate limit"]) == (1500, 2000, "calls")


@pytest.mark.parametrize(
    ("where", "limit", "used", "allowed"),
    [
        ("group:42", {"ci_registered_group_runners": 50}, 7, 50),
        ("group:42", {}, 7, 1000),
        ("project", None, 5, 1000),  # three machines and a record for each pool
    ],
)
def test_runner_records_are_counted_where_the_fleet_makes_them(
    where: str, limit: dict[str, int] | None, used: int, allowed: int
) -> None:
    stack = at_work(where)
    if limit is not None:
        stack.gitlab.fake_api.answers["/application/plan_limits"] = limit
    assert numbers(lines(stack)["GitLab runners"]) == (used, allowed, "records")


@pytest.mark.parametrize(
    ("call", "name", "says"),
    [
        ("get_service_quota", "EC2 vCPU, spot", "GetServiceQuota with AccessDeniedException"),
        ("get_account_settings", "Lambda concurrency", "GetAccountSettings"),
        ("get_metric_statistics", "EC2 vCPU, spot", "GetMetricStatistics"),
        ("describe_instance_types", "EC2 vCPU, spot", "DescribeInstanceTypes"),
    ],
)
def test_a_line_that_is_not_read_says_so_and_stops_no_other(
    call: str, name: str, says: str
) -> None:
    by_name = lines(at_work(), Account(refuses=frozenset({call})))
    assert (by_name[name].used, by_name[name].share) == (None, None)
    assert says in by_name[name].failed
    assert by_name["GitLab runners"].used == 7


@pytest.mark.parametrize("error", [Transient("GitLab is away"), Refused("no", status=403)])
def test_a_gitlab_that_does_not_answer_stops_no_other_line(error: Transient | Refused) -> None:
    stack = at_work()
    stack.gitlab.fake_api.answers["/groups/42/runners"] = error
    by_name = lines(stack, Account())
    assert str(error) in by_name["GitLab runners"].failed
    assert by_name["Lambda concurrency"].used == 1
