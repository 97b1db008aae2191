"""The expressions of `rules:if`: `$A == "x" && ($B =~ /^v/ || $C)`.

Source: GitLab docs, "Job rules", CI/CD variable expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Value = str | bool | None
_Expression = Callable[[Mapping[str, str]], Value]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<op>==|!=|=~|!~|&&|\|\||[()])
    | \$(?P<variable>[A-Za-z_]\w*)
    | "(?P<double>[^"]*)" | '(?P<single>[^']*)'
    | (?P<pattern>/(?:[^/\\]|\\.)+/[ismU]*)
    | (?P<null>null\b)
    )""",
    re.VERBOSE,
)
_PATTERN = re.compile(r"/(.+)/([ismU]*)", re.DOTALL)
_FLAGS = {"i": re.IGNORECASE, "s": re.DOTALL, "m": re.MULTILINE, "U": re.NOFLAG}


class ExpressionError(ValueError):
    """The text is no expression GitLab would take."""


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Whether the expression is true. Raises `ExpressionError`; does not expand values."""
    return _present(_Parser(text).whole()(variables))


def matches(pattern: str, text: str) -> bool:
    """Whether a `/pattern/flags` is found in `text`. Raises `ExpressionError`."""
    found = _PATTERN.fullmatch(pattern.strip())
    if not found:
        raise ExpressionError(f"{pattern!r} is not a /pattern/")
    flags = re.NOFLAG
    for letter in found[2]:
        flags |= _FLAGS[letter]
    try:
        return bool(re.search(found[1].replace(r"\z", r"\Z"), text, flags))
    except re.error as exc:
        raise ExpressionError(f"{pattern!r} is not a pattern: {exc}") from exc


def _present(value: Value) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


class _Parser:
    """Recursive descent: `||` binds least, then `&&`, then the comparisons."""

    def __init__(self, text: str) -> None:
        self._tokens = _split(text)
        self._at = 0

    def whole(self) -> _Expression:
        expression = self._any()
        if self._at < len(self._tokens):
            raise ExpressionError(f"unexpected {self._tokens[self._at][1]!r}")
        return expression

    def _next_is(self, *operators: str) -> str | None:
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind == "op" and text in operators:
                self._at += 1
                return text
        return None

    def _any(self) -> _Expression:
        terms = [self._all()]
        while self._next_is("||"):
            terms.append(self._all())
        return lambda v: any(_present(term(v)) for term in terms) if terms[1:] else terms[0](v)

    def _all(self) -> _Expression:
        terms = [self._comparison()]
        while self._next_is("&&"):
            terms.append(self._comparison())
        return lambda v: all(_present(term(v)) for term in terms) if terms[1:] else terms[0](v)

    def _comparison(self) -> _Expression:
        left = self._operand()
        operator = self._next_is("==", "!=", "=~", "!~")
        if operator is None:
            return left
        right = self._operand()
        if operator in {"==", "!="}:
            return lambda v: (left(v) == right(v)) is (operator == "==")
        return lambda v: _found(left(v), right(v)) is (operator == "=~")

    def _operand(self) -> _Expression:
        if self._next_is("("):
            inner = self._any()
            if not self._next_is(")"):
                raise ExpressionError("a closing parenthesis is missing")
            return inner
        if self._at >= len(self._tokens):
            raise ExpressionError("it ends too early")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "op":
            raise ExpressionError(f"unexpected {text!r}")
        if kind == "variable":
            return lambda v: v.get(text)
        if kind == "null":
            return lambda _: None
        if kind == "pattern":
            matches(text, "")
        return lambda _: text


def _found(left: Value, pattern: Value) -> bool:
    """Nothing matches a pattern that is not set; an unset text is the empty one.

    Where a variable holds no /pattern/, GitLab looks for the text in it.
    """
    if not isinstance(pattern, str):
        return False
    text = left if isinstance(left, str) else ""
    return matches(pattern, text) if _PATTERN.fullmatch(pattern.strip()) else text in pattern


def _split(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if not found:
            raise ExpressionError(f"cannot be read from {text[at:].strip()!r} on")
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind]))
        at = found.end()
    return tokens
