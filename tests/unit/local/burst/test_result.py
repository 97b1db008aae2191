"""When a burst is not ok."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from local.burst.result import BurstOptions, BurstResult, over_budget
from local.burst.tally import Tally


def told(launches: int = 1, **per_job: float) -> Tally:
    """A tally in which only these numbers matter."""
    kept: Mapping[str, float] = {"states.transitions": 1.0, "gitlab": 1.0}
    return Tally(
        calls={"ec2.CreateFleet": launches},
        guest_calls={},
        per_job={**kept, **{name.replace("_", "."): n for name, n in per_job.items()}},
        units={},
        usd_per_1000=Decimal("0.25678"),
    )


@pytest.mark.parametrize(
    ("tally", "jobs", "problems"),
    [
        pytest.param(told(), 200, [], id="all kept"),
        pytest.param(told(launches=4), 200, [], id="just kept"),
        pytest.param(
            told(launches=5), 200, ["ec2.CreateFleet: 5 calls, at most 4"], id="launches"
        ),
        pytest.param(told(launches=30), 1000, [], id="more jobs than 200 take more launches"),
        pytest.param(told(gitlab=2.0), 200, [], id="two calls of GitLab"),
        pytest.param(told(gitlab=2.1), 200, ["gitlab: 2.1 per job, at most 2"], id="GitLab"),
        pytest.param(
            told(states_transitions=11), 200,
            ["states.transitions: 11 per job, at most 10"], id="transitions",
        ),
    ],
)  # fmt: skip
def test_budgets(tally: Tally, jobs: int, problems: list[str]) -> None:
    assert list(over_budget(tally, BurstOptions(jobs=jobs))) == problems


def test_a_small_ceiling_excuses_many_launches() -> None:
    assert list(over_budget(told(launches=9), BurstOptions(jobs=200, ceiling=50))) == []


@pytest.mark.parametrize("problems", [(), ("one",)])
def test_it_is_ok_without_problems_and_says_so(problems: tuple[str, ...]) -> None:
    result = BurstResult(
        jobs=2,
        finished=2,
        seconds=1.26,
        closed_s=2.0,
        waited_s={"p50": 1.0},
        peak_memory_mb=99.6,
        tally=told(),
        guests={"succeeded": 2},
        problems=problems,
    )
    json = result.to_json()
    assert result.ok == json["ok"] == (not problems)
    assert (json["seconds"], json["peak_memory_mb"], json["problems"]) == (1.3, 100, list(problems))
    assert json["control_plane_usd_per_1000"] == 0.2568


def test_a_burst_without_a_launch_kept_that_budget() -> None:
    quiet = Tally(
        calls={},
        guest_calls={},
        per_job={"states.transitions": 0.0, "gitlab": 0.0},
        units={},
        usd_per_1000=Decimal(0),
    )
    assert list(over_budget(quiet, BurstOptions(jobs=1))) == []
