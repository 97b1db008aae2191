"""Reads the command line, the environment and, with `-r`, one runner of a config.toml.

The flags are those of gitlab-runner 17.9. Flags of other executors are accepted and do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from local.stand_in.config_file import read_runner
from local.stand_in.options import (
    DEFAULT_CONFIG,
    CacheOptions,
    Options,
    RunnerOptions,
    S3Options,
    UsageError,
)

_GLOBAL = {"log-format": "LOG_FORMAT", "log-level": "LOG_LEVEL", "debug": "RUNNER_DEBUG"}
_SHORT = {
    "u": "url",
    "t": "token",
    "c": "config",
    "r": "runner",
    "h": "help",
    "description": "name",
}
# flag: (field, environment variable)
_RUNNER = {
    "url": ("url", "CI_SERVER_URL"),
    "token": ("token", "CI_SERVER_TOKEN"),
    "executor": ("executor", "RUNNER_EXECUTOR"),
    "name": ("name", "RUNNER_NAME"),
    "builds-dir": ("builds_dir", "RUNNER_BUILDS_DIR"),
    "cache-dir": ("cache_dir", "RUNNER_CACHE_DIR"),
    "shell": ("shell", "RUNNER_SHELL"),
    "clone-url": ("clone_url", "CLONE_URL"),
    "env": ("environment", "RUNNER_ENV"),
    "pre-get-sources-script": ("pre_get_sources_script", "RUNNER_PRE_GET_SOURCES_SCRIPT"),
    "post-get-sources-script": ("post_get_sources_script", "RUNNER_POST_GET_SOURCES_SCRIPT"),
    "pre-build-script": ("pre_build_script", "RUNNER_PRE_BUILD_SCRIPT"),
    "post-build-script": ("post_build_script", "RUNNER_POST_BUILD_SCRIPT"),
    "output-limit": ("output_limit_kib", "RUNNER_OUTPUT_LIMIT"),
    "debug-trace-disabled": ("debug_trace_disabled", "RUNNER_DEBUG_TRACE_DISABLED"),
    "job-status-final-update-retry-limit": (
        "final_update_retry_limit",
        "RUNNER_job_status_final_update_retry_limit",
    ),
    "tls-ca-file": ("tls_ca_file", "CI_SERVER_TLS_CA_FILE"),
    "feature-flags": ("feature_flags", "FEATURE_FLAGS"),
}
_CACHE = {
    "cache-type": ("type", "CACHE_TYPE"),
    "cache-path": ("path", "CACHE_PATH"),
    "cache-shared": ("shared", "CACHE_SHARED"),
}
_S3 = {
    "cache-s3-server-address": ("server_address", "CACHE_S3_SERVER_ADDRESS"),
    "cache-s3-access-key": ("access_key", "CACHE_S3_ACCESS_KEY"),
    "cache-s3-secret-key": ("secret_key", "CACHE_S3_SECRET_KEY"),
    "cache-s3-session-token": ("session_token", "CACHE_S3_SESSION_TOKEN"),
    "cache-s3-bucket-name": ("bucket_name", "CACHE_S3_BUCKET_NAME"),
    "cache-s3-bucket-location": ("bucket_location", "CACHE_S3_BUCKET_LOCATION"),
    "cache-s3-insecure": ("insecure", "CACHE_S3_INSECURE"),
    "cache-s3-authentication_type": ("authentication_type", "CACHE_S3_AUTHENTICATION_TYPE"),
    "cache-s3-path-style": ("path_style", "CACHE_S3_PATH_STYLE"),
}
_SWITCHES = {"debug", "help", "debug-trace-disabled", "cache-shared", "cache-s3-insecure"}
_OTHERS = {"max-builds", "wait-timeout", "config", "runner", "help"}
_IGNORED = {
    "limit",
    "request-concurrency",
    "unhealthy-requests-limit",
    "unhealthy-interval",
    "strict-check-interval",
    "prepare-timeout",
    "get-sources-timeout",
    "tls-cert-file",
    "tls-key-file",
    "safe-directory-checkout",
    "clean-git-config",
    "custom_build_dir-enabled",
    "step-runner-image",
}
_IGNORED_KINDS = (
    *("docker-", "cache-", "kubernetes-", "custom-", "ssh-", "machine-", "parallels-"),
    *("virtualbox-", "autoscaler-", "instance-", "referees-"),
)
_Said = dict[str, list[str]]


def read_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options of `[global flags] run-single [flags]`. Reads a config file once, if named.

    Raises `UsageError` for what the real runner would end with code 1 for.
    """
    general, rest = _split(arguments, lambda name: name in _GLOBAL, stop_at_words=True)
    if rest[:1] != ["run-single"]:
        raise UsageError(f"unsupported command: {' '.join(rest[:1]) or 'none'}")
    said, _ = _split(rest[1:], _is_known, stop_at_words=False)
    runner = _named_runner(said, environ) or _flag_runner(said, environ)
    _refuse_incomplete(runner)
    level = _last(general, "log-level") or environ.get("LOG_LEVEL") or "info"
    if "debug" in general or _truth(environ.get("RUNNER_DEBUG", "")):
        level = "debug"
    return Options(
        runner=runner,
        max_builds=_whole("max-builds", _last(said, "max-builds") or "0"),
        wait_timeout_s=_whole("wait-timeout", _last(said, "wait-timeout") or "0"),
        log_format=_last(general, "log-format") or environ.get("LOG_FORMAT") or "runner",
        log_level=level,
        poll_pause_s=_seconds(environ, "RUNNER_FLEET_STANDIN_POLL_S"),
        trace_pause_s=_seconds(environ, "RUNNER_FLEET_STANDIN_TRACE_S"),
    )


def _is_known(name: str) -> bool:
    tables = (_RUNNER, _CACHE, _S3, _OTHERS, _IGNORED)
    return any(name in table for table in tables) or name.startswith(_IGNORED_KINDS)


def _split(
    arguments: Sequence[str], is_known: Any, *, stop_at_words: bool
) -> tuple[_Said, list[str]]:
    """The flags said, each with its values in order, and what follows the first plain word."""
    said: _Said = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        written, equals, value = word.lstrip("-").partition("=")
        name = _SHORT.get(written, written)
        if not is_known(name):
            raise UsageError(f"flag provided but not defined: -{written}")
        if not equals:
            value = _value(name, rest)
        said.setdefault(name, []).append(value)
    if rest and not stop_at_words:
        raise UsageError(f"unexpected argument: {rest[0]}")
    return said, rest


def _value(name: str, rest: list[str]) -> str:
    if name in _SWITCHES:
        return "true"
    known = name in {*_GLOBAL, *_RUNNER, *_CACHE, *_S3, *_OTHERS}
    if not known and (not rest or rest[0].startswith("-")):
        return "true"  # a switch of another executor
    if not rest:
        raise UsageError(f"flag needs an argument: -{name}")
    return rest.pop(0)


def _named_runner(said: _Said, environ: Mapping[str, str]) -> RunnerOptions | None:
    name = _last(said, "runner")
    if not name:
        return None
    return read_runner(_last(said, "config") or environ.get("CONFIG_FILE") or DEFAULT_CONFIG, name)


def _flag_runner(said: _Said, environ: Mapping[str, str]) -> RunnerOptions:
    s3 = replace(S3Options(), **_changes(S3Options(), _S3, said, environ))
    cache = replace(CacheOptions(s3=s3), **_changes(CacheOptions(), _CACHE, said, environ))
    runner = RunnerOptions(cache=cache)
    return replace(runner, **_changes(runner, _RUNNER, said, environ))


def _changes(
    base: object,
    table: Mapping[str, tuple[str, str]],
    said: _Said,
    environ: Mapping[str, str],
) -> dict[str, Any]:
    """What differs from `base`, each value in the type its field has."""
    types = {f.name: f.type for f in fields(base)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for flag, (name, variable) in table.items():
        values = said.get(flag) or ([environ[variable]] if environ.get(variable) else [])
        if values:
            changes[name] = _typed(flag, str(types[name]), values)
    return changes


def _typed(flag: str, wanted: str, values: list[str]) -> object:
    if wanted.startswith("bool"):
        return _truth(values[-1])
    if wanted == "int":
        return _whole(flag, values[-1])
    if wanted.startswith("tuple"):
        return tuple(values)
    if wanted.startswith("Mapping"):
        words = [word.partition(":") for value in values for word in value.split()]
        return {name: _truth(state) for name, _, state in words}
    return values[-1]


def _last(said: _Said, name: str) -> str:
    return said[name][-1] if name in said else ""


def _truth(text: str) -> bool:
    return text.lower() in {"1", "t", "true"}


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise UsageError(f"invalid value {text!r} for flag -{flag}") from exc


def _seconds(environ: Mapping[str, str], variable: str) -> float:
    """The stand-in's own settings: shorter pauses than the real runner's three seconds."""
    try:
        return float(environ.get(variable) or 3)
    except ValueError as exc:
        raise UsageError(f"{variable} must be a number of seconds") from exc


def _refuse_incomplete(runner: RunnerOptions) -> None:
    for value, what in (
        (runner.url, "URL"),
        (runner.token, "Token"),
        (runner.executor, "Executor"),
    ):
        if not value:
            raise UsageError(f"Missing {what}")
    if runner.executor != "shell":
        raise UsageError(f"Unknown executor: {runner.executor} (the stand-in has only shell)")
