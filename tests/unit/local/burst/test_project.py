"""The fleet.toml and the pipelines of a burst."""

import pytest
import yaml

from fleet.config.reading import read_config
from local.burst.project import POOL, config, pipeline, shares


@pytest.mark.parametrize("jobs", [1, 30, 199, 200, 201, 1000])
def test_a_pipeline_has_as_many_jobs_as_asked_for(jobs: int) -> None:
    entries = yaml.safe_load(pipeline(jobs)).values()
    assert sum(entry["parallel"] for entry in entries) == jobs
    assert all(entry["parallel"] <= 200 for entry in entries)  # GitLab takes no more
    assert {tuple(entry["tags"]) for entry in entries} == {("ec2",)}


@pytest.mark.parametrize(
    ("jobs", "projects", "expected"),
    [
        pytest.param(10, 1, (10,), id="one project has them all"),
        pytest.param(10, 3, (4, 3, 3), id="as even as can be"),
        pytest.param(2, 5, (1, 1), id="no project without a job"),
    ],
)
def test_jobs_are_spread_over_projects(jobs: int, projects: int, expected: tuple[int]) -> None:
    assert shares(jobs, projects) == expected


@pytest.mark.parametrize("credentials", ["per-machine", "shared"])
def test_the_configuration_is_valid_and_says_what_was_asked_for(credentials: str) -> None:
    read = read_config(config(url="https://gitlab.example.com", credentials=credentials, ceiling=7))
    (pool,) = read.pools
    assert (pool.name, pool.backend, pool.tags, pool.ceiling) == (POOL, "ec2", ("ec2",), 7)
    assert read.gitlab.credentials == credentials
