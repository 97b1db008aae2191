"""Typed readers for one value of a CI file; each error names its key and line."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from local.gitlab.ci.types import CiError, CiMissingError
from local.gitlab.ci.yaml import Node

_UNIT_S = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hr": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
    "mo": 2592000,
    "month": 2592000,
    "y": 31536000,
    "yr": 31536000,
    "year": 31536000,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_DEEPEST = 10  # nested lists: GitLab's MAX_NESTING_LEVEL
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


_T = TypeVar("_T")
_A = TypeVar("_A")


class Entries(dict[str, "Location"]):
    """The entries of a map by key."""

    def read(self, key: str, reader: Callable[["Location"], _T], absent: _A) -> _T | _A:
        """What `reader` makes of an entry; `absent` without the entry."""
        return reader(self[key]) if key in self else absent

    @property
    def present(self) -> "Entries":
        """Those that are not null."""
        return Entries({key: spot for key, spot in self.items() if not spot.is_null})


@dataclass(frozen=True, slots=True)
class Location:
    """A node and its path, such as `jobs:build:artifacts`."""

    node: Node
    path: str

    def error(self, why: str) -> CiError:
        """An error at this path."""
        return self.node.error(f"{self.path}: {why}")

    def missing(self, why: str) -> CiMissingError:
        """An error about an undefined name at this path."""
        return self.node.missing(f"{self.path}: {why}")

    @property
    def is_null(self) -> bool:
        """Whether the value is null."""
        return self.node.value is None

    @property
    def is_map(self) -> bool:
        """Whether the value is a map."""
        return isinstance(self.node.value, Mapping)

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return isinstance(self.node.value, tuple)

    def entries(self, allowed: Collection[str] | None = None) -> Entries:
        """The map's entries by key. Raises `CiError` for a key that is not `allowed`."""
        if not isinstance(self.node.value, Mapping):
            raise self.error("must be a map")
        for key, node in self.node.value.items():
            if allowed is not None and key not in allowed:
                raise node.error(f"{self.path}: unsupported key {key!r}")
        nodes = self.node.value.items()
        return Entries({key: Location(node, f"{self.path}:{key}") for key, node in nodes})

    def items(self) -> "tuple[Location, ...]":
        """The list's items; nested lists, as `!reference` makes them, are flattened."""
        return tuple(Location(node, self.path) for node in self._flatten(self.node, 1))

    def _flatten(self, node: Node, depth: int) -> Iterator[Node]:
        if not isinstance(node.value, tuple):
            raise self.error("must be a list")
        if depth > _DEEPEST + 1:
            raise Location(node, self.path).error(f"lists inside lists go {_DEEPEST} deep at most")
        for item in node.value:
            if isinstance(item.value, tuple):
                yield from self._flatten(item, depth + 1)
            else:
                yield item

    def text(self) -> str:
        """Text that is not empty."""
        if isinstance(self.node.value, int | float):
            raise self.error(f"must be a string; put {self.scalar_text()} in quotes")
        if not isinstance(self.node.value, str) or not self.node.value:
            raise self.error("must be a string")
        return self.node.value

    def lines(self) -> tuple[str, ...]:
        """The lines of a script, given as one text or a list; lines may be empty."""
        return tuple(item.line() for item in (self.items() if self.is_list else (self,)))

    def line(self) -> str:
        """Text that may be empty, such as a line of a script."""
        value = self.node.value
        if isinstance(value, str):
            return value
        why = "must be a string"
        if isinstance(value, Mapping):
            why += "; put the whole line in quotes, since ': ' makes it a map"
        elif isinstance(value, int | float):
            why += f"; put {self.scalar_text()} in quotes"
        raise self.error(why)

    def list_of(self, words: Collection[str]) -> tuple[str, ...]:
        """One word or a list of words, each among `words`."""
        items = self.items() if self.is_list else (self,)
        return tuple(item.one_of(words) for item in items)

    def one_of(self, words: Collection[str]) -> str:
        """One of `words`."""
        if not isinstance(self.node.value, str) or self.node.value not in words:
            raise self.error(f"must be one of {', '.join(words)}")
        return self.text()

    def flag(self) -> bool:
        """A boolean."""
        if not isinstance(self.node.value, bool):
            raise self.error("must be true or false")
        return self.node.value

    def whole_number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"must be a whole number from {low} to {high}")
        return value

    def texts(self) -> tuple[str, ...]:
        """A list of texts, which may be empty."""
        return tuple(item.line() for item in self.items())

    def text_or_texts(self) -> tuple[str, ...]:
        """One text or a list of texts."""
        return self.texts() if self.is_list else (self.text(),)

    def scalar_text(self) -> str:
        """A text, number or boolean as text, as a variable holds it."""
        value = self.node.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise self.error("must be a string or a number")
        return str(value)

    def expiry(self) -> str:
        """A duration as text, or `never`."""
        text = self.text()
        if text.lower() != "never" and read_duration_s(text) is None:
            raise self.error("must be a duration such as '1 week', or 'never'")
        return text

    def duration_up_to_s(self, most: str) -> int:
        """A duration in seconds, at most `most`; both texts such as `1h 30m` or `'3600'`."""
        seconds = read_duration_s(self.text())
        if seconds is None:
            raise self.error("must be a duration such as '1h 30m'")
        if seconds > (read_duration_s(most) or 0):
            raise self.error(f"must be {most} at most")
        return seconds


def read_duration_s(text: str) -> int | None:
    """The seconds of a duration as GitLab writes it, or None when `text` is no duration."""
    words = text.strip().lower().replace(",", " ")
    if words.isdigit():
        return int(words)
    parts = _PART.findall(words)
    rest = _PART.sub(" ", words).replace("and", " ").strip()
    units = [_UNIT_S.get(unit) or _UNIT_S.get(unit.removesuffix("s")) for _, unit in parts]
    if not parts or rest or None in units:
        return None
    return round(sum(float(n) * (unit or 0) for (n, _), unit in zip(parts, units, strict=True)))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `$NAME` and `${NAME}` replaced; unknown variables stay as written."""
    return _VARIABLE.sub(lambda m: variables.get(m[1] or m[2], m[0]), text)
