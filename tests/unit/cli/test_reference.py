"""docs/cli.md is generated, and lists the fields of every `--json`."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.json_fields import json_fields
from cli.main import COMMANDS, load
from cli.reference import document
from tests.unit.cli.test_history import at_work

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield path, command
    for name, below in (inner or {}).items():
        yield from commands(f"{path} {name}", below)


ALL = dict(row for name in COMMANDS for row in commands(name, load(name)))
WITH_JSON = [
    name for name, command in ALL.items() if any("--json" in p.opts for p in command.params)
]


def test_the_page_is_what_make_docs_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run `make docs`"


@pytest.mark.parametrize("name", WITH_JSON)
def test_the_fields_of_every_json_are_listed(name: str) -> None:
    assert json_fields(name)


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_an_example_that_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for needed in ("config.toml", "fleet.toml"):
        Path(needed).touch()
    _, example = ALL[name].help.split("Example: runner-fleet ")
    words = shlex.split(re.split("[\n<>]", example)[0])
    assert words[: len(name.split())] == name.split()
    ALL[name].make_context(name, words[len(name.split()) :])


def paths(value: Any, at: str = "") -> Iterator[str]:
    """The paths of a JSON value, as the page writes them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{at}[]")
    else:
        yield at


@pytest.mark.parametrize(
    "call",
    [
        *("status", "jobs --since 7d", "runners --since 7d", "cost --since 7d", "waits --since 7d"),
        *("explain 70", "pool acts", "pool pause docker"),
    ],
)
def test_what_is_printed_is_what_is_listed(call: str) -> None:
    name = next(name for name in sorted(ALL, key=len, reverse=True) if call.startswith(name))
    rows = json_fields(name)
    stack = at_work()
    stack.run("pool", "ceiling", "docker", "3")
    printed = json.loads(stack.run(*call.split(), "--json").stdout)
    assert set(printed) == {re.split(r"[.\[]", row.path)[0] for row in rows}
    for path in paths(printed):
        listed = (re.escape(row.path).replace(r"\.\*", r"\.[^.]+") for row in rows)
        assert any(re.fullmatch(pattern, path) for pattern in listed) or (
            any(row.path.startswith((f"{path}[]", f"{path}.")) for row in rows)  # null
        ), path
