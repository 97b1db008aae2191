"""What one runner is told to do: the same whether flags, environment or config.toml said it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "gitlab-runner"
VERSION = "17.9.0"
REVISION = "stand-in"
DEFAULT_CONFIG = "/etc/gitlab-runner/config.toml"


class UsageError(ValueError):
    """The command line or the configuration cannot be followed; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Where an S3 cache lives."""

    server_address: str = ""
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    bucket_name: str = ""
    bucket_location: str = ""
    insecure: bool = False
    authentication_type: str = ""
    path_style: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Which cache besides the local directory."""

    type: str = ""  # "" | s3
    path: str = ""
    shared: bool = False
    s3: S3Options = S3Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """One runner, as a `[[runners]]` entry of config.toml or as flags."""

    url: str = ""
    token: str = ""
    executor: str = ""
    name: str = ""
    builds_dir: str = ""
    cache_dir: str = ""
    shell: str = ""
    clone_url: str = ""
    environment: tuple[str, ...] = ()  # NAME=value each
    pre_get_sources_script: str = ""
    post_get_sources_script: str = ""
    pre_build_script: str = ""
    post_build_script: str = ""
    output_limit_kib: int = 0
    debug_trace_disabled: bool = False
    final_update_retry_limit: int = 10
    tls_ca_file: str = ""
    feature_flags: Mapping[str, bool] = field(default_factory=dict)
    cache: CacheOptions = CacheOptions()

    @property
    def short_token(self) -> str:
        """The part of the token that may be seen: in logs, and as a folder's name."""
        return shorten(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The whole of one `run-single`."""

    runner: RunnerOptions
    max_builds: int = 0  # 0: no limit
    wait_timeout_s: int = 0  # 0: wait for ever
    log_format: str = "runner"
    log_level: str = "info"
    poll_pause_s: float = 3.0
    trace_pause_s: float = 3.0  # until GitLab asks for another
    unhealthy_pause_s: float = 300.0
    shutdown_limit_s: float = 30.0


def shorten(token: str) -> str:
    """The first nine characters after the kind of token, eight of tokens without one."""
    for prefix in ("glrt-", "glcbt-"):
        if token.startswith(prefix):
            return token[len(prefix) : len(prefix) + 9]
    return token[:8]
