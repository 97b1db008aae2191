"""The ledger's row of the configuration in force."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.ledger.table import Change, Rows
from fleet.times import HasUtcTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig(HasUtcTimes):
    """The fleet.toml that was applied last."""

    text: str
    version: str
    applied_at: datetime  # when `apply` ran last, also with the same text
    tls_ca: str | None = None  # PEM of the file that it names
    leaving: tuple[str, ...] = ()  # pools not in it any more whose runners still live
    removed: Mapping[str, datetime] = field(default_factory=dict)  # pools taken away lately: when


class ConfigurationRows(Rows):
    """Reads and writes of this row. Every write may be repeated."""

    def config(self) -> StoredConfig | None:
        """What `apply` stored; None before the first time."""
        item = self._table.get("config", "current")
        if item is None:
            return None
        applied_at = datetime.fromisoformat(item["applied_at"])
        return StoredConfig(
            text=item["toml"],
            version=item["version"],
            applied_at=applied_at,
            tls_ca=item.get("tls_ca"),
            leaving=tuple(item.get("leaving", ())),
            removed={
                pool: datetime.fromisoformat(at) for pool, at in item.get("removed", {}).items()
            },
        )

    def store_config(self, config: StoredConfig) -> None:
        """Make this the configuration in force."""
        told = {
            "toml": config.text,
            "version": config.version,
            "applied_at": config.applied_at.isoformat(),
            "leaving": list(config.leaving),
            "removed": {pool: at.isoformat() for pool, at in config.removed.items()},
        }
        if config.tls_ca:
            told["tls_ca"] = config.tls_ca
        remove = () if config.tls_ca else ("tls_ca",)
        self._table.write(Change(pk="config", sk="current", put=told, remove=remove))
