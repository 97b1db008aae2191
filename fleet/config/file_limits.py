"""Limits of a configuration file before it is read as TOML: text, not too long, not too deep.

Beyond these limits `tomllib` raises errors other than its own, or takes hours.
What is read may be too much as well: each item of it has its own checks and problems.
"""

import re
from collections.abc import Mapping
from typing import Any

from fleet.config.lines import Path
from fleet.config.problems import FileProblem

# The file is kept in one item of DynamoDB, of at most 400 KB with everything else.
LARGEST = 350_000  # bytes
DEEPEST = 64  # arrays and tables within each other
DIGITS = 100
PARTS = 32  # of a dotted key
LONGEST_LIST = 300  # items; CreateFleet takes no more overrides
LARGEST_TABLE = 1000  # keys
LONGEST_TEXT = 4096  # characters of a key or a text

_DIGITS = re.compile(rf"[0-9](?:_?[0-9]){{{DIGITS}}}|0x(?:_?[0-9A-Fa-f]){{{DIGITS}}}")
_DOTTED = re.compile(rf"\.(?:[ \t]*(?:[\w-]+[ \t]*)?\.){{{PARTS - 1}}}")
# Strings and comments: their brackets, dots and digits have no meaning. Each alternative matches
# once begun, so the text is scanned once.
_INERT = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:[^"\\\n]|\\[^\n])*"?|\'[^\'\n]*\'?|#[^\n]*',
    re.DOTALL,
)


def beyond_limits(name: str, text: str) -> FileProblem | None:
    """The problem that keeps the text from `tomllib`; None within the limits."""
    beyond = _beyond(text)
    if beyond is None:
        return None
    at, message = beyond
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return FileProblem(name=name, line=line, column=column, path="", message=message)


def crowded(tables: Mapping[str, Any]) -> tuple[Path, str] | None:
    """The path of a list or table that holds too much, and a sentence. Counts no pools."""
    unvisited: list[tuple[Path, Any]] = [((), tables)]
    while unvisited:
        path, value = unvisited.pop()
        if isinstance(value, dict):
            if len(value) > LARGEST_TABLE and path != ("pools",):
                return path, f"holds {len(value)} keys, and at most {LARGEST_TABLE} work"
            if any(len(key) > LONGEST_TEXT for key in value):
                return path, f"holds a key of more than {LONGEST_TEXT} characters"
            unvisited += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            if len(value) > LONGEST_LIST:
                return path, f"holds {len(value)} items, and at most {LONGEST_LIST} work"
            unvisited += [((*path, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, str) and len(value) > LONGEST_TEXT:
            return path, f"holds {len(value)} characters, and at most {LONGEST_TEXT} work"
    return None


def _beyond(text: str) -> tuple[int, str] | None:
    """The index of the first violation, and a sentence."""
    if len(text.encode(errors="surrogatepass")) > LARGEST:
        return 0, f"the file has more than the {LARGEST} bytes that a fleet.toml may have"
    if "\0" in text:
        message = "the file holds a NUL, which no text does: save it as UTF-8 (it may be UTF-16)"
        return text.index("\0"), message
    bare = _INERT.sub(lambda bracket: re.sub(r"[^\n]", " ", bracket[0]), text)
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", bare):
        depth = depth + 1 if bracket[0] in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            return bracket.start(), f"nests more than {DEEPEST} lists or tables"
    if digits := _DIGITS.search(bare):
        return digits.start(), f"holds a number of more than {DIGITS} digits"
    if dotted := _DOTTED.search(bare):
        return dotted.start(), f"holds a key of more than {PARTS} parts"
    return None
