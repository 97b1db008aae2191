"""Settings that the real runner has and the stand-in does not: it says so, and goes no further."""

from pathlib import Path

import pytest

from local.stand_in.build import is_followed
from local.stand_in.config import read_runner
from local.stand_in.variables import Variable


@pytest.mark.parametrize(
    ("key", "value", "is_known"),
    [
        ("GIT_STRATEGY", "clone", True),
        ("GIT_STRATEGY", "svn", False),
        ("GIT_DEPTH", "5", True),
        ("GIT_CHECKOUT", "false", False),
        ("GIT_CLEAN_FLAGS", "-e kept", False),
        ("GIT_SUBMODULE_STRATEGY", "none", True),
        ("GIT_SUBMODULE_STRATEGY", "normal", False),
        ("CI_DEBUG_TRACE", "true", False),
        ("RUNNER_AFTER_SCRIPT_TIMEOUT", "", True),
        ("GET_SOURCES_ATTEMPTS", "2", False),
        ("MY_ATTEMPTS", "2", True),
        ("FF_X", "1", False),
    ],
)
def test_variables(key: str, value: str, is_known: bool) -> None:
    assert is_followed(Variable(key=key, value=value)) is is_known


def test_another_executor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    entry = 'name = "mine"\nurl = "http://gitlab"\ntoken = "glrt-secret"\nexecutor = "docker"\n'
    path.write_text(f"[[runners]]\n{entry}")
    with pytest.raises(ValueError, match="executor shell"):
        read_runner(str(path), "mine")
