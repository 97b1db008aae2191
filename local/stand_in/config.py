"""The runner that the stand-in serves: one entry of a `config.toml`, and the names it goes by."""

import platform
import tomllib
from dataclasses import dataclass, field
from typing import Any, get_origin, get_type_hints

NAME, VERSION, REVISION = "gitlab-runner", "17.9.0", "stand-in"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """A `[[runners]]` entry, as far as the fleet's configuration goes; names are the file's."""

    url: str
    token: str
    name: str = ""
    executor: str = "shell"
    builds_dir: str = "builds"
    cache_dir: str = "cache"
    shell: str = "bash"
    environment: list[str] = field(default_factory=list)  # NAME=value each
    pre_build_script: str = ""
    output_limit: int = 4096  # KiB of a job's log
    tls_ca_file: str = ""
    cache: dict[str, Any] = field(default_factory=dict)  # Type, Path and s3
    feature_flags: dict[str, Any] = field(default_factory=dict)

    @property
    def short_token(self) -> str:
        """What logs and a folder's name show of the token."""
        return self.token.removeprefix("glrt-")[:9]


def read_runner(path: str, name: str) -> RunnerOptions:
    """The runner of that name. Opens and reads the file once: it may be a pipe.

    Raises `OSError` without such a file, `ValueError` for a value that it cannot follow.
    """
    with open(path, "rb") as file:
        entries = tomllib.load(file).get("runners", ())
    entry: dict[str, Any] = next((entry for entry in entries if entry.get("name") == name), {})
    settings = {key.replace("-", "_"): value for key, value in entry.items()}
    if not (settings.get("url") and settings.get("token") and settings.get("executor") == "shell"):
        raise ValueError(f"no runner {name} with url, token and the executor shell in the config")
    hints = get_type_hints(RunnerOptions)
    known = {key: value for key, value in settings.items() if key in hints}
    for key, value in known.items():
        if not isinstance(value, get_origin(hints[key]) or hints[key]):
            raise ValueError(f"{key} of the runner {name} must be of type {hints[key]}")
    return RunnerOptions(**known)
