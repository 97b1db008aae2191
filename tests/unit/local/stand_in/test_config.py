"""The runner reads its configuration and a job as strictly as the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.stand_in.build import not_followed
from local.stand_in.config import CacheOptions, S3Options, UsageError, read_runner
from local.stand_in.job import DecodeError, SavedFiles, Variable, read_job
from local.stand_in.variables import Places, Variables

NEEDED = 'name = "mine"\nurl = "http://gitlab"\ntoken = "glrt-secret"\nexecutor = "shell"\n'
CACHE = """
tls-ca-file = "/ca.pem"
environment = ["A=1", "B=2"]
[runners.cache]
Type = "s3"
Path = "p"
Shared = true
[runners.cache.s3]
ServerAddress = "127.0.0.1:1"
AccessKey = "AK"
BucketName = "b"
Insecure = true
"""


def read(folder: Path, text: str, name: str = "mine") -> Any:
    path = folder / "config.toml"
    path.write_text(text)
    return read_runner(str(path), name)


def test_a_runner_is_read_by_name(tmp_path: Path) -> None:
    other = '[[runners]]\nname = "other"\n'
    runner = read(tmp_path, f"concurrent = 1\n{other}[[runners]]\n{NEEDED}{CACHE}")
    assert (runner.url, runner.token, runner.short_token) == (
        "http://gitlab",
        "glrt-secret",
        "secret",
    )
    assert (runner.tls_ca_file, runner.environment) == ("/ca.pem", ("A=1", "B=2"))
    s3 = S3Options(serveraddress="127.0.0.1:1", accesskey="AK", bucketname="b", insecure=True)
    assert runner.cache == CacheOptions(type="s3", path="p", s3=s3)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[runners]]\nname = "mine"\nurl = 5', "url must be of type str"),
        (f'[[runners]]\n{NEEDED}environment = "A=1"', "environment must be of type list"),
        (f"[[runners]]\n{NEEDED}".replace("shell", "docker"), "has only the executor shell"),
        (f'[[runners]]\n{NEEDED}cache = {{Type = "gcs"}}', "and the cache s3"),
    ],
)
def test_a_bad_file_is_a_usage_error(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"id": "9"},
        {"id": True},
        {"variables": [{"key": 1}]},
        {"steps": [{"script": "one line"}]},
        {"steps": [{"script": [1]}]},
        {"git_info": []},
        {"job_info": {"project_jobs_running_on_instance_runners_count": 1}},
    ],
)
def test_a_value_of_a_wrong_type_is_no_job(content: Any) -> None:
    with pytest.raises(DecodeError):
        read_job(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("when", "ends"),
    [("", [True]), ("on_success", [True]), ("on_failure", [False]), ("always", [True, False])],
)
def test_files_are_saved_after_the_ends_that_they_name(when: str, ends: list[bool]) -> None:
    files = SavedFiles(when=when, paths=("a",))
    assert [end for end in (True, False) if files.is_wanted(succeeded=end)] == ends
    assert not SavedFiles(when="always").is_wanted(succeeded=True)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"GIT_STRATEGY": "clone", "GIT_DEPTH": "5", "MY_ATTEMPTS": "2"}, []),
        ({"GIT_SUBMODULE_STRATEGY": "none"}, []),
        ({"GIT_SUBMODULE_STRATEGY": "normal"}, ["GIT_SUBMODULE_STRATEGY"]),
        ({"CI_DEBUG_TRACE": "true", "RUNNER_AFTER_SCRIPT_TIMEOUT": ""}, ["CI_DEBUG_TRACE"]),
        ({"GIT_STRATEGY": "svn", "GIT_CHECKOUT": "false"}, ["GIT_CHECKOUT", "GIT_STRATEGY"]),
        ({"GET_SOURCES_ATTEMPTS": "2", "FF_X": "1"}, ["FF_X", "GET_SOURCES_ATTEMPTS"]),
    ],
)
def test_settings_that_only_the_real_runner_follows(
    given: dict[str, str], names: list[str]
) -> None:
    sent = [Variable(key=key, value=value) for key, value in given.items()]
    places = Places(builds="/b", project="/b/p", temporary="/t", cache="/c")
    assert not_followed(Variables(sent, places)) == names
