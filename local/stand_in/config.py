"""The runner that the stand-in serves: one entry of a `config.toml`, and the names it goes by."""

import platform
import tomllib
from dataclasses import dataclass

from local.stand_in.job import DecodeError, decode

NAME, VERSION, REVISION = "gitlab-runner", "17.9.0", "stand-in"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class UsageError(ValueError):
    """The stand-in cannot follow the command line or the configuration; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """The bucket of an S3 cache; the fields have the file's names in lower case."""

    serveraddress: str = ""
    accesskey: str = ""
    secretkey: str = ""
    sessiontoken: str = ""
    bucketname: str = ""
    bucketlocation: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Which cache besides the folder on this machine; all runners share it."""

    type: str = ""  # "" | s3
    path: str = ""
    s3: S3Options = S3Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFlags:
    """The flags that change what the stand-in does; the fields have the file's names in lower."""

    ff_log_images_configured_for_job: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """A `[[runners]]` entry, as far as the fleet's configuration goes."""

    name: str = ""
    url: str = ""
    token: str = ""
    executor: str = ""
    builds_dir: str = "builds"
    cache_dir: str = "cache"
    shell: str = "bash"
    environment: tuple[str, ...] = ()  # NAME=value each
    pre_build_script: str = ""
    output_limit: int = 4096  # KiB of a job's log
    tls_ca_file: str = ""
    cache: CacheOptions = CacheOptions()
    feature_flags: FeatureFlags = FeatureFlags()

    @property
    def short_token(self) -> str:
        """What logs and a folder's name show of the token: nine characters after its kind."""
        kind = next((k for k in ("glrt-", "glcbt-") if self.token.startswith(k)), "")
        return self.token[len(kind) : len(kind) + 9] if kind else self.token[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    runners: tuple[RunnerOptions, ...] = ()


def read_runner(path: str, name: str) -> RunnerOptions:
    """The runner of that name. Opens and reads the file once: it may be a pipe.

    Raises `UsageError` without such a file or runner, and for a value that it cannot follow.
    """
    try:
        with open(path, "rb") as file:
            config = decode(_Config, tomllib.load(file), "config")
    except (OSError, tomllib.TOMLDecodeError, DecodeError) as exc:
        raise UsageError(f"Error loading config: {exc}") from exc
    runner = next((entry for entry in config.runners if entry.name == name), None)
    if runner is None:
        raise UsageError(f"Error loading runner by name: could not find a runner named {name}")
    for key, value in (("URL", runner.url), ("Token", runner.token)):
        if not value:
            raise UsageError(f"Missing {key}")
    if runner.executor != "shell" or runner.cache.type not in {"", "s3"}:
        raise UsageError("The stand-in has only the executor shell and the cache s3")
    return runner
