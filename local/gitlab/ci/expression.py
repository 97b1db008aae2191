"""The expressions of `rules:if`: `$A == "x" && ($B =~ /^v/ || $C)`.

Source: GitLab docs, "Job rules", CI/CD variable expressions.
"""

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
    """GitLab would refuse the expression."""


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Whether the expression is true. Raises `ExpressionError`; does not expand values."""
    return _is_true(_ExpressionParser(text).expression()(variables))


def is_pattern(text: str) -> bool:
    """Whether the text looks like `/pattern/flags`, which may be wrong or empty."""
    return re.fullmatch(r"/.*/[ismU]*", text, re.DOTALL) is not None


def matches(pattern: str, text: str) -> bool:
    """Whether `text` matches `/pattern/flags`. Raises `ExpressionError`."""
    parts = _PATTERN.fullmatch(pattern.strip())
    if not parts:
        raise ExpressionError(f"{pattern!r} is not a /pattern/")
    flags = re.NOFLAG
    for letter in parts[2]:
        flags |= _FLAGS[letter]
    try:
        return bool(re.search(parts[1].replace(r"\z", r"\Z"), text, flags))
    except re.error as exc:
        raise ExpressionError(f"{pattern!r} is not a pattern: {exc}") from exc


def _is_true(value: Value) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


class _ExpressionParser:
    """Recursive descent: `||` binds least, then `&&`, then the comparisons."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens_of(text)
        self._position = 0

    def expression(self) -> _Expression:
        expression = self._disjunction()
        if self._position < len(self._tokens):
            raise ExpressionError(f"unexpected {self._tokens[self._position][1]!r}")
        return expression

    def _accept(self, *operators: str) -> str | None:
        if self._position < len(self._tokens):
            kind, text = self._tokens[self._position]
            if kind == "op" and text in operators:
                self._position += 1
                return text
        return None

    def _disjunction(self) -> _Expression:
        terms = [self._conjunction()]
        while self._accept("||"):
            terms.append(self._conjunction())
        return lambda v: any(_is_true(term(v)) for term in terms) if terms[1:] else terms[0](v)

    def _conjunction(self) -> _Expression:
        terms = [self._comparison()]
        while self._accept("&&"):
            terms.append(self._comparison())
        return lambda v: all(_is_true(term(v)) for term in terms) if terms[1:] else terms[0](v)

    def _comparison(self) -> _Expression:
        left = self._operand()
        operator = self._accept("==", "!=", "=~", "!~")
        if operator is None:
            return left
        right = self._operand()
        if operator in {"==", "!="}:
            return lambda v: (left(v) == right(v)) is (operator == "==")
        return lambda v: _matches_value(left(v), right(v)) is (operator == "=~")

    def _operand(self) -> _Expression:
        if self._accept("("):
            inner = self._disjunction()
            if not self._accept(")"):
                raise ExpressionError("a closing parenthesis is missing")
            return inner
        if self._position >= len(self._tokens):
            raise ExpressionError("it ends too early")
        kind, text = self._tokens[self._position]
        self._position += 1
        if kind == "op":
            raise ExpressionError(f"unexpected {text!r}")
        if kind == "variable":
            return lambda v: v.get(text)
        if kind == "null":
            return lambda _: None
        if kind == "pattern":
            matches(text, "")
        return lambda _: text


def _matches_value(left: Value, pattern: Value) -> bool:
    """Whether the value matches; never with an unset pattern, and an unset value is empty.

    With a pattern that is no /pattern/, GitLab asks whether the pattern contains the value.
    """
    if not isinstance(pattern, str):
        return False
    text = left if isinstance(left, str) else ""
    return matches(pattern, text) if _PATTERN.fullmatch(pattern.strip()) else text in pattern


def _tokens_of(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position = 0
    while text[position:].strip():
        token = _TOKEN.match(text, position)
        if not token:
            raise ExpressionError(f"cannot be read from {text[position:].strip()!r} on")
        kind = str(token.lastgroup)
        tokens.append((kind, token[kind]))
        position = token.end()
    return tokens
