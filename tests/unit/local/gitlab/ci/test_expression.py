"""The expressions of `rules:if`, as a table of truths."""

from __future__ import annotations

import pytest

from local.gitlab.ci.expression import ExpressionError, holds, matches

GIVEN = {
    "BRANCH": "main",
    "TAG": "v1.2",
    "EMPTY": "",
    "BLANK": " ",
    "PATTERN": "/^v\\d/",
    "OTHER": "main",
}


@pytest.mark.parametrize(
    "text",
    [
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
        "$BRANCH !~ /^v/",
        "$MISSING !~ /x/",
        "$BRANCH !~ $MISSING",
        '"a/b" =~ /a\\/b/',
        "$MISSING || $BRANCH",
        "$BRANCH && $TAG",
        "$MISSING && $MISSING || $TAG",
        "$TAG || $MISSING && $MISSING",
        "($TAG || $MISSING) && $BRANCH",
        '($BRANCH == "main")',
        '$BRANCH=="main"&&$TAG=~/^v/',
        '$BRANCH == "main" &&\n  $TAG',
        "($BRANCH)",
    ],
)
def test_true(text: str) -> None:
    assert holds(text, GIVEN)


@pytest.mark.parametrize(
    "text",
    [
        "$MISSING",
        "$EMPTY",
        "$BLANK",
        "null",
        '$BRANCH == "dev"',
        '$MISSING == ""',
        "$EMPTY == null",
        "$TAG =~ /^x/",
        "$TAG =~ /V1/",
        "$MISSING =~ /x/",
        "$BRANCH =~ $MISSING",
        "$TAG !~ /^v/",
        "$BRANCH && $MISSING",
        "($TAG || $MISSING) && $MISSING",
        "$EMPTY || $MISSING",
    ],
)
def test_false(text: str) -> None:
    assert not holds(text, GIVEN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it ends too early"),
        ("$A ==", "it ends too early"),
        ("$A $B", "unexpected 'B'"),
        ("&& $A", "unexpected '&&'"),
        ("($A", "a closing parenthesis is missing"),
        ("$A == main", "cannot be read from 'main' on"),
        ("$A = 'x'", "cannot be read from"),
        ("$A =~ /(/", "is not a pattern"),
        ("!$A", "cannot be read from"),
    ],
)
def test_what_is_no_expression(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        holds(text, {"A": "a"})
    assert said in str(caught.value)


def test_a_pattern_in_a_branch_not_taken_is_checked_all_the_same() -> None:
    with pytest.raises(ExpressionError):
        holds("$MISSING && $A =~ /(/", {})


def test_flags_change_what_matches() -> None:
    assert matches("/a.b/s", "a\nb")
    assert not matches("/a.b/", "a\nb")
    assert matches("/^b/m", "a\nb")
