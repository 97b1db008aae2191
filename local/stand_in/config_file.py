"""One runner out of a gitlab-runner `config.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.stand_in.options import CacheOptions, RunnerOptions, S3Options, UsageError

_TEXTS = (
    *("url", "token", "executor", "name", "builds_dir", "cache_dir", "shell", "clone_url"),
    *("pre_get_sources_script", "post_get_sources_script", "pre_build_script"),
    "post_build_script",
)


def read_runner(path: str, name: str) -> RunnerOptions:
    """The runner of that name. Opens and reads the file once: it may be a pipe.

    Raises `UsageError` when there is no such file or runner, or a value has the wrong type.
    """
    import tomllib  # noqa: PLC0415 - most runs have no config file

    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise UsageError(f"Error loading config: {exc}") from exc
    for runner in content.get("runners", []):
        if runner.get("name") == name:
            return _runner(runner)
    raise UsageError(f"Error loading runner by name: could not find a runner with the name {name}")


def _runner(entry: Mapping[str, Any]) -> RunnerOptions:
    limit = _as(int, entry, "job_status_final_update_retry_limit", 0) or 10
    return RunnerOptions(
        **{key: _as(str, entry, key, "") for key in _TEXTS},
        environment=tuple(str(line) for line in _as(list, entry, "environment", [])),
        output_limit_kib=_as(int, entry, "output_limit", 0),
        debug_trace_disabled=_as(bool, entry, "debug_trace_disabled", False),
        final_update_retry_limit=limit,
        tls_ca_file=_as(str, entry, "tls-ca-file", ""),
        feature_flags=_as(dict, entry, "feature_flags", {}),
        cache=_cache(_as(dict, entry, "cache", {})),
    )


def _cache(written: Mapping[str, Any]) -> CacheOptions:
    entry = {key.lower(): value for key, value in written.items()}
    s3 = {key.lower(): value for key, value in _as(dict, entry, "s3", {}).items()}
    return CacheOptions(
        type=_as(str, entry, "type", ""),
        path=_as(str, entry, "path", ""),
        shared=_as(bool, entry, "shared", False),
        s3=S3Options(
            server_address=_as(str, s3, "serveraddress", ""),
            access_key=_as(str, s3, "accesskey", ""),
            secret_key=_as(str, s3, "secretkey", ""),
            session_token=_as(str, s3, "sessiontoken", ""),
            bucket_name=_as(str, s3, "bucketname", ""),
            bucket_location=_as(str, s3, "bucketlocation", ""),
            insecure=_as(bool, s3, "insecure", False),
            authentication_type=_as(str, s3, "authenticationtype", ""),
            path_style=_as(bool, s3, "pathstyle", None),
        ),
    )


def _as(wanted: type, entry: Mapping[str, Any], key: str, absent: Any) -> Any:
    value = entry.get(key, absent)
    if value is not absent and not isinstance(value, wanted):
        raise UsageError(f"Error loading config: {key} must be of type {wanted.__name__}")
    return value
