"""A job as GitLab hands it out; the classes have the shape and the names of the answer's JSON.

`decode` reads JSON and TOML as strictly as the real runner's decoder.
"""

import json
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


class DecodeError(ValueError):
    """A value has another type than the real runner expects; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of the job."""

    key: str = ""
    value: str = ""
    file: bool = False
    masked: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Commands by name: the steps `script` and `after_script`, and the hooks."""

    name: str = ""
    script: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitInfo:
    """Which sources to fetch."""

    repo_url: str = ""
    ref: str = ""
    sha: str = ""
    refspecs: tuple[str, ...] = ()
    depth: int = 0

    @property
    def clean_url(self) -> str:
        """The address without credentials."""
        scheme, slashes, rest = self.repo_url.partition("://")
        return scheme + slashes + rest.rpartition("@")[2] if slashes else self.repo_url


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFiles:
    """Files that the job saves when it ends."""

    paths: tuple[str, ...] = ()
    untracked: bool = False
    when: str = ""

    def is_wanted(self, *, succeeded: bool) -> bool:
        """Whether the job saves them after such an end."""
        ends = ("", "on_success", "always") if succeeded else ("on_failure", "always")
        return self.when in ends and bool(self.paths or self.untracked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(SavedFiles):
    """Files to upload."""

    name: str = ""
    exclude: tuple[str, ...] = ()
    expire_in: str = ""
    artifact_type: str = ""
    artifact_format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(SavedFiles):
    """Files to restore and save."""

    key: str = ""
    policy: str = ""  # "" means pull-push
    fallback_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsFile:
    """The archive of an earlier job; empty without a name."""

    filename: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """An earlier job whose artifacts this one gets."""

    id: int = 0
    token: str = ""
    name: str = ""
    artifacts_file: ArtifactsFile = ArtifactsFile()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """The job's project."""

    project_id: int = 0
    project_jobs_running_on_instance_runners_count: str = ""  # a number would lose the job


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerInfo:
    """What GitLab asks of the runner; `timeout` in seconds, 0 for the usual two hours."""

    timeout: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What this GitLab knows."""

    trace_sections: bool = False
    failure_reasons: tuple[str, ...] = ()
    token_mask_prefixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerImage:
    """The image of the job or of a service, which a shell executor does not use."""

    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that one build needs."""

    id: int = 0
    token: str = ""
    allow_git_fetch: bool = False
    job_info: JobInfo = JobInfo()
    git_info: GitInfo = GitInfo()
    runner_info: RunnerInfo = RunnerInfo()
    variables: tuple[Variable, ...] = ()
    steps: tuple[Script, ...] = ()
    image: ContainerImage = ContainerImage()
    services: tuple[ContainerImage, ...] = ()
    hooks: tuple[Script, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    cache: tuple[Cache, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    features: Features = Features()

    def script(self, name: str) -> tuple[str, ...]:
        """The commands of the steps and hooks of that name."""
        named = (entry for entry in (*self.steps, *self.hooks) if entry.name == name)
        return tuple(line for entry in named for line in entry.script)


def read_job(body: bytes) -> Job:
    """The job in an answer's body. Raises `DecodeError` where the real runner loses the job."""
    try:
        return decode(Job, json.loads(body), "job")
    except json.JSONDecodeError as exc:
        raise DecodeError(str(exc)) from exc


def decode(kind: type[_T], value: object, path: str) -> _T:
    """`value` as a dataclass of this kind. Keys are read in any case and with `-` for `_`.

    Null and absent are alike; unknown keys mean nothing. Raises `DecodeError`.
    """
    table = {key.lower().replace("-", "_"): item for key, item in _of(dict, value, path).items()}
    return kind(
        **{
            name: _value(hint, table[name], f"{path}.{name}")
            for name, hint in get_type_hints(kind).items()
            if table.get(name) is not None
        }
    )


def _value(wanted: Any, value: object, path: str) -> object:
    if is_dataclass(wanted):
        return decode(wanted, value, path)  # type: ignore[arg-type]
    plain = get_origin(wanted) or wanted
    if plain is tuple:
        return tuple(_value(get_args(wanted)[0], item, path) for item in _of(list, value, path))
    return _of(plain, value, path)


def _of(wanted: type[_T], value: object, path: str) -> _T:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise DecodeError(f"{path} must be of type {wanted.__name__}")
    return value
