"""Tokens are shown by their first characters only, and what holds when nothing is said."""

from __future__ import annotations

import pytest

from local.stand_in.options import DEFAULT_CONFIG, Options, RunnerOptions, shorten


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


def test_a_runner_that_is_told_nothing_is_as_the_real_one() -> None:
    options = Options(runner=RunnerOptions())
    assert (options.max_builds, options.wait_timeout_s) == (0, 0)  # no limit, for ever
    assert (options.poll_pause_s, options.trace_pause_s) == (3.0, 3.0)
    assert (options.unhealthy_pause_s, options.shutdown_limit_s) == (300.0, 30.0)
    assert options.runner.final_update_retry_limit == 10
    assert not options.runner.debug_trace_disabled
    assert DEFAULT_CONFIG == "/etc/gitlab-runner/config.toml"
