"""What a module loads: a cold start pays for it, so a fresh process is asked."""

import subprocess
import sys

import pytest

HEAVY = {"boto3", "botocore", "pydantic", "fastapi", "gitlab", "ministack", "local", "adapters"}


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
    assert printed(probe) == [""]


def printed(code: str) -> list[str]:
    """The lines of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True
    )
    return done.stdout.rstrip("\n").split("\n")


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    assert printed(code)[-1] == "[]"
