"""Costs: every machine's price is shared out, and nothing is lost or made."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from fleet.past import NANO, PastRun
from fleet.reasons import Reason
from fleet.rules.costs import By, cost_lines, parts_of, share_out, split, total_nano
from fleet.rules.past import MachinePart, machine_price
from tests.unit.fleet.facts import AT, runner
from tests.unit.fleet.past_runs import jobless, past
from tests.unit.fleet.rules.standings import POOL
from tests.unit.infra.documents import resources

prices = st.one_of(st.none(), st.integers(0, 10**12))


@st.composite
def fleets(draw: st.DrawFn) -> list[PastRun]:
    """Machines of some pools over some days, with and without jobs."""
    runs = []
    for number in range(draw(st.integers(0, 12))):
        facts: dict[str, Any] = {
            "pool": draw(st.sampled_from(["docker", "node"])),
            "ended_s": draw(st.integers(0, 3)) * 86_400,
            "usd_nano": draw(prices),
            "for_job": draw(st.one_of(st.none(), st.integers(0, 12))),
        }
        if draw(st.booleans()):
            runs.append(past(number, project=draw(st.sampled_from(["a/b", "a/c"])), **facts))
        else:
            runs.append(jobless(number, **facts))
    return runs


@settings(max_examples=50)
@given(fleets(), st.sampled_from(By))
def test_the_sums_equal_the_machines(runs: list[PastRun], by: By) -> None:
    lines = cost_lines(runs, by)
    machines = total_nano(runs)
    assert sum(line.usd for line in lines) == machines * NANO
    assert sum(cost.nano for cost in share_out(runs)) == machines
    for line in lines:
        assert line.usd == line.own_usd + line.shared_usd
        assert line.own_usd == line.boot_usd + line.idle_usd + line.run_usd


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_parts_add_up_to_the_whole(whole: int, weights: list[int]) -> None:
    parts = split(whole, weights)
    assert sum(parts) == whole
    assert len(parts) == len(weights)
    assert min(parts) >= 0


def test_boot_idle_and_run_share_the_price_of_a_machine_by_time() -> None:
    run = past(1, usd_nano=17_000)  # 40 s boot, 10 + 20 s idle, 100 s at work
    assert parts_of(run) == (4_000, 3_000, 10_000)


@pytest.mark.parametrize(
    ("machine", "shares"),
    [
        (jobless(9, for_job=1), {1: 2_000_000, 2: 0}),  # its launch failed, or another took the job
        (jobless(9), {1: 500_000, 2: 1_500_000}),  # warm: by what the pool's jobs cost that day
        (jobless(9, for_job=77), {1: 500_000, 2: 1_500_000}),  # a job of another time
    ],
)
def test_a_machine_without_a_job_is_its_pools(machine: PastRun, shares: dict[int, int]) -> None:
    runs = [past(1, usd_nano=1_000), past(2, usd_nano=3_000), past(3, pool="node"), machine]
    shared = {cost.run.job_id: cost.shared_nano for cost in share_out(runs) if cost.run}
    assert shared == {**shares, 3: 0}


def test_machines_that_no_job_shares_are_a_line() -> None:
    runs = [jobless(1, pool="node"), past(2), jobless(3, ended_s=-90_000)]
    names = [line.name for line in cost_lines(runs, By.PROJECT)]
    assert sorted(names) == [
        "(machines of docker without a job)",
        "(machines of node without a job)",
        "acme/demo",
    ]
    pools = {line.name: line for line in cost_lines(runs, By.POOL)}
    assert (pools["node"].jobs, pools["node"].machines) == (0, 1)
    assert (pools["docker"].jobs, pools["docker"].machines) == (1, 2)


@pytest.mark.parametrize("template", resources("EC2::LaunchTemplate").values())
def test_a_pool_that_names_no_disk_has_that_of_the_launch_template(
    template: dict[str, Any],
) -> None:
    (disk,) = template["Properties"]["LaunchTemplateData"]["BlockDeviceMappings"]
    machine = MachinePart(
        runner=runner("r", since_s=600, machine_id="i-1", capacity="m7i.large/a/on-demand"),
        steps=(),
        reason=Reason.HEALTHY,
        ended_at=AT,
        pool=POOL,
    )
    named = POOL.model_copy(update={"disk_gb": disk["Ebs"]["VolumeSize"]})
    assert machine_price(machine) == machine_price(replace(machine, pool=named))


def test_a_machine_without_a_price_is_counted() -> None:
    (line,) = cost_lines(
        [past(1, usd_nano=None), past(2), past(3, backend=None, usd_nano=None)], By.POOL
    )
    assert (line.jobs, line.unpriced, line.usd) == (3, 1, Decimal("0.002"))
