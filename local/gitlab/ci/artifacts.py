"""What a job keeps: `artifacts` for later jobs and people, `cache` for later pipelines."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import unquote

from local.gitlab.ci.globs import matching
from local.gitlab.ci.types import ArtifactSpec, CacheSpec
from local.gitlab.ci.values import Location, expand, read_duration_s

_OUTCOMES = ("on_success", "on_failure", "always")
_POLICIES = ("pull-push", "pull", "push")
_ACCESS = ("none", "developer", "maintainer", "all")
_ARTIFACT_KEYS = (
    *("name", "paths", "exclude", "untracked", "when", "expire_in", "reports"),
    *("expose_as", "public", "access"),
)
_REPORTS = (  # GitLab's `Entry::Reports`
    *("junit", "codequality", "sast", "secret_detection", "dependency_scanning"),
    *("container_scanning", "dast", "performance", "browser_performance", "load_performance"),
    *("license_scanning", "metrics", "lsif", "dotenv", "terraform", "accessibility"),
    *("coverage_fuzzing", "api_fuzzing", "cluster_image_scanning", "requirements"),
    *("requirements_v2", "coverage_report", "cyclonedx", "annotations", "repository_xray"),
    "sarif",
)
_COVERAGE_FORMATS = ("cobertura", "jacoco")
_EXPOSED = re.compile(r"\w[-\w ]{0,99}", re.ASCII)
_MOST_FALLBACK_KEYS = 5
_MOST_KEY_FILES = 2
_CACHE_KEYS = ("key", "paths", "untracked", "policy", "when", "fallback_keys", "unprotect")
_MOST_CACHES = 4  # GitLab docs, "Use multiple caches"


def read_artifacts(spot: Location) -> tuple[ArtifactSpec, ...]:
    """`artifacts:`; an empty map means none."""
    said = spot.entries(_ARTIFACT_KEYS)
    if not said:
        return ()
    _check_shown(said)
    expire_in = said["expire_in"].text() if "expire_in" in said else None
    if expire_in and expire_in.lower() != "never" and read_duration_s(expire_in) is None:
        raise said["expire_in"].error("must be a duration such as '1 week', or 'never'")
    reports = said["reports"].entries(_REPORTS) if "reports" in said else {}
    return (
        ArtifactSpec(
            name=said["name"].text() if "name" in said else None,
            paths=_texts(said, "paths"),
            exclude=_texts(said, "exclude"),
            untracked="untracked" in said and said["untracked"].flag(),
            when=said["when"].one_of(_OUTCOMES) if "when" in said else "on_success",
            expire_in=expire_in,
            reports=dict(_report(kind, report) for kind, report in reports.items()),
        ),
    )


def _check_shown(said: Mapping[str, Location]) -> None:
    """Who may see the artifacts, and where."""
    if "public" in said and "access" in said:
        raise said["access"].error("cannot stand beside public")
    if "public" in said:
        said["public"].flag()
    if "access" in said:
        said["access"].one_of(_ACCESS)
    if "expose_as" in said:
        _check_exposed(said)


def _check_exposed(said: Mapping[str, Location]) -> None:
    if not _EXPOSED.fullmatch(said["expose_as"].text()):
        raise said["expose_as"].error(
            "can contain only letters, digits, '-', '_' and spaces, 100 at most"
        )
    if "paths" not in said or not said["paths"].texts():
        raise said["expose_as"].error("takes paths beside it")
    for path in said["paths"].items():
        if "*" in path.text():
            raise path.error("can't contain '*' when used with 'expose_as'")


def _report(kind: str, spot: Location) -> tuple[str, tuple[str, ...]]:
    """The type that the report is sent as, and its files."""
    if kind != "coverage_report":
        return kind, spot.text_or_texts()
    said = spot.entries(("coverage_format", "path"))
    for key in ("coverage_format", "path"):
        if key not in said:
            raise spot.error(f"{key} is missing")
    return said["coverage_format"].one_of(_COVERAGE_FORMATS), (said["path"].text(),)


def read_caches(
    spot: Location, files: Mapping[str, str], known: Mapping[str, str]
) -> tuple[CacheSpec, ...]:
    """`cache:`, one or a list; an empty map or list means none. `known` are variables."""
    entries = spot.items() if spot.is_list else (spot,)
    if len(entries) > _MOST_CACHES:
        raise spot.error(f"may have {_MOST_CACHES} caches at most")
    return tuple(_cache(entry, files, known) for entry in entries if entry.entries(_CACHE_KEYS))


def _cache(spot: Location, files: Mapping[str, str], known: Mapping[str, str]) -> CacheSpec:
    said = spot.entries(_CACHE_KEYS)
    fallback_keys = _texts(said, "fallback_keys")
    if len(fallback_keys) > _MOST_FALLBACK_KEYS:
        raise said["fallback_keys"].error(f"may have {_MOST_FALLBACK_KEYS} entries at most")
    return CacheSpec(
        key=_cache_key(said["key"], files, known) if "key" in said else "default",
        paths=_texts(said, "paths"),
        untracked="untracked" in said and said["untracked"].flag(),
        policy=_policy(said["policy"], known) if "policy" in said else "pull-push",
        when=said["when"].one_of(_OUTCOMES) if "when" in said else "on_success",
        fallback_keys=fallback_keys,
        unprotect="unprotect" in said and said["unprotect"].flag(),
    )


def _policy(spot: Location, known: Mapping[str, str]) -> str:
    """One of three; a variable is put in here when it is known, else by the runner."""
    if "$" in spot.text():
        return expand(spot.text(), known)
    return spot.one_of(_POLICIES)


def _cache_key(spot: Location, files: Mapping[str, str], known: Mapping[str, str]) -> str:
    """The key as written, or one that changes with the content of the files named."""
    if not spot.is_map:
        return _checked_key(spot)
    said = spot.entries(("files", "files_commits", "prefix"))
    kinds = [key for key in ("files", "files_commits") if key in said]
    if len(kinds) != 1:
        raise spot.error("takes exactly one of files, files_commits")
    named = said[kinds[0]].texts()
    if not 1 <= len(named) <= _MOST_KEY_FILES:
        raise said[kinds[0]].error(f"must be 1 or {_MOST_KEY_FILES} files, not {len(named)}")
    globs = [expand(name.lstrip("/"), known) for name in named]
    names = matching(globs, files)
    content = "\0".join(part for name in names for part in (name, files[name]))
    key = hashlib.sha256(content.encode()).hexdigest()[:40] if names else "default"
    return f"{_checked_key(said['prefix'])}-{key}" if "prefix" in said else key


def _checked_key(spot: Location) -> str:
    key = unquote(spot.text())
    if "/" in key:
        raise spot.error('cannot contain the "/" character')
    if key in {".", ".."}:
        raise spot.error('cannot be "." or ".."')
    return spot.text()


def _texts(said: Mapping[str, Location], key: str) -> tuple[str, ...]:
    return said[key].texts() if key in said else ()
