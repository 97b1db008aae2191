"""What a job keeps: `artifacts` for later jobs and people, `cache` for later pipelines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from local.gitlab.ci_types import ArtifactSpec, CacheSpec
from local.gitlab.ci_values import Spot, read_duration_s

_OUTCOMES = ("on_success", "on_failure", "always")
_POLICIES = ("pull-push", "pull", "push")
_ARTIFACT_KEYS = ("name", "paths", "exclude", "untracked", "when", "expire_in", "reports")
_CACHE_KEYS = ("key", "paths", "untracked", "policy", "when", "fallback_keys")
_MOST_CACHES = 4  # GitLab docs, "Use multiple caches"


def read_artifacts(spot: Spot) -> tuple[ArtifactSpec, ...]:
    """`artifacts:`; an empty map means none."""
    said = spot.entries(_ARTIFACT_KEYS)
    if not said:
        return ()
    expire_in = said["expire_in"].plain() if "expire_in" in said else None
    if expire_in and expire_in != "never" and read_duration_s(expire_in) is None:
        raise said["expire_in"].error("must be a duration such as '1 week', or 'never'")
    reports = said["reports"].entries() if "reports" in said else {}
    return (
        ArtifactSpec(
            name=said["name"].text() if "name" in said else None,
            paths=_texts(said, "paths"),
            exclude=_texts(said, "exclude"),
            untracked="untracked" in said and said["untracked"].flag(),
            when=said["when"].one_of(_OUTCOMES) if "when" in said else "on_success",
            expire_in=expire_in,
            reports={kind: _report(kind, report) for kind, report in reports.items()},
        ),
    )


def _report(kind: str, spot: Spot) -> tuple[str, ...]:
    if kind != "coverage_report":
        return spot.text_or_texts()
    said = spot.entries(("coverage_format", "path"))
    if "path" not in said:
        raise spot.error("path is missing")
    return (said["path"].text(),)


def read_caches(spot: Spot, files: Mapping[str, str]) -> tuple[CacheSpec, ...]:
    """`cache:`, one or a list; an empty map or list means none."""
    entries = spot.items() if spot.is_list else (spot,)
    if len(entries) > _MOST_CACHES:
        raise spot.error(f"may have {_MOST_CACHES} caches at most")
    return tuple(_cache(entry, files) for entry in entries if entry.entries(_CACHE_KEYS))


def _cache(spot: Spot, files: Mapping[str, str]) -> CacheSpec:
    said = spot.entries(_CACHE_KEYS)
    return CacheSpec(
        key=_cache_key(said["key"], files) if "key" in said else "default",
        paths=_texts(said, "paths"),
        untracked="untracked" in said and said["untracked"].flag(),
        policy=said["policy"].one_of(_POLICIES) if "policy" in said else "pull-push",
        when=said["when"].one_of(_OUTCOMES) if "when" in said else "on_success",
        fallback_keys=_texts(said, "fallback_keys"),
    )


def _cache_key(spot: Spot, files: Mapping[str, str]) -> str:
    """The key as written, or one that changes with the content of the files named."""
    if not spot.is_map:
        return spot.text()
    said = spot.entries(("files", "prefix"))
    if "files" not in said:
        raise spot.error("files is missing")
    names = [name for name in said["files"].texts() if name in files]
    content = "\0".join(part for name in names for part in (name, files[name]))
    key = hashlib.sha256(content.encode()).hexdigest()[:40] if names else "default"
    return f"{said['prefix'].text()}-{key}" if "prefix" in said else key


def _texts(said: Mapping[str, Spot], key: str) -> tuple[str, ...]:
    return said[key].texts() if key in said else ()
