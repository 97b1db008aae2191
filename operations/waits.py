"""How long the jobs of a period waited for a runner, stacked by hop."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from fleet.past import PastRun
from fleet.rules.waits import WaitLine, wait_lines
from operations.fleet_handle import Deployed
from operations.periods import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitsView:
    """A line for all jobs, then one for each pool; none where no job was taken. Seconds."""

    since: datetime
    until: datetime
    over_s: float  # the threshold of `over`
    lines: tuple[WaitLine, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        times = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return asdict(self) | times


def waits(deployed: Deployed, period: Period, *, over_s: float) -> WaitsView:
    """The waits of the jobs whose runner ended in a period."""
    return waits_of(deployed.history.between(period.since, period.until), period, over_s=over_s)


def waits_of(runs: Sequence[PastRun], period: Period, *, over_s: float) -> WaitsView:
    """The waits of these past runs of a period."""
    return WaitsView(
        since=period.since,
        until=period.until,
        over_s=over_s,
        lines=wait_lines(runs, over_s=over_s),
    )
