"""`import-config`: the proposal alone on standard output, the lines beside it, the exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from fleet.config.reading import read_config
from tests.unit.cli.session import Session

RUNNER = """concurrent = 4
[[runners]]
name = "one"
url = "https://gitlab.example.com"
token = "glrt-abcdefghijklmnopqrst"
executor = "docker"
[runners.docker]
image = "alpine:3.20"
volumes = ["/cache"]
"""


def run(*arguments: str) -> Result:
    arguments = ("import-config", *arguments)
    return CliRunner().invoke(app, arguments, prog_name="runner-fleet")


def test_all_that_import_config_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, screen: Callable[[str, str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(RUNNER)
    Path("k8s.toml").write_text(RUNNER.replace('"docker"', '"kubernetes"'))
    Path("fleet.toml").write_text("[gitlab]\n")
    session = Session()
    for name in ("config.toml", "k8s.toml", "fleet.toml", "nothing.toml"):
        session.show(("import-config", name), run(name))
    assert "glrt" not in str(session)
    screen("import_config", str(session))


def test_what_a_pipe_gets_is_a_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RUNNER)
    plain, as_json = run(str(path)), run(str(path), "--json")
    (pool,) = read_config(plain.stdout).pools
    assert (pool.name, pool.ceiling, pool.docker.image) == ("one", 4, "alpine:3.20")
    answer = json.loads(as_json.stdout)
    assert answer["fleet_toml"] == plain.stdout
    assert len(answer["lines"]) == len(plain.stderr.splitlines()) - 1
