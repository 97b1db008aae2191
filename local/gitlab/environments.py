"""Environments: their slugs and tiers, and what jobs make of them.

Source: GitLab, lib/gitlab/slug/environment.rb and `Environment#guess_tier`.
"""

from __future__ import annotations

import hashlib
import re

from local.gitlab.ci.types import EnvironmentSpec
from local.gitlab.model import Environment, Job, Project

_LONGEST_SLUG = 24
_KEPT = 17  # letters of a shortened slug, before a dash and six letters of a digest
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIERS = (  # the first that is found in the name
    ("development", "dev|review|trunk"),
    ("testing", "test|tst|int|ac(ce|)pt|qa|qc|control|quality"),
    ("staging", "st(a|)g|mod(e|)l|pre|demo|non"),
    ("production", "pr(o|)d|live"),
)


def environment_slug(name: str) -> str:
    """`CI_ENVIRONMENT_SLUG`: a letter first, 24 long at most, told apart by a digest."""
    text = re.sub(r"[^a-z0-9]", "-", name.lower())
    if not re.match(r"[a-z]", text):
        text = f"env-{text}"
    text = re.sub(r"-+", "-", text)
    if len(text) <= _LONGEST_SLUG and text == name:
        return text.removesuffix("-")
    short = text[:_KEPT]
    return f"{short if short.endswith('-') else f'{short}-'}{_suffix(name)}"


def _suffix(name: str) -> str:
    """The last six digits, in base 36, of the name's SHA-256."""
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    for _ in range(6):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def guessed_tier(name: str) -> str:
    """What GitLab takes an environment for when the file does not say."""
    for tier, words in _TIERS:
        if re.search(words, name, re.IGNORECASE):
            return tier
    return "other"


def tier_of(spec: EnvironmentSpec) -> str:
    """The tier of a job's environment."""
    return spec.tier or guessed_tier(spec.name)


def enter(job: Job) -> None:
    """Note the environment that a new job names."""
    spec, project = job.spec.environment, job.project
    if spec is None:
        return
    found = project.environments.get(spec.name)
    if found is None:
        project.environments[spec.name] = _new(project, spec, job)
    elif spec.tier:
        found.tier = spec.tier


def _new(project: Project, spec: EnvironmentSpec, job: Job) -> Environment:
    return Environment(
        id=len(project.environments) + 1,
        name=spec.name,
        slug=environment_slug(spec.name),
        tier=tier_of(spec),
        created_at=job.created_at,
    )


def note_deployed(job: Job, url: str | None) -> None:
    """A job went well: its environment is at `url` from now on, or is stopped."""
    if job.spec.environment is None:
        return
    enter(job)  # it may be of a pipeline that was made without
    found = job.project.environments[job.spec.environment.name]
    if job.spec.environment.action == "stop":
        found.is_stopped = True
    elif job.spec.environment.action == "start":
        found.is_stopped = False
        found.external_url = url or found.external_url
