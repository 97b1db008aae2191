"""What the machines of a period cost, by pool, project or job."""

import csv
import io
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from unicodedata import normalize

from fleet.past import NANO
from fleet.prices import AS_OF
from fleet.rules.costs import By, CostLine, cost_lines, total_nano
from operations.fleet_handle import Deployed
from operations.periods import Period
from operations.printable import escaped

COLUMNS = (
    *("name", "jobs", "machines", "usd", "own_usd", "shared_usd"),
    *("boot_usd", "idle_usd", "run_usd", "ran_s", "unpriced"),
)
_SIGNS = frozenset("=+-@\\|%")  # with which a formula begins


@dataclass(frozen=True, slots=True, kw_only=True)
class CostView:
    """The lines, dearest first, whose sum is the machines' own, `usd`. Prices are approximations.

    Machines that ended in the period count whole; those that live count when they end.
    """

    since: datetime
    until: datetime
    by: By
    lines: tuple[CostLine, ...]
    usd: Decimal  # of all machines that ended
    machines: int
    prices_as_of: str  # a date

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it: USD as numbers."""
        plain = asdict(self) | {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "by": self.by.value,
            "usd": float(self.usd),
        }
        return plain | {"lines": [_plain(line) for line in self.lines]}

    def to_csv(self) -> str:
        """A line for each, under `COLUMNS`; USD with nine digits, so that sums are exact."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([self.by.value, *COLUMNS[1:]])
        for line in self.lines:
            writer.writerow([_field(getattr(line, name)) for name in COLUMNS])
        return text.getvalue()


def cost(deployed: Deployed, period: Period, by: By) -> CostView:
    """The cost of the machines that ended in a period."""
    runs = deployed.history.between(period.since, period.until)
    return CostView(
        since=period.since,
        until=period.until,
        by=by,
        lines=cost_lines(runs, by),
        usd=total_nano(runs) * NANO,
        machines=sum(run.had_machine for run in runs),
        prices_as_of=AS_OF.isoformat(),
    )


def _plain(line: CostLine) -> dict[str, Any]:
    return {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in asdict(line).items()
    }


def _field(value: object) -> object:
    if isinstance(value, str):
        return _harmless(value)
    if isinstance(value, Decimal):
        return f"{value:.9f}"
    return f"{value:.3f}" if isinstance(value, float) else value


def _harmless(name: str) -> str:
    r"""A name in a cell of its own that a spreadsheet takes for text: names come from GitLab.

    Spreadsheets skip spaces before a formula, know its signs in full width as well, and some begin
    a cell at a semicolon. What does not print is an escape, so that no name ends its line.
    """
    shown = escaped(name).replace(";", "\\x3b")
    begins = normalize("NFKC", shown).strip()[:1]
    return f"'{shown}" if begins in _SIGNS else shown
