"""A laptop's fleet.toml: its owner's text with the address of this start."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from fleet.errors import Refused
from local.demo.project import CONFIG
from local.fleet_file import keep_applied, put_in_force, with_address
from tests.fake_table import FakeTable
from tests.fakes import AT

URL = "http://127.0.0.1:4321"
DEFAULT = CONFIG.format(gitlab_url=URL)
OLD = CONFIG.format(gitlab_url="http://127.0.0.1:1234")
MINE = OLD.replace("ceiling = 4", "ceiling = 7  # mine")


@dataclass
class Fleet:
    """Takes each text, or refuses those with a word in them."""

    refuses: str = "nothing of that kind"
    applied: list[str] = field(default_factory=list)

    def apply(self, text: str) -> None:
        if self.refuses in text:
            raise Refused("GitLab refuses it", status=400)
        self.applied.append(text)

    def start(self, folder: Path) -> tuple[str, ...]:
        return put_in_force(self.apply, folder, DEFAULT, gitlab_url=URL)


def fleet_with(text: str) -> tuple[FleetRows, FakeTable]:
    """A ledger with this configuration."""
    table = FakeTable()
    fleet = FleetRows(table)
    fleet.store_config(StoredConfig(text=text, version="v", applied_at=AT))
    return fleet, table


def test_the_first_start_writes_a_file_that_fits(tmp_path: Path) -> None:
    fleet = Fleet()
    assert fleet.start(tmp_path) == ()
    assert fleet.applied == [DEFAULT] == [(tmp_path / "fleet.toml").read_text()]


@pytest.mark.parametrize(
    "text",
    [
        MINE,
        MINE.replace("\n", "\r\n"),
        MINE.replace('"http://127.0.0.1:1234"', "'http://127.0.0.1:1234'"),
        "# http://127.0.0.1:1234\n" + MINE,
        MINE.replace("[gitlab]\nurl = ", "[gitlab]\n'url'   =  "),
    ],
)
def test_an_edited_file_is_kept_except_for_its_address(text: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_bytes(text.encode())
    fleet = Fleet()
    assert fleet.start(tmp_path) == ()
    (applied,) = fleet.applied
    assert (tmp_path / "fleet.toml").read_bytes().decode() == applied
    before, after = tomllib.loads(text), tomllib.loads(applied)
    assert after["gitlab"].pop("url") == URL
    assert before["gitlab"].pop("url") != URL
    assert after == before
    head = "# http://127.0.0.1:1234\n"
    assert applied.startswith(head) == text.startswith(head)
    assert len(applied.split("\n")) == len(text.split("\n"))
    assert ("\r\n" in applied) == ("\r\n" in text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (MINE.replace("ceiling = 7", "ceiling = 0"), "pools.docker.ceiling: must be 1 or more"),
        ("[gitlab\n", "not TOML"),
        ("", "there is nothing in it"),
        ("[gitlab]\nurl = 5\n", "gitlab.url"),
        (MINE.replace("http://127.0.0.1:1234", "http:\\u002f/127.0.0.1:1234"), f'url = "{URL}"'),
        (MINE + "# refused\n", "GitLab refuses it"),
        (b"# caf\xe9\n", "is not UTF-8 text"),
    ],
)
@pytest.mark.parametrize("before", [None, MINE, "[broken"])
def test_a_broken_file_has_problems_and_the_last_applied_stays_in_force(
    text: str | bytes, problem: str, before: str | None, tmp_path: Path
) -> None:
    raw = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "fleet.toml").write_bytes(raw)
    if before:
        keep_applied(tmp_path, fleet_with(before)[0])
    fleet = Fleet(refuses="# refused")
    lines = fleet.start(tmp_path)
    assert any(problem in line for line in lines)
    assert (tmp_path / "fleet.toml").read_bytes() == raw
    in_force = with_address(MINE, URL) if before == MINE else DEFAULT
    assert fleet.applied == [in_force]
    word = "what was applied last is" if before == MINE else "the pools of the demo are"
    assert lines[-1] == f"{tmp_path / 'fleet.toml'} is not applied: {word} in force"


def test_nothing_is_kept_of_a_fleet_without_a_configuration(tmp_path: Path) -> None:
    keep_applied(tmp_path, FleetRows(FakeTable()))
    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_outlives_a_destroyed_fleet(tmp_path: Path) -> None:
    fleet, table = fleet_with(MINE)
    keep_applied(tmp_path, fleet)
    table.failing = Refused(call="dynamodb.GetItem", code="ResourceNotFoundException")
    keep_applied(tmp_path, fleet)
    assert (tmp_path / "applied.toml").read_text() == MINE
    table.failing = Refused(call="dynamodb.GetItem", code="AccessDeniedException")
    with pytest.raises(Refused):
        keep_applied(tmp_path, fleet)
