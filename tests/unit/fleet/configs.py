"""Configurations with one pool, from the few keys that a test is about."""

import json
from typing import Any

from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig, read_config


def config_of(backend: str, *, gitlab: str = "", **keys: Any) -> FleetConfig:
    """One with the pool `docker`. `gitlab`: a line of that table; `idle__count` is `idle.count`."""
    pool = {"backend": backend, "tags": ["docker"], "ceiling": 5} | keys
    lines = [f"{key.replace('__', '.')} = {json.dumps(value)}" for key, value in pool.items()]
    head = '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"'
    text = "\n".join([head, gitlab, "[pools.docker]", *lines, ""])
    return read_config(text, backends=("ec2", "lambda", "tests"))


def pool_of(backend: str, **keys: Any) -> PoolConfig:
    return config_of(backend, **keys).pools[0]
