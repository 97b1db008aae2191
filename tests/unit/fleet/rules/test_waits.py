"""Waits: five hops that add up, percentiles, and which hop the slow ones spent it in."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fleet.past import PastRun, WaitHop, joined
from fleet.rules.waits import percentile, wait_lines
from tests.unit.fleet.facts import AT
from tests.unit.fleet.past_runs import jobless, past

WHOLE = {"webhook": 1, "route": 2, "launch": 7, "boot": 40, "take": 10}


def at(seconds: float) -> Any:
    """So long after the job was pending."""
    return AT - timedelta(seconds=180 - seconds)


@pytest.mark.parametrize(
    ("facts", "hops"),
    [
        ({}, WHOLE),
        ({"heard_at": None}, WHOLE | {"webhook": 3, "route": 0}),
        ({"called_home_at": None}, WHOLE | {"boot": 50, "take": 0}),
        # A machine that was there before the job: warm, or launched for another.
        (
            {"launched_at": at(-500), "called_home_at": at(-400)},
            {"webhook": 1, "route": 2, "launch": 0, "boot": 0, "take": 57},
        ),
        # Another machine's clock, or a late event: no hop goes below zero or beyond the wait.
        ({"heard_at": at(300)}, {"webhook": 60, "route": 0, "launch": 0, "boot": 0, "take": 0}),
    ],
)
def test_the_hops_of_a_wait(facts: dict[str, Any], hops: dict[str, float]) -> None:
    assert past(1, **facts).hops() == hops


@pytest.mark.parametrize(
    "run", [jobless(1), past(1, taken_at=None), past(1, backend=None), past(1, pending_at=None)]
)
def test_what_no_runner_of_the_fleet_took_has_no_wait(run: PastRun) -> None:
    assert run.hops() is None
    assert wait_lines([run], over_s=0) == ()


moments = st.one_of(st.none(), st.floats(-300, 300).map(at))


@given(st.tuples(moments, moments, moments, moments, st.floats(-100, 300).map(at)))
def test_the_hops_add_up_to_the_wait(marks: tuple[Any, ...]) -> None:
    names = ("heard_at", "routed_at", "launched_at", "called_home_at", "taken_at")
    run = past(1, **dict(zip(names, marks, strict=True)))
    hops = run.hops()
    assert hops is not None
    assert sum(hops.values()) == pytest.approx(run.waited_s, abs=1e-6)
    assert min(hops.values()) >= 0
    assert list(hops) == list(WaitHop)


def test_a_line_for_all_jobs_and_one_for_each_pool() -> None:
    fast = [past(number, pool="node") for number in range(1, 20)]
    slow = past(20, pending_at=at(-540), heard_at=at(-539), heard_by="reconcile_found")
    everything, docker, node = wait_lines([*fast, slow, jobless(21)], over_s=60)
    assert (everything.name, docker.name, node.name) == ("all", "docker", "node")
    assert (everything.jobs, everything.over, everything.heard_late) == (20, 1, 1)
    assert (everything.p50_s, everything.p95_s, everything.max_s) == (60, 60, 600)
    assert everything.slowest == 20
    assert sum(hop.mean_s for hop in everything.hops) == pytest.approx(everything.mean_s)
    (route,) = [hop for hop in docker.hops if hop.hop is WaitHop.ROUTE]
    assert (route.p50_s, route.at_p95_s) == (542, 542)
    assert (node.jobs, node.over) == (19, 0)


@pytest.mark.parametrize(
    ("count", "share", "rank"), [(1, 0.95, 1), (20, 0.95, 19), (21, 0.95, 20), (100, 0.5, 50)]
)
def test_a_percentile_is_one_of_the_values(count: int, share: float, rank: int) -> None:
    assert percentile(list(range(1, count + 1)), share) == rank


def test_a_late_end_from_gitlab_joins_its_machine() -> None:
    machine = past(1, outcome=None, finished_at=None)
    end = past(1, backend=None, outcome="failed", failure="runner_system_failure", ended_s=9)
    end = PastRun(**{**vars_of(end), "id": "job-1"})
    for runs in ([machine, end], [end, machine], [machine, end, machine]):
        (run,) = joined(runs)
        assert (run.id, run.outcome, run.failure) == (machine.id, "failed", end.failure)
        assert run.usd_nano == machine.usd_nano


def vars_of(run: PastRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in PastRun.__dataclass_fields__}
