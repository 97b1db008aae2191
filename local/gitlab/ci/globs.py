"""Path globs as GitLab matches them: Ruby's `File.fnmatch` with PATHNAME, DOTMATCH and EXTGLOB.

Source: GitLab's `Rules::Rule::Clause::Changes`, `Clause::Exists`, and
`Repository#search_files_by_wildcard_path` for `include:local`.
"""

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

_SPECIAL = frozenset("*?[{")


def matching(globs: Collection[str], paths: Collection[str]) -> list[str]:
    """The paths that match any glob, sorted: `**/` crosses folders; `*`, `**` and `?` do not."""
    patterns = [re.compile(_regex(plain)) for glob in globs for plain in _alternatives(glob)]
    return sorted(p for p in paths if any(pattern.fullmatch(p) for pattern in patterns))


def any_matches(globs: Collection[str], paths: Collection[str]) -> bool:
    """Whether any path matches any glob."""
    return bool(matching(globs, paths))


def any_exists(globs: Collection[str], paths: Collection[str]) -> bool:
    """Whether a file exists; a glob that ends in a slash and has no wildcard names a folder."""
    folders = tuple(g for g in globs if g.endswith("/") and not _SPECIAL & {*g})
    return any(path.startswith(folders) for path in paths) or any_matches(globs, paths)


def included_paths(glob: str, paths: Collection[str]) -> list[str]:
    """The paths that match a glob of `include:local`, sorted: here every `**` crosses folders."""
    pattern = re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return sorted(path for path in paths if re.fullmatch(pattern, path))


def _alternatives(glob: str) -> Iterator[str]:
    """The globs without braces that `{a,b}` expands to; braces may be nested."""
    start, depth = -1, 0
    commas: list[int] = []
    for index, letter in enumerate(glob):
        if letter == "{":
            if depth == 0:
                start, commas = index, []
            depth += 1
        elif letter == "," and depth == 1:
            commas.append(index)
        elif letter == "}" and depth:
            depth -= 1
            if depth == 0:
                edges = [start, *commas, index]
                for left, right in pairwise(edges):
                    yield from _alternatives(
                        glob[:start] + glob[left + 1 : right] + glob[index + 1 :]
                    )
                return
    yield glob


_TOKEN = re.compile(
    r"""(?P<folders>(?:(?<=/)|^)\*\*/) | (?P<stars>\*+) | (?P<any>\?)
      | \[(?P<set>\]?[^\]]*)\] | \\(?P<plain>.) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def _regex(glob: str) -> str:
    return _TOKEN.sub(_regex_of_token, glob)


def _regex_of_token(token: re.Match[str]) -> str:
    if token["folders"]:
        return "(?:[^/]+/)*"
    if token["stars"]:
        return "[^/]*"
    if token["any"]:
        return "[^/]"
    if token["set"]:
        inside = re.sub(r"([\\\[\]&~|])", r"\\\1", token["set"])
        return f"(?!/)[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(token["plain"] or token["other"] or "[]")
