"""What a module loads: a cold start pays for it, so a fresh process is asked."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("webhook.app", {"gitlab", "typer", "docker"}),
        ("adapters.gitlab.client", {"gitlab", "requests"}),
        ("local.stand_in.__main__", {"urllib3"}),  # `--version` in an image without packages
        ("local.stand_in.single", {"boto3", "botocore", "httpx", "pydantic", "yaml", "requests"}),
    ],
)
def test_a_module_needs_no_settings_and_loads_only_what_it_uses(
    module: str, unwanted: set[str]
) -> None:
    probe = f"import sys, {module}; print(*(set(sys.modules) & {unwanted!r}))"
    done = subprocess.run(
        [sys.executable, "-c", probe], env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
