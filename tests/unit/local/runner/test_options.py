"""Tokens are shown by their first characters only."""

from __future__ import annotations

import pytest

from local.runner.options import RunnerOptions, shorten


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("glrt-abcdefghijklmn", "abcdefghi"),
        ("glcbt-64_abcdefghij", "64_abcdef"),
        ("abcdefghijkl", "abcdefgh"),
        ("short", "short"),
    ],
)
def test_the_kind_of_token_is_left_out(token: str, shown: str) -> None:
    assert shorten(token) == shown
    assert RunnerOptions(token=token).short_token == shown
