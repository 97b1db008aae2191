"""The expressions of `rules:if`, as a table of truths."""

import pytest

from local.gitlab.ci.expression import ExpressionError, holds, matches

VARIABLES = {
    "BRANCH": "main",
    "TAG": "v1.2",
    "EMPTY": "",
    "BLANK": " ",
    "PATTERN": "/^v\\d/",
    "OTHER": "main",
}
TRUE = [
    "$BRANCH",
    '$BRANCH == "main"',
    "$BRANCH == 'main'",
    '"main" == $BRANCH',
    "$BRANCH == $OTHER",
    '$BRANCH != "dev"',
    "$MISSING == null",
    "$MISSING != $EMPTY",
    '$EMPTY == ""',
    "$BRANCH != null",
    "$TAG =~ /^v/",
    "$TAG =~ /V1/i",
    "$TAG =~ /1\\.2$/",
    "$TAG =~ /\\Av1\\.2\\z/",
    "$TAG =~ $PATTERN",
    "$BRANCH =~ $OTHER",
    "$BRANCH !~ /^v/",
    "$MISSING !~ /x/",
    "$BRANCH !~ $MISSING",
    '"a/b" =~ /a\\/b/',
    "$MISSING || $BRANCH",
    "$BRANCH && $TAG",
    "$MISSING && $MISSING || $TAG",
    "$TAG || $MISSING && $MISSING",
    "($TAG || $MISSING) && $BRANCH",
    '$BRANCH=="main"&&$TAG=~/^v/',
    '($BRANCH == "main") &&\n  $TAG',
]
FALSE = [
    "$MISSING",
    "$EMPTY",
    "$BLANK",
    "null",
    '$BRANCH == "dev"',
    '$MISSING == ""',
    "$EMPTY == null",
    "$TAG =~ /^x/",
    "$TAG =~ /V1/",
    "$TAG =~ $OTHER",
    "$MISSING =~ /x/",
    "$BRANCH =~ $MISSING",
    "$TAG !~ /^v/",
    "$BRANCH && $MISSING",
    "($TAG || $MISSING) && $MISSING",
    "$EMPTY || $MISSING",
]


@pytest.mark.parametrize(
    ("text", "is_true"), [*((text, True) for text in TRUE), *((text, False) for text in FALSE)]
)
def test_an_expression_is_true_or_false(text: str, is_true: bool) -> None:
    assert holds(text, VARIABLES) is is_true


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it ends too early"),
        ("$A ==", "it ends too early"),
        ("$A $B", "unexpected 'B'"),
        ("&& $A", "unexpected '&&'"),
        ("($A", "a closing parenthesis is missing"),
        ("$A == main", "cannot be read from 'main' on"),
        ("$A = 'x'", "cannot be read from"),
        ("!$A", "cannot be read from"),
        ("$A =~ /(/", "is not a pattern"),
        ("$MISSING && $A =~ /(/", "is not a pattern"),
    ],
)
def test_a_malformed_expression_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        holds(text, {"A": "a"})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "is_match"), [("/a.b/s", True), ("/a.b/", False), ("/^b/m", True), ("/^b/", False)]
)
def test_the_flags_of_a_pattern_are_rubys(pattern: str, is_match: bool) -> None:
    assert matches(pattern, "a\nb") is is_match


def test_a_pattern_has_slashes() -> None:
    with pytest.raises(ExpressionError, match="'a' is not a /pattern/"):
        matches("a", "a")
