"""The command line and the environment, as the real binary reads them."""

from __future__ import annotations

import pytest

from local.stand_in.flags import read_options
from local.stand_in.options import CacheOptions, S3Options, UsageError

NEEDED = ["run-single", "--url", "http://gitlab", "--token", "glrt-abc", "--executor", "shell"]


def test_what_is_not_said_has_the_real_runners_defaults() -> None:
    read = read_options(NEEDED, {})
    assert (read.runner.url, read.runner.token) == ("http://gitlab", "glrt-abc")
    assert (read.max_builds, read.wait_timeout_s) == (0, 0)
    assert (read.poll_pause_s, read.trace_pause_s, read.unhealthy_pause_s) == (3, 3, 300)
    assert (read.log_format, read.log_level) == ("runner", "info")
    assert read.runner.final_update_retry_limit == 10
    assert read.runner.cache == CacheOptions()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-u", "http://x", "-t", "t", "--executor", "shell"], id="short"),
        pytest.param(["-url", "http://x", "-token", "t", "-executor", "shell"], id="one dash"),
        pytest.param(["--url=http://x", "--token=t", "--executor=shell"], id="equals sign"),
    ],
)
def test_spellings_of_a_flag(arguments: list[str]) -> None:
    runner = read_options(["run-single", *arguments], {}).runner
    assert (runner.url, runner.token, runner.executor) == ("http://x", "t", "shell")


def test_every_flag_of_the_runner_itself() -> None:
    read = read_options(
        [
            *("--log-format", "json", "--log-level", "warn", *NEEDED),
            *("--name", "box", "--builds-dir", "/b", "--cache-dir", "/c", "--shell", "sh"),
            *("--clone-url", "http://clone", "--env", "A=1", "--env", "B=2"),
            *("--pre-get-sources-script", "1", "--post-get-sources-script", "2"),
            *("--pre-build-script", "3", "--post-build-script", "4"),
            *("--output-limit", "64", "--debug-trace-disabled", "--tls-ca-file", "/ca"),
            *(
                "--job-status-final-update-retry-limit",
                "2",
                "--feature-flags",
                "FF_A:true FF_B:false",
            ),
            *("--max-builds", "1", "--wait-timeout", "30"),
        ],
        {},
    )
    runner = read.runner
    assert (read.log_format, read.log_level) == ("json", "warn")
    assert (read.max_builds, read.wait_timeout_s) == (1, 30)
    assert (runner.name, runner.builds_dir, runner.cache_dir) == ("box", "/b", "/c")
    assert (runner.shell, runner.clone_url) == ("sh", "http://clone")
    assert runner.environment == ("A=1", "B=2")
    assert (runner.pre_get_sources_script, runner.post_get_sources_script) == ("1", "2")
    assert (runner.pre_build_script, runner.post_build_script) == ("3", "4")
    assert (runner.output_limit_kib, runner.debug_trace_disabled) == (64, True)
    assert (runner.tls_ca_file, runner.final_update_retry_limit) == ("/ca", 2)
    assert runner.feature_flags == {"FF_A": True, "FF_B": False}


def test_the_cache_flags() -> None:
    read = read_options(
        [
            *NEEDED,
            *("--cache-type", "s3", "--cache-path", "p", "--cache-shared"),
            *("--cache-s3-server-address", "127.0.0.1:4566", "--cache-s3-insecure"),
            *("--cache-s3-access-key", "AK", "--cache-s3-secret-key", "SK"),
            *("--cache-s3-bucket-name", "b", "--cache-s3-bucket-location", "us-east-1"),
            *("--cache-s3-session-token", "ST", "--cache-s3-path-style", "false"),
            *("--cache-s3-authentication_type", "access-key"),
        ],
        {},
    )
    assert read.runner.cache == CacheOptions(
        type="s3",
        path="p",
        shared=True,
        s3=S3Options(
            server_address="127.0.0.1:4566",
            access_key="AK",
            secret_key="SK",
            session_token="ST",
            bucket_name="b",
            bucket_location="us-east-1",
            insecure=True,
            authentication_type="access-key",
            path_style=False,
        ),
    )


def test_the_environment_stands_in_for_flags_and_flags_win() -> None:
    environ = {
        "CI_SERVER_URL": "http://env",
        "CI_SERVER_TOKEN": "env-token",
        "RUNNER_EXECUTOR": "shell",
        "RUNNER_SHELL": "sh",
        "RUNNER_ENV": "A=1",
        "RUNNER_OUTPUT_LIMIT": "12",
        "CACHE_TYPE": "s3",
        "CACHE_S3_BUCKET_NAME": "b",
        "CACHE_S3_INSECURE": "true",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
        "RUNNER_FLEET_STANDIN_POLL_S": "0.5",
        "RUNNER_FLEET_STANDIN_TRACE_S": "0.25",
    }
    read = read_options(["run-single", "--url", "http://flag"], environ)
    assert (read.runner.url, read.runner.token) == ("http://flag", "env-token")
    assert (read.runner.shell, read.runner.environment) == ("sh", ("A=1",))
    assert read.runner.output_limit_kib == 12
    assert (read.runner.cache.type, read.runner.cache.s3.bucket_name) == ("s3", "b")
    assert read.runner.cache.s3.insecure
    assert (read.log_format, read.log_level) == ("json", "debug")
    assert (read.poll_pause_s, read.trace_pause_s) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [(["--debug", *NEEDED], {}), (NEEDED, {"RUNNER_DEBUG": "true"})],
)
def test_debug_is_a_level(arguments: list[str], environ: dict[str, str]) -> None:
    assert read_options(arguments, environ).log_level == "debug"


def test_flags_of_other_executors_are_accepted_with_and_without_values() -> None:
    others = [
        *("--docker-image", "alpine", "--docker-privileged", "--docker-volumes", "/a:/b"),
        *("--docker-pull-policy=never", "--limit", "1", "--unhealthy-requests-limit", "3"),
        *("--prepare-timeout", "90s", "--custom_build_dir-enabled", "true"),
        *("--kubernetes-namespace", "x", "--docker-tlsverify"),
    ]
    read = read_options([*NEEDED, *others, "--max-builds", "1", "--docker-privileged"], {})
    assert read.max_builds == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "unsupported command: none"),
        (["register"], "unsupported command: register"),
        (["--nope", "run-single"], "flag provided but not defined: -nope"),
        (["run-single", "--nope"], "flag provided but not defined: -nope"),
        (["--url", "x", "run-single"], "flag provided but not defined: -url"),
        (["run-single", "--shutdown-timeout", "1"], "not defined: -shutdown-timeout"),
        (["run-single", "--url"], "flag needs an argument: -url"),
        ([*NEEDED, "stray"], "unexpected argument: stray"),
        ([*NEEDED, "--max-builds", "one"], "invalid value 'one' for flag -max-builds"),
        ([*NEEDED, "--output-limit", "x"], "invalid value 'x' for flag -output-limit"),
        (["run-single", "--token", "t", "--executor", "shell"], "Missing URL"),
        (["run-single", "--url", "u", "--executor", "shell"], "Missing Token"),
        (["run-single", "--url", "u", "--token", "t"], "Missing Executor"),
        ([*NEEDED[:-1], "docker"], "Unknown executor: docker"),
        (["run-single", "-r", "x", "-c", "/nowhere.toml"], "Error loading config"),
    ],
)
def test_what_cannot_be_followed(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_options(arguments, {})
    assert said in str(caught.value)


def test_a_pause_that_is_no_number_is_named() -> None:
    with pytest.raises(UsageError, match="RUNNER_FLEET_STANDIN_POLL_S must be a number"):
        read_options(NEEDED, {"RUNNER_FLEET_STANDIN_POLL_S": "soon"})
