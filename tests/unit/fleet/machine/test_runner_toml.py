"""The configuration says what the credential says, in gitlab-runner's words."""

import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.machine.mailbox import CacheBucket, Credential, Docker
from fleet.machine.runner_toml import RunnerPaths, runner_toml
from tests.unit.fleet.facts import credential

AT = datetime(2026, 8, 20, 9, 15, tzinfo=UTC)
PLACE = RunnerPaths(
    builds_dir="/w/builds",
    cache_dir="/w/cache",
    tls_ca="/w/ca.pem",
    notice="/w/it's here",
    image="/w/image",
    services="/w/services",
)
SHELL = credential(token='glrt-"quoted"\\')
DOCKER = replace(
    SHELL,
    executor="docker",
    docker=Docker(
        image="debian:12",
        pull_policy=("always", "if-not-present"),
        volumes=("/cache",),
        helper_image="helper:1",
        cpus="1.5",
        memory="2g",
        registry_mirror="http://mirror.example.com",
    ),
)


def read(credential: Credential) -> dict[str, Any]:
    return tomllib.loads(runner_toml(credential, PLACE, ends_at=AT))


@pytest.mark.parametrize("credential", [SHELL, DOCKER])
def test_a_proxy_is_in_every_jobs_environment_and_the_pool_may_say_more(
    credential: Credential,
) -> None:
    """gitlab-runner gives jobs in containers nothing of its own environment."""
    proxied = replace(credential, proxy="http://proxy:3128", env={"NO_PROXY": "mine"})
    (runner,) = read(proxied)["runners"]
    environment = dict(variable.split("=", 1) for variable in runner["environment"])
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://proxy:3128"
    assert environment["NO_PROXY"] == "mine"
    assert "169.254.169.254" in environment["no_proxy"].split(",")
    assert ".amazonaws.com" in environment["no_proxy"].split(",")


def test_one_runner_with_all_it_needs() -> None:
    config = read(replace(SHELL, tls_ca="-----BEGIN CERTIFICATE-----"))
    assert config["concurrent"] == 1
    (runner,) = config["runners"]
    script = runner.pop("pre_build_script")
    assert runner == {
        "name": "rf-1",
        "url": "https://gitlab.example.com",
        "token": 'glrt-"quoted"\\',
        "executor": "shell",
        "shell": "bash",
        "builds_dir": "/w/builds",
        "cache_dir": "/w/cache",
        "tls-ca-file": "/w/ca.pem",
        "feature_flags": {"FF_LOG_IMAGES_CONFIGURED_FOR_JOB": True},
    }
    assert "this machine ends at 2026-08-20 09:15:00 UTC" in script


@pytest.mark.parametrize("text", ["a\x7fb", "a\tb\nc", "käse", "🧀", "\x00\x1f"])
def test_any_text_comes_through(text: str) -> None:
    assert read(replace(SHELL, token=text))["runners"][0]["token"] == text


def test_docker_settings() -> None:
    (runner,) = read(DOCKER)["runners"]
    assert "tls-ca-file" not in runner
    assert runner["docker"] == {
        "image": "debian:12",
        "privileged": False,
        "pull_policy": ["always", "if-not-present"],
        "volumes": ["/cache"],
        "helper_image": "helper:1",
        "cpus": "1.5",
        "memory": "2g",
    }
    assert not {"builds_dir", "cache_dir"} & runner.keys()  # /builds and /cache of the container
    assert runner["environment"] == ["FLEET_REGISTRY_MIRROR=http://mirror.example.com"]
    assert not {"shell", "pre_build_script"} & runner.keys()


def test_docker_settings_left_out_are_gitlab_runners_own() -> None:
    (runner,) = read(replace(DOCKER, docker=Docker(image="debian:12")))["runners"]
    assert runner["docker"] == {"image": "debian:12", "privileged": False}
    assert "environment" not in runner


CACHE = CacheBucket(
    bucket="b",
    region="us-east-1",
    prefix="open",
    access_key="a",
    secret_key="s",
    session_token="t",
    keys_end_at=AT,
)


@pytest.mark.parametrize("credential", [SHELL, DOCKER], ids=["shell", "docker"])
def test_the_cache_is_reached_with_its_own_keys(credential: Credential) -> None:
    runner = read(replace(credential, cache=CACHE))["runners"][0]
    assert runner["feature_flags"]["FF_USE_LEGACY_S3_CACHE_ADAPTER"] is True
    assert runner["cache"] == {
        "Type": "s3",
        "Shared": True,
        "Path": "open",
        "s3": {
            "BucketName": "b",
            "BucketLocation": "us-east-1",
            "AccessKey": "a",
            "SecretKey": "s",
            "SessionToken": "t",
            "AuthenticationType": "access-key",
        },
    }


def test_a_cache_may_be_elsewhere() -> None:
    elsewhere = replace(CACHE, server="127.0.0.1:9000", insecure=True)
    s3 = read(replace(DOCKER, cache=elsewhere))["runners"][0]["cache"]["s3"]
    assert (s3["ServerAddress"], s3["Insecure"]) == ("127.0.0.1:9000", True)


@pytest.mark.parametrize("credential", [SHELL, DOCKER], ids=["shell", "docker"])
@pytest.mark.parametrize(("earlier_s", "is_said"), [(1, True), (0, False)])
def test_the_log_says_until_when_a_cache_is_saved_where_a_job_may_last_longer(
    credential: Credential, earlier_s: int, *, is_said: bool
) -> None:
    cache = replace(CACHE, keys_end_at=AT - timedelta(seconds=earlier_s))
    script = read(replace(credential, cache=cache))["runners"][0].get("pre_build_script", "")
    line = "echo 'runner-fleet: this job can save its cache until 2026-08-20 09:14:59 UTC'"
    assert (line in script.splitlines()) is is_said
