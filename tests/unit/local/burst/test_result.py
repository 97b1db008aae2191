"""When a burst is not ok."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from local.burst.result import BurstOptions, over_limits
from local.burst.tally import Tally


def tally(launches: int = 1, writes: float = 0, **per_job: float) -> Tally:
    """A tally in which only these numbers matter."""
    common: Mapping[str, float] = {"states.transitions": 1.0, "gitlab": 1.0}
    return Tally(
        calls={"ec2.CreateFleet": launches} if launches else {},
        guest_calls={},
        per_job={**common, **{name.replace("_", "."): n for name, n in per_job.items()}},
        units={},
        usd_per_1000=Decimal("0.25678"),
        partitions={"Ledger/open pool": writes},
    )


@pytest.mark.parametrize(
    ("counts", "options", "problems"),
    [
        pytest.param(tally(), {}, [], id="all kept"),
        pytest.param(tally(launches=0), {}, [], id="no launch at all"),
        pytest.param(tally(launches=4), {}, [], id="just kept"),
        pytest.param(
            tally(launches=5), {}, ["ec2.CreateFleet: 5 calls, at most 4"], id="launches"
        ),
        pytest.param(tally(launches=30), {"jobs": 1000}, [], id="over 200 jobs launch more often"),
        pytest.param(tally(launches=9), {"ceiling": 50}, [], id="a small ceiling does, too"),
        pytest.param(tally(writes=1000), {"jobs": 1000}, [], id="as much as a partition takes"),
        pytest.param(
            tally(writes=1001), {"jobs": 1000},
            ["Ledger/open pool: 1001 write units in a second, at most 1000"], id="a hot key",
        ),
        pytest.param(tally(gitlab=2.0), {}, [], id="two calls of GitLab"),
        pytest.param(tally(gitlab=2.1), {}, ["gitlab: 2.1 per job, at most 2"], id="GitLab"),
        pytest.param(
            tally(states_transitions=11), {},
            ["states.transitions: 11 per job, at most 10"], id="transitions",
        ),
    ],
)  # fmt: skip
def test_limits(counts: Tally, options: dict[str, int], problems: list[str]) -> None:
    assert list(over_limits(counts, BurstOptions(**{"jobs": 200, **options}))) == problems  # type: ignore[arg-type]
