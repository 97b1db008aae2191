"""One runner out of a config.toml."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from local.stand_in.config_file import read_runner
from local.stand_in.flags import read_options
from local.stand_in.options import CacheOptions, RunnerOptions, S3Options, UsageError

CONFIG = """
concurrent = 4
[[runners]]
name = "other"
url = "http://other"
[[runners]]
name = "mine"
url = "http://gitlab"
token = "glrt-secret"
executor = "shell"
builds_dir = "/b"
cache_dir = "/c"
shell = "sh"
environment = ["A=1", "B=2"]
pre_get_sources_script = "one"
post_get_sources_script = "two"
pre_build_script = "three"
post_build_script = "four"
output_limit = 100
debug_trace_disabled = true
[runners.feature_flags]
FF_X = true
[runners.cache]
Type = "s3"
Path = "p"
Shared = true
[runners.cache.s3]
ServerAddress = "127.0.0.1:1"
AccessKey = "AK"
SecretKey = "SK"
BucketName = "b"
BucketLocation = "us-east-1"
Insecure = true
AuthenticationType = "access-key"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def test_the_runner_named_and_all_it_says(config: Path) -> None:
    read = read_runner(str(config), "mine")
    assert (read.url, read.token, read.executor) == ("http://gitlab", "glrt-secret", "shell")
    assert (read.builds_dir, read.cache_dir, read.shell) == ("/b", "/c", "sh")
    assert read.environment == ("A=1", "B=2")
    assert (read.pre_get_sources_script, read.post_get_sources_script) == ("one", "two")
    assert (read.pre_build_script, read.post_build_script) == ("three", "four")
    assert (read.output_limit_kib, read.debug_trace_disabled) == (100, True)
    assert read.feature_flags == {"FF_X": True}
    assert read.cache == CacheOptions(
        type="s3",
        path="p",
        shared=True,
        s3=S3Options(
            server_address="127.0.0.1:1",
            access_key="AK",
            secret_key="SK",
            bucket_name="b",
            bucket_location="us-east-1",
            insecure=True,
            authentication_type="access-key",
        ),
    )


def test_what_is_not_said_has_defaults(config: Path) -> None:
    read = read_runner(str(config), "other")
    assert (read.environment, read.cache, read.final_update_retry_limit) == ((), CacheOptions(), 10)


def test_it_takes_the_place_of_the_flags(config: Path) -> None:
    flags = ["-c", str(config), "-r", "mine", "--url", "http://flag", "--max-builds", "1"]
    read = read_options(["run-single", *flags], {"CI_SERVER_TOKEN": "env"})
    assert (read.runner.url, read.runner.token) == ("http://gitlab", "glrt-secret")
    assert read.max_builds == 1


def test_the_environment_may_name_the_file(config: Path) -> None:
    read = read_options(["run-single", "--runner", "mine"], {"CONFIG_FILE": str(config)})
    assert read.runner.token == "glrt-secret"


def test_a_pipe_that_can_be_read_once_is_enough(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(CONFIG,))
    writer.start()
    read = read_options(["run-single", "-c", str(pipe), "-r", "mine"], {})
    writer.join(timeout=5)
    assert read.runner.token == "glrt-secret"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "could not find a runner with the name mine"),
        ("[[runners]", "Error loading config"),
        ('[[runners]]\nname = "mine"\nurl = 5', "url must be of type str"),
        ('[[runners]]\nname = "mine"\noutput_limit = "5"', "output_limit must be of type int"),
        ('[[runners]]\nname = "mine"\nenvironment = "A=1"', "environment must be of type list"),
    ],
)
def test_a_file_that_does_not_help(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_runner(str(path), "mine")
    assert said in str(caught.value)


@pytest.mark.parametrize(("said", "limit"), [("", 10), ("= 0", 10), ("= 3", 3)])
def test_how_often_the_end_is_told(tmp_path: Path, said: str, limit: int) -> None:
    path = tmp_path / "config.toml"
    line = f"job_status_final_update_retry_limit {said}" if said else ""
    path.write_text(f'[[runners]]\nname = "mine"\n{line}\n')
    assert read_runner(str(path), "mine").final_update_retry_limit == limit


def test_what_is_not_said_is_as_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[runners]]\nname = "mine"\n')
    assert read_runner(str(path), "mine") == RunnerOptions(name="mine")


@pytest.mark.parametrize(
    "line",
    [
        "url = 5",
        'output_limit = "5"',
        'debug_trace_disabled = "yes"',
        'environment = "A=1"',
        'job_status_final_update_retry_limit = "3"',
        'cache = "s3"',
    ],
)
def test_a_value_of_another_type_is_refused_by_its_name(tmp_path: Path, line: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[[runners]]\nname = "mine"\n{line}\n')
    with pytest.raises(UsageError, match=f"{line.split(maxsplit=1)[0]} must be of type"):
        read_runner(str(path), "mine")
