"""Settings inside machines: a missing variable is left out, a wrong one is named."""

from pathlib import Path

import pytest

from adapters.guest.settings import EnvironmentReader
from fleet.errors import Refused

READER = EnvironmentReader(
    {"FLEET_LEDGER_TABLE": "ledger", "FLEET_HEARTBEAT_S": "0.5", "FLEET_EMPTY": ""}
)


def test_what_is_set() -> None:
    assert READER.text("ledger_table") == "ledger"
    assert READER.seconds("heartbeat_s", "boot_deadline_s", "empty") == {"heartbeat_s": 0.5}
    assert READER.paths("ledger_table", "work_dir", "empty") == {"ledger_table": Path("ledger")}


@pytest.mark.parametrize("field", ["missing", "empty"])
def test_what_must_be_set(field: str) -> None:
    with pytest.raises(Refused, match=f"FLEET_{field.upper()}"):
        READER.text(field)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_what_is_no_positive_number(value: str) -> None:
    with pytest.raises(Refused, match=r"positive number of seconds .*FLEET_HEARTBEAT_S"):
        EnvironmentReader({"FLEET_HEARTBEAT_S": value}).seconds("heartbeat_s")
