"""Variables of a job and what they expand to."""

from __future__ import annotations

import pytest

from local.stand_in.build import not_followed
from local.stand_in.config import RunnerOptions
from local.stand_in.job import Variable
from local.stand_in.variables import Places, Variables, job_variables
from tests.unit.local.stand_in.jobs import job

PLACES = Places(builds="/b", project="/b/p", temporary="/t", cache="/c")


def variables(**values: str) -> Variables:
    return Variables([Variable(key=key, value=value) for key, value in values.items()], PLACES)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("$A", "1"),
        ("${A}", "1"),
        ("x${A}y$B", "x1y2"),
        ("$MISSING.", "."),
        ("$$A", "$A"),
        ("$1$?", ""),
        ("$CHAIN", "12"),
        ("$FILE", "/t/FILE"),
        ("$RAW", "$A"),
        ("100%", "100%"),
    ],
)
def test_references_are_followed(written: str, read: str) -> None:
    given = Variables(
        [
            Variable(key="A", value="1"),
            Variable(key="B", value="2"),
            Variable(key="CHAIN", value="$A$B"),
            Variable(key="FILE", value="content", file=True),
            Variable(key="RAW", value="$A", raw=True),
            Variable(key="IT", value=written),
        ],
        PLACES,
    )
    assert given.value("IT") == read
    assert given.expand(written) == read


def test_a_circle_of_references_ends_in_an_empty_text() -> None:
    given = variables(A="a$B", B="b$A", SELF="x$SELF")
    assert (given.value("A"), given.value("B"), given.value("SELF")) == ("ab", "ba", "x")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"GIT_STRATEGY": "clone", "GIT_DEPTH": "5", "MY_ATTEMPTS": "2"}, []),
        ({"CI_DEBUG_TRACE": "true", "RUNNER_AFTER_SCRIPT_TIMEOUT": ""}, ["CI_DEBUG_TRACE"]),
        ({"GIT_STRATEGY": "svn", "GIT_CHECKOUT": "false"}, ["GIT_CHECKOUT", "GIT_STRATEGY"]),
        ({"GET_SOURCES_ATTEMPTS": "2", "FF_X": "1"}, ["FF_X", "GET_SOURCES_ATTEMPTS"]),
    ],
)
def test_settings_that_only_the_real_runner_follows(
    given: dict[str, str], names: list[str]
) -> None:
    assert not_followed(variables(**given)) == names


def test_facts_win_over_gitlab_and_gitlab_over_the_runner() -> None:
    runner = RunnerOptions(
        token="glrt-abcdefghijk",
        environment=("OWN=runner", "BOTH=runner", "CI_PROJECT_DIR=/lie", "broken"),
    )
    sent = [
        {"key": "BOTH", "value": "gitlab"},
        {"key": "CI_SERVER", "value": "sent"},
        {"key": "CI_RUNNER_VERSION", "value": "lie"},
    ]
    read = job_variables(job(variables=sent), runner, PLACES, 600)
    assert (read.value("OWN"), read.value("BOTH")) == ("runner", "gitlab")
    assert read.value("CI_PROJECT_DIR") == "/b/p"
    assert read.value("CI_SERVER") == "sent"
    assert read.value("CI_RUNNER_VERSION") == "17.9.0"
    assert read.value("CI_RUNNER_SHORT_TOKEN") == "abcdefghi"
    assert read.value("CI_JOB_TIMEOUT") == "600"
    assert (read.value("CI_CONCURRENT_ID"), read.value("CI_BUILDS_DIR")) == ("0", "/b")
