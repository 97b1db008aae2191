"""Typed readers for one place in a CI file; each failure names key and line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from local.gitlab.ci_types import CiError
from local.gitlab.ci_yaml import Node

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
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")


@dataclass(frozen=True, slots=True)
class Spot:
    """A node and the way to it, such as `jobs:build:artifacts`."""

    node: Node
    path: str

    def error(self, why: str) -> CiError:
        """The error that says what is wrong at this place."""
        return self.node.error(f"{self.path}: {why}")

    @property
    def is_map(self) -> bool:
        """There are keys below."""
        return isinstance(self.node.value, Mapping)

    @property
    def is_list(self) -> bool:
        """There are items below."""
        return isinstance(self.node.value, tuple)

    def entries(self, allowed: Collection[str] | None = None) -> dict[str, Spot]:
        """The map's entries; a key outside `allowed` is an error."""
        if not isinstance(self.node.value, Mapping):
            raise self.error("must be a map")
        for key, node in self.node.value.items():
            if allowed is not None and key not in allowed:
                raise node.error(f"{self.path}: unsupported key {key!r}")
        return {key: Spot(node, f"{self.path}:{key}") for key, node in self.node.value.items()}

    def items(self) -> tuple[Spot, ...]:
        """The list's items, lists inside it laid flat (that is how `!reference` arrives)."""
        return tuple(Spot(node, self.path) for node in self._flat(self.node))

    def _flat(self, node: Node) -> Iterator[Node]:
        if not isinstance(node.value, tuple):
            raise self.error("must be a list")
        for item in node.value:
            if isinstance(item.value, tuple):
                yield from self._flat(item)
            else:
                yield item

    def text(self) -> str:
        """Text, and not empty."""
        if not isinstance(self.node.value, str) or not self.node.value:
            raise self.error("must be a string")
        return self.node.value

    def lines(self) -> tuple[str, ...]:
        """A script: one text, or a list of them; an empty line is a line."""
        lines = [item.node.value for item in (self.items() if self.is_list else (self,))]
        texts = tuple(line for line in lines if isinstance(line, str))
        if len(texts) < len(lines):
            raise self.error("must be a string or a list of strings")
        return texts

    def one_of(self, words: Collection[str]) -> str:
        """Text from a closed list."""
        if self.node.value not in words:
            raise self.error(f"must be one of {', '.join(words)}")
        return self.text()

    def flag(self) -> bool:
        """true or false."""
        if not isinstance(self.node.value, bool):
            raise self.error("must be true or false")
        return self.node.value

    def whole(self, low: int, high: int) -> int:
        """A whole number, ends included."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"must be a whole number from {low} to {high}")
        return value

    def texts(self) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(item.text() for item in self.items())

    def text_or_texts(self) -> tuple[str, ...]:
        """One text, or a list of them."""
        return self.texts() if self.is_list else (self.text(),)

    def plain(self) -> str:
        """A text, number or truth value in its written form, as variables take it."""
        value = self.node.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise self.error("must be a string or a number")
        return str(value)

    def duration_s(self) -> int:
        """Seconds, read as GitLab reads them: `1h 30m`, `90 seconds`, `3600`."""
        seconds = read_duration_s(self.plain())
        if seconds is None:
            raise self.error("must be a duration such as '1h 30m'")
        return seconds


def read_duration_s(text: str) -> int | None:
    """Seconds in a duration written in words, or None when it is none."""
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
    """`text` with the variables that are known put in; others stay as they are written."""
    return _VARIABLE.sub(lambda m: variables.get(m[1] or m[2], m[0]), text)
