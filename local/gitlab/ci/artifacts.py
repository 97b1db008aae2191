"""The keywords `artifacts` and `cache`."""

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import unquote

from local.gitlab.ci.globs import matching
from local.gitlab.ci.types import ArtifactSpec, CacheSpec
from local.gitlab.ci.values import Entries, Location, expand

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
    """`artifacts:`; empty for an empty map."""
    entries = spot.entries(_ARTIFACT_KEYS)
    if not entries:
        return ()
    _check_access(entries)
    expire_in = entries.read("expire_in", Location.expiry, None)
    reports = entries.read("reports", lambda spot: spot.entries(_REPORTS), Entries())
    return (
        ArtifactSpec(
            name=entries.read("name", Location.text, None),
            paths=entries.read("paths", Location.texts, ()),
            exclude=entries.read("exclude", Location.texts, ()),
            untracked=entries.read("untracked", Location.flag, False),
            when=entries.read("when", lambda spot: spot.one_of(_OUTCOMES), "on_success"),
            expire_in=expire_in,
            reports=dict(_report(kind, report) for kind, report in reports.items()),
        ),
    )


def _check_access(entries: Entries) -> None:
    """Raises `CiError` for wrong `public`, `access` or `expose_as`."""
    if "public" in entries and "access" in entries:
        raise entries["access"].error("cannot stand beside public")
    if "public" in entries:
        entries["public"].flag()
    if "access" in entries:
        entries["access"].one_of(_ACCESS)
    if "expose_as" in entries:
        _check_expose_as(entries)


def _check_expose_as(entries: Entries) -> None:
    if not _EXPOSED.fullmatch(entries["expose_as"].text()):
        raise entries["expose_as"].error(
            "can contain only letters, digits, '-', '_' and spaces, 100 at most"
        )
    if "paths" not in entries or not entries["paths"].texts():
        raise entries["expose_as"].error("takes paths beside it")
    for path in entries["paths"].items():
        if "*" in path.text():
            raise path.error("can't contain '*' when used with 'expose_as'")


def _report(kind: str, spot: Location) -> tuple[str, tuple[str, ...]]:
    """The report's type at GitLab, and its files."""
    if kind != "coverage_report":
        return kind, spot.text_or_texts()
    entries = spot.entries(("coverage_format", "path"))
    for key in ("coverage_format", "path"):
        if key not in entries:
            raise spot.error(f"{key} is missing")
    return entries["coverage_format"].one_of(_COVERAGE_FORMATS), (entries["path"].text(),)


def read_caches(
    spot: Location, files: Mapping[str, str], known: Mapping[str, str]
) -> tuple[CacheSpec, ...]:
    """`cache:`, one or a list; empty maps count as none.

    `files` maps paths to text, for `key:files`; `known` variables expand paths and policies.
    """
    caches = spot.items() if spot.is_list else (spot,)
    if len(caches) > _MOST_CACHES:
        raise spot.error(f"may have {_MOST_CACHES} caches at most")
    return tuple(_cache(cache, files, known) for cache in caches if cache.entries(_CACHE_KEYS))


def _cache(spot: Location, files: Mapping[str, str], known: Mapping[str, str]) -> CacheSpec:
    entries = spot.entries(_CACHE_KEYS)
    fallback_keys = entries.read("fallback_keys", Location.texts, ())
    if len(fallback_keys) > _MOST_FALLBACK_KEYS:
        raise entries["fallback_keys"].error(f"may have {_MOST_FALLBACK_KEYS} entries at most")
    return CacheSpec(
        key=entries.read("key", lambda key: _cache_key(key, files, known), "default"),
        paths=entries.read("paths", Location.texts, ()),
        untracked=entries.read("untracked", Location.flag, False),
        policy=entries.read("policy", lambda policy: _policy(policy, known), "pull-push"),
        when=entries.read("when", lambda spot: spot.one_of(_OUTCOMES), "on_success"),
        fallback_keys=fallback_keys,
        unprotect=entries.read("unprotect", Location.flag, False),
    )


def _policy(spot: Location, known: Mapping[str, str]) -> str:
    """The policy; one with a variable is expanded and not checked: the runner may know more."""
    if "$" in spot.text():
        return expand(spot.text(), known)
    return spot.one_of(_POLICIES)


def _cache_key(spot: Location, files: Mapping[str, str], known: Mapping[str, str]) -> str:
    """The key as written, or one made of the content of `key:files`."""
    if not spot.is_map:
        return _literal_key(spot)
    entries = spot.entries(("files", "files_commits", "prefix"))
    kinds = [key for key in ("files", "files_commits") if key in entries]
    if len(kinds) != 1:
        raise spot.error("takes exactly one of files, files_commits")
    globs = entries[kinds[0]].texts()
    if not 1 <= len(globs) <= _MOST_KEY_FILES:
        raise entries[kinds[0]].error(f"must be 1 or {_MOST_KEY_FILES} files, not {len(globs)}")
    paths = matching([expand(glob.lstrip("/"), known) for glob in globs], files)
    content = "\0".join(part for path in paths for part in (path, files[path]))
    key = hashlib.sha256(content.encode()).hexdigest()[:40] if paths else "default"
    return f"{_literal_key(entries['prefix'])}-{key}" if "prefix" in entries else key


def _literal_key(spot: Location) -> str:
    key = unquote(spot.text())
    if "/" in key:
        raise spot.error('cannot contain the "/" character')
    if key in {".", ".."}:
        raise spot.error('cannot be "." or ".."')
    return spot.text()
