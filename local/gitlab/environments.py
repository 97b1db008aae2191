"""Environments: their slugs, their tiers, and the changes that jobs make.

Source: GitLab, lib/gitlab/slug/environment.rb and `Environment#guess_tier`.
"""

import hashlib
import re

from local.gitlab.ci.types import EnvironmentSpec
from local.gitlab.model import Environment, Job, Project

_LONGEST_SLUG = 24
_SHORTENED_LENGTH = 17  # letters of a shortened slug, before a dash and six letters of a digest
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIERS = (  # the first pattern that the name contains
    ("development", "dev|review|trunk"),
    ("testing", "test|tst|int|ac(ce|)pt|qa|qc|control|quality"),
    ("staging", "st(a|)g|mod(e|)l|pre|demo|non"),
    ("production", "pr(o|)d|live"),
)


def environment_slug(name: str) -> str:
    """`CI_ENVIRONMENT_SLUG`: at most 24 characters, a letter first; a digest keeps it unique."""
    text = re.sub(r"[^a-z0-9]", "-", name.lower())
    if not re.match(r"[a-z]", text):
        text = f"env-{text}"
    text = re.sub(r"-+", "-", text)
    if len(text) <= _LONGEST_SLUG and text == name:
        return text.removesuffix("-")
    short = text[:_SHORTENED_LENGTH]
    return f"{short if short.endswith('-') else f'{short}-'}{_suffix(name)}"


def _suffix(name: str) -> str:
    """The last six digits, in base 36, of the name's SHA-256."""
    number, digits = int(hashlib.sha256(name.encode()).hexdigest(), 16), ""
    for _ in range(6):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def guessed_tier(name: str) -> str:
    """The tier that GitLab guesses from the name of an environment."""
    for tier, words in _TIERS:
        if re.search(words, name, re.IGNORECASE):
            return tier
    return "other"


def tier_of(spec: EnvironmentSpec) -> str:
    """The tier of a job's environment."""
    return spec.tier or guessed_tier(spec.name)


def enter(job: Job) -> None:
    """Record the environment that a new job names."""
    spec, project = job.spec.environment, job.project
    if spec is None:
        return
    environment = project.environments.get(spec.name)
    if environment is None:
        project.environments[spec.name] = _new(project, spec, job)
    elif spec.tier:
        environment.tier = spec.tier


def _new(project: Project, spec: EnvironmentSpec, job: Job) -> Environment:
    return Environment(
        id=len(project.environments) + 1,
        name=spec.name,
        slug=environment_slug(spec.name),
        tier=tier_of(spec),
        created_at=job.created_at,
    )


def note_deployed(job: Job, url: str | None) -> None:
    """Record a successful job: its environment is at `url` from now on, or is stopped."""
    if job.spec.environment is None:
        return
    enter(job)  # its pipeline may be older than the environment
    environment = job.project.environments[job.spec.environment.name]
    if job.spec.environment.action == "stop":
        environment.is_stopped = True
    elif job.spec.environment.action == "start":
        environment.is_stopped = False
        environment.external_url = url or environment.external_url
