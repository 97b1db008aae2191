"""The ledger's row of the configuration in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.ledger.rows import RowType
from adapters.ledger.table import Rows
from fleet.times import HasUtcTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig(HasUtcTimes):
    """The fleet.toml of the last `apply`."""

    text: str
    version: str
    applied_at: datetime  # of the last `apply`, also of one with the same text
    tls_ca: str | None = None  # PEM of the file that it names
    leaving: tuple[str, ...] = ()  # pools that it has no longer, with live runners
    removed: Mapping[str, datetime] = field(default_factory=dict)  # pools removed lately: when


CONFIG_ROW = RowType(of=StoredConfig, names={"text": "toml"})


class ConfigurationRows(Rows):
    """Reads and writes of this row. Every write may be repeated."""

    def config(self) -> StoredConfig | None:
        """The stored configuration; None before the first `apply`."""
        item = self._table.get("config", "current")
        return CONFIG_ROW.read(item) if item else None

    def store_config(self, config: StoredConfig) -> None:
        """Make this the configuration in force."""
        self._table.write(CONFIG_ROW.replacing("config", "current", config))
