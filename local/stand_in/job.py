"""A job as GitLab hands it out, read with the strictness of the real runner's decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


class JobError(ValueError):
    """The answer is not a job the real runner could decode; it would be lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of the job."""

    key: str
    value: str
    file: bool = False
    masked: bool = False
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One script: `script`, `after_script` or another name GitLab gives it."""

    name: str
    script: tuple[str, ...]


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
class Artifact:
    """Files to upload."""

    name: str
    paths: tuple[str, ...]
    exclude: tuple[str, ...]
    untracked: bool
    when: str  # "" means on_success
    expire_in: str
    type: str
    format: str

    def is_for(self, succeeded: bool) -> bool:
        """Whether it is wanted after such an end."""
        return _is_wanted(self.when, succeeded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Files to restore and save."""

    key: str
    paths: tuple[str, ...]
    untracked: bool
    policy: str  # "" means pull-push
    when: str  # "" means on_success
    fallback_keys: tuple[str, ...]

    def is_for(self, succeeded: bool) -> bool:
        """Whether it is to be saved after such an end."""
        return _is_wanted(self.when, succeeded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """An earlier job with artifacts to fetch."""

    id: int
    token: str
    name: str
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything one build needs."""

    id: int
    token: str
    name: str
    project_id: int
    allow_git_fetch: bool
    git: GitInfo
    timeout_s: int
    variables: tuple[Variable, ...]
    steps: tuple[Step, ...]
    artifacts: tuple[Artifact, ...]
    cache: tuple[Cache, ...]
    dependencies: tuple[Dependency, ...]
    hooks: Mapping[str, tuple[str, ...]]
    trace_sections: bool
    failure_reasons: tuple[str, ...]
    token_prefixes: tuple[str, ...]  # of tokens that the log must not show


def read_job(body: bytes) -> Job:
    """The job in an answer's body. Raises `JobError` where the real runner fails to decode."""
    try:
        content = json.loads(body)
    except ValueError as exc:
        raise JobError(str(exc)) from exc
    root = _Part(content, "job")
    if "run" in root.entries and not root.entries["run"]:
        raise JobError("job.run must not be empty")
    return _job(root)


class _Part:
    """One JSON object; null and absent are alike."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise JobError(f"{path} must be an object")
        self.entries: dict[str, Any] = value
        self.path = path

    def get(self, key: str, wanted: type[_T], absent: _T) -> _T:
        value = self.entries.get(key)
        if value is None:
            return absent
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise JobError(f"{self.path}.{key} must be of type {wanted.__name__}")
        return value

    def text(self, key: str) -> str:
        return self.get(key, str, "")

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.get(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise JobError(f"{self.path}.{key} must be a list of strings")
        return tuple(values)

    def part(self, key: str) -> _Part:
        return _Part(self.get(key, dict, {}), f"{self.path}.{key}")

    def each(self, key: str, read: Callable[[_Part], _T]) -> tuple[_T, ...]:
        values = self.get(key, list, [])
        return tuple(read(_Part(value, f"{self.path}.{key}")) for value in values)


def _job(root: _Part) -> Job:
    about, features = root.part("job_info"), root.part("features")
    about.text("project_jobs_running_on_instance_runners_count")
    return Job(
        id=root.get("id", int, 0),
        token=root.text("token"),
        name=about.text("name"),
        project_id=about.get("project_id", int, 0),
        allow_git_fetch=root.get("allow_git_fetch", bool, False),
        git=_git(root.part("git_info")),
        timeout_s=root.part("runner_info").get("timeout", int, 0) or 7200,
        variables=root.each("variables", _variable),
        steps=root.each("steps", lambda p: Step(name=p.text("name"), script=p.texts("script"))),
        artifacts=root.each("artifacts", _artifact),
        cache=root.each("cache", _cache),
        dependencies=root.each("dependencies", _dependency),
        hooks=dict(root.each("hooks", lambda p: (p.text("name"), p.texts("script")))),
        trace_sections=features.get("trace_sections", bool, False),
        failure_reasons=features.texts("failure_reasons"),
        token_prefixes=features.texts("token_mask_prefixes"),
    )


def _git(part: _Part) -> GitInfo:
    return GitInfo(
        repo_url=part.text("repo_url"),
        ref=part.text("ref"),
        sha=part.text("sha"),
        refspecs=part.texts("refspecs"),
        depth=part.get("depth", int, 0),
    )


def _variable(part: _Part) -> Variable:
    return Variable(
        key=part.text("key"),
        value=part.text("value"),
        file=part.get("file", bool, False),
        masked=part.get("masked", bool, False),
        raw=part.get("raw", bool, False),
    )


def _artifact(part: _Part) -> Artifact:
    return Artifact(
        name=part.text("name"),
        paths=part.texts("paths"),
        exclude=part.texts("exclude"),
        untracked=part.get("untracked", bool, False),
        when=part.text("when"),
        expire_in=part.text("expire_in"),
        type=part.text("artifact_type"),
        format=part.text("artifact_format"),
    )


def _cache(part: _Part) -> Cache:
    return Cache(
        key=part.text("key"),
        paths=part.texts("paths"),
        untracked=part.get("untracked", bool, False),
        policy=part.text("policy"),
        when=part.text("when"),
        fallback_keys=part.texts("fallback_keys"),
    )


def _dependency(part: _Part) -> Dependency:
    return Dependency(
        id=part.get("id", int, 0),
        token=part.text("token"),
        name=part.text("name"),
        filename=part.part("artifacts_file").text("filename"),
    )


def _is_wanted(when: str, succeeded: bool) -> bool:
    """Whether an artifact or a cache with this `when` is to be saved after such an end."""
    return when in (("", "on_success", "always") if succeeded else ("on_failure", "always"))
