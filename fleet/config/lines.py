"""The position of each key of a TOML text. `tomllib` reads the values and drops the lines.

`toml_lines` does not validate: `tomllib` does. On a text that `tomllib` refuses it gives the
positions up to the first error, enough to name a key that is set twice or an unclosed bracket.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")
# The closing quotes of a multi-line string may follow up to two quotes that belong to the text.
_STRINGS = {
    '"""': re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    "'''": re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    '"': re.compile(r'"(?:[^"\\\n]|\\[^\n])*"'),
    "'": re.compile(r"'[^'\n]*'"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A line and a column of a text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A key or a table that is written twice."""

    path: Path
    first: Position
    again: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlLines:
    """The positions of a text's keys, list items and tables."""

    positions: Mapping[Path, Position]
    repeats: tuple[Repeat, ...]
    unclosed: Position | None  # the innermost bracket or quote open where reading stopped

    def position(self, path: Path) -> Position:
        """The position of `path`, or of the nearest table or list around it that has one."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Position(line=1, column=1))


class _Unreadable(Exception):
    """The text is not TOML from here on."""


class _TomlWalk:
    """Walks over a text once and notes the start of each key, item and table."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.starts: dict[Path, int] = {}
        self.written: set[Path] = set()  # those of `starts` that the text spells out
        self.repeats: list[tuple[Path, int]] = []
        self.opened: list[int] = []  # where brackets and quotes that are not closed yet start
        self.list_tables: dict[Path, int] = {}  # path of [[tables]] -> how many so far

    def document(self) -> None:
        table: Path = ()
        while self._after(_FILLER):
            table = self._header() if self._peek("[") else self._pair(table)

    def _header(self) -> Path:
        start, many = self.at, self._peek("[[")
        self.at += 2 if many else 1
        path: Path = ()
        keys = self._keys()
        for key in keys[:-1]:
            path = self._last_of((*path, key))
        path = (*path, keys[-1])
        self._note_around(path, start)
        if many:
            self.starts.setdefault(path, start)
            self.list_tables[path] = self.list_tables.get(path, 0) + 1
            path = self._last_of(path)
        self._note(path, start)
        self._take("]]" if many else "]")
        return path

    def _last_of(self, path: Path) -> Path:
        count = self.list_tables.get(path, 0)
        return (*path, count - 1) if count else path

    def _pair(self, table: Path) -> Path:
        start = self.at
        path = (*table, *self._keys())
        self._note_around(path, start)
        self._note(path, start)
        self._take("=")
        self._after(_BLANK)
        self._value(path)
        return table

    def _keys(self) -> Path:
        keys = [self._key()]
        while self._peek("."):
            self.at += 1
            keys.append(self._key())
        return tuple(keys)

    def _key(self) -> str:
        self._after(_BLANK)
        start = self.at
        if self._peek('"') or self._peek("'"):
            self._string()
            key = _decoded(self.text[start : self.at])
        else:
            key = self._match(_BARE_KEY)
        self._after(_BLANK)
        return key

    def _value(self, path: Path) -> None:
        if self._peek("["):
            self._list(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif self._peek('"') or self._peek("'"):
            self._string()
        else:
            self._match(_SCALAR)

    def _list(self, path: Path) -> None:
        self._open()
        count = 0
        while self._after(_FILLER) and not self._peek("]"):
            self._note((*path, count), self.at)
            self._value((*path, count))
            count += 1
            self._after(_FILLER)
            if not self._peek("]"):
                self._take(",")
        self._close("]")

    def _inline_table(self, path: Path) -> None:
        self._open()
        while self._after(_FILLER) and not self._peek("}"):
            self._pair(path)
            self._after(_FILLER)
            if not self._peek("}"):
                self._take(",")
        self._close("}")

    def _string(self) -> None:
        quote = next(quote for quote in _STRINGS if self._peek(quote))
        self.opened.append(self.at)
        self._match(_STRINGS[quote])
        self.opened.pop()

    def _open(self) -> None:
        self.opened.append(self.at)
        self.at += 1

    def _close(self, bracket: str) -> None:
        self._take(bracket)
        self.opened.pop()

    def _note(self, path: Path, start: int) -> None:
        if path in self.written:
            self.repeats.append((path, start))
        else:
            self.written.add(path)
            self.starts[path] = start

    def _note_around(self, path: Path, start: int) -> None:
        for length in range(1, len(path)):
            self.starts.setdefault(path[:length], start)

    def _peek(self, literal: str) -> bool:
        return self.text.startswith(literal, self.at)

    def _take(self, literal: str) -> None:
        if not self._peek(literal):
            raise _Unreadable
        self.at += len(literal)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Unreadable
        self.at = match.end()
        return match.group()

    def _after(self, pattern: re.Pattern[str]) -> bool:
        """Step over an optional match; whether text is left."""
        self._match(pattern)
        return self.at < len(self.text)


def toml_lines(text: str) -> TomlLines:
    """The positions of the keys, list items and tables of a TOML text. Never raises."""
    text = text.replace("\r\n", "\n")
    reader = _TomlWalk(text)
    is_whole = True
    try:
        reader.document()
    except (_Unreadable, RecursionError):
        is_whole = False
    opened = reader.opened[-1:] if not is_whole else []
    line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(start: int) -> Position:
        line = bisect_right(line_starts, start)
        return Position(line=line, column=start - line_starts[line - 1] + 1)

    return TomlLines(
        positions={path: position(start) for path, start in reader.starts.items()},
        repeats=tuple(
            Repeat(path=path, first=position(reader.starts[path]), again=position(start))
            for path, start in reader.repeats
        ),
        unclosed=position(opened[0]) if opened else None,
    )


def _decoded(quoted: str) -> str:
    try:
        return str(tomllib.loads(f"key = {quoted}")["key"])
    except tomllib.TOMLDecodeError:
        raise _Unreadable from None
