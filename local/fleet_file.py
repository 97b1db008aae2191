"""The `fleet.toml` of a laptop's folder: written once, then its owner's to edit and apply."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from adapters.ledger.fleet import FleetRows
from fleet.config.lines import toml_lines
from fleet.config.reading import ConfigError, read_config
from fleet.errors import FleetError, Refused

FILE, APPLIED = "fleet.toml", "applied.toml"
NO_TABLE = "ResourceNotFoundException"  # DynamoDB's code


def put_in_force(
    apply: Callable[[str], object], folder: Path, default: str, *, gitlab_url: str
) -> tuple[str, ...]:
    """Apply the folder's fleet.toml; a line for each of its problems.

    A file that cannot be applied gives way to what was applied last, then to `default`.
    """
    path = folder / FILE
    if not path.exists():
        path.write_text(default)
    problems = tuple(_apply(apply, path, gitlab_url))
    if not problems:
        return ()
    applied, in_force = folder / APPLIED, "what was applied last is in force"
    if not applied.exists() or tuple(_apply(apply, applied, gitlab_url)):
        in_force = "the pools of the demo are in force"
        apply(default)
    return (*problems, f"{path} is not applied: {in_force}")


def keep_applied(folder: Path, fleet: FleetRows) -> None:
    """Keep the configuration in force for the next start: the ledger ends with the laptop.

    What was kept before stays where `destroy` has removed the ledger.
    """
    try:
        stored = fleet.config()
    except FleetError as error:
        if error.facts.get("code") != NO_TABLE:
            raise
        return
    if stored is not None:
        (folder / APPLIED).write_bytes(stored.text.encode())


def with_address(text: str, url: str) -> str:
    """The text with this address of GitLab, or the same text where it has no address to replace."""
    try:
        tables = tomllib.loads(text)
        former = tables["gitlab"]["url"]
        position = toml_lines(text).positions["gitlab", "url"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    if not isinstance(former, str) or not former:
        return text
    lines = text.split("\n")
    line, start = lines[position.line - 1], position.column - 1
    lines[position.line - 1] = line[:start] + line[start:].replace(former, url, 1)
    changed = "\n".join(lines)
    try:
        tables["gitlab"]["url"] = url
        return changed if tomllib.loads(changed) == tables else text
    except ValueError:
        return text


def _apply(apply: Callable[[str], object], path: Path, url: str) -> Iterator[str]:
    """Apply one file, with the address of this start; yields the problems that prevent it."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        yield f"{path}: is not UTF-8 text"
        return
    current = with_address(text, url)
    try:
        if (former := read_config(current, name=str(path)).gitlab.url) != url:
            raise Refused(f'write url = "{url}" in [gitlab]', is_now=former)
        apply(current)
    except ConfigError as error:
        yield from map(str, error.problems)
        return
    except FleetError as error:
        yield f"{path}: {error}"
        return
    if current != text:
        path.write_bytes(current.encode())
