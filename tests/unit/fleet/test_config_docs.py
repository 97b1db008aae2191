"""`docs/configuration.md` names every key, gives its default, and its examples can be read."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from fleet.config.model import (
    Budgets,
    DockerOptions,
    GitLabConfig,
    IdleConfig,
    PoolConfig,
    ScheduleWindow,
    Watch,
)
from fleet.config.reading import read_config
from fleet.config.values import duration_text

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", TEXT, re.MULTILINE))
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
GITLAB = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "project:7"\n'
POOL = '[pools.p]\nbackend = "ec2"\ntags = ["a"]\ninstance_types = ["m7i.large", "m7a.large"]\n'

KEYS = [
    (model, field.alias or name)
    for model in (
        GitLabConfig,
        Budgets,
        Watch,
        PoolConfig,
        IdleConfig,
        ScheduleWindow,
        DockerOptions,
    )
    for name, field in model.model_fields.items()
    if (model, name) != (PoolConfig, "name")
]


@pytest.mark.parametrize(
    ("model", "key"), KEYS, ids=[f"{model.__name__}.{key}" for model, key in KEYS]
)
def test_every_key_has_a_row(model: type[BaseModel], key: str) -> None:
    assert key in ROWS


@pytest.mark.parametrize("backend", ["ec2", "lambda"])
@pytest.mark.parametrize(
    "key",
    ["max_lifetime", "max_job_time", "boot_deadline", "wait_timeout", "stalled_after", "executor"],
)
def test_defaults_by_back_end_are_as_documented(backend: str, key: str) -> None:
    made = PoolConfig(name="p", backend=backend, ceiling=1)
    value = getattr(made, key)
    written = duration_text(value) if isinstance(value, timedelta) else value
    if (backend, key) == ("ec2", "max_job_time"):
        assert made.max_lifetime - made.max_job_time == timedelta(minutes=15)
        assert ROWS[key].startswith("`max_lifetime` less 15 minutes")
    else:
        assert f'"{written}"' in ROWS[key]


@pytest.mark.parametrize("model", [GitLabConfig, Watch, PoolConfig, IdleConfig, DockerOptions])
def test_plain_defaults_are_as_documented(model: type[BaseModel]) -> None:
    documented_elsewhere = {"image", "count"}  # keys of two tables share a row's name
    for key, field in model.model_fields.items():
        default = field.default
        if key in documented_elsewhere or isinstance(default, BaseModel) or default in (None, ()):
            continue
        if isinstance(default, bool):
            assert ROWS[key] == f"`{str(default).lower()}`"
        elif isinstance(default, int):
            assert ROWS[key] == f"`{default}`"
        elif isinstance(default, str):
            assert ROWS[key] == f'`"{default}"`'


def test_the_whole_example_is_good() -> None:
    whole = [example for example in EXAMPLES if "[gitlab]" in example]
    assert [read_config(example).warnings for example in whole] == [()]


@pytest.mark.parametrize("example", [text for text in EXAMPLES if "[gitlab]" not in text])
def test_examples_of_one_key_are_good(example: str) -> None:
    assert read_config(f"{GITLAB}{POOL}ceiling = 9\n{example}").pools[0].name == "p"
