"""What a configuration file must be before it is read as TOML: text, not too long, not too deep.

`tomllib` raises other errors than its own, or takes hours, for what is beyond these limits.
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
# What holds brackets, dots and digits that mean nothing: strings and comments. Each alternative
# matches once begun, so that one pass is all.
_INERT = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)|\'\'\'.*?(?:\'\'\'|\Z)'
    r'|"(?:[^"\\\n]|\\[^\n])*"?|\'[^\'\n]*\'?|#[^\n]*',
    re.DOTALL,
)


def beyond_limits(name: str, text: str) -> FileProblem | None:
    """Say what `tomllib` must not get; None when it may."""
    beyond = _beyond(text)
    if beyond is None:
        return None
    at, message = beyond
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return FileProblem(name=name, line=line, column=column, path="", message=message)


def _beyond(text: str) -> tuple[int, str] | None:
    """Where it is, and what."""
    if len(text.encode(errors="surrogatepass")) > LARGEST:
        return 0, f"the file has more than the {LARGEST} bytes that a fleet.toml may have"
    if "\0" in text:
        told = "the file holds a NUL, which no text does: save it as UTF-8 (it may be UTF-16)"
        return text.index("\0"), told
    bare = _INERT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    depth = 0
    for found in re.finditer(r"[\[\]{}]", bare):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > DEEPEST:
            return found.start(), f"nests more than {DEEPEST} lists or tables"
    if digits := _DIGITS.search(bare):
        return digits.start(), f"holds a number of more than {DIGITS} digits"
    if dotted := _DOTTED.search(bare):
        return dotted.start(), f"holds a key of more than {PARTS} parts"
    return None
