"""Where a job's files go."""

from __future__ import annotations

import pytest

from local.stand_in.build import find_places
from local.stand_in.options import RunnerOptions
from tests.unit.local.stand_in.jobs import GIT_INFO, job

RUNNER = RunnerOptions(token="glrt-abcdefghijk", builds_dir="/b", cache_dir="/c")


def test_a_folder_per_runner_and_project() -> None:
    places = find_places(job(), RUNNER, working_dir="/w")
    assert places.project == "/b/abcdefghi/0/acme/demo"
    assert places.temporary == "/b/abcdefghi/0/acme/demo.tmp"
    assert (places.builds, places.cache) == ("/b", "/c/acme/demo")


@pytest.mark.parametrize(
    ("builds", "expected"), [("", "/w/builds"), ("mine", "/w/mine"), ("/x", "/x")]
)
def test_relative_folders_are_below_the_working_directory(builds: str, expected: str) -> None:
    runner = RunnerOptions(token="t", builds_dir=builds)
    assert find_places(job(), runner, working_dir="/w").builds == expected


@pytest.mark.parametrize("url", ["http://host", "http://host/../../etc", "", "http://host/.git"])
def test_an_address_without_a_path_gives_the_projects_number(url: str) -> None:
    places = find_places(job(git_info={**GIT_INFO, "repo_url": url}), RUNNER, working_dir="/w")
    assert places.project == "/b/abcdefghi/0/project-7"


def test_the_empty_strategy_has_a_folder_of_its_own() -> None:
    empty = job(variables=[{"key": "GIT_STRATEGY", "value": "empty"}])
    assert find_places(empty, RUNNER, working_dir="/w").project.endswith("/demo-empty")
