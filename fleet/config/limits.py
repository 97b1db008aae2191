"""Limits of a configuration file before it is read as TOML: text, not too long, not too deep.

Beyond these limits `tomllib` raises errors other than its own, or takes hours.
"""

import re

from fleet.config.problems import FileProblem

# The file is kept in one item of DynamoDB, of at most 400 KB with everything else.
LARGEST = 350_000  # bytes
DEEPEST = 64  # arrays and tables within each other
DIGITS = 100
PARTS = 32  # of a dotted key

_DIGITS = re.compile(rf"[0-9](?:_?[0-9]){{{DIGITS}}}")
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
