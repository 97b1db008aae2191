"""CI/CD variables of projects and groups: which of them a job gets. Pure.

Source: GitLab docs, "CI/CD variables" (scope, protection, precedence).
"""

import re
from collections.abc import Iterable, Mapping

from local.gitlab.model import Group, Project, SecretVariable


def variables_for(
    project: Project, *, environment: str | None, is_protected: bool
) -> dict[str, SecretVariable]:
    """By key: the project's own over its groups', the nearest group over those above."""
    owners: list[Group | Project] = [*reversed(project.group.lineage), project]
    chosen: dict[str, SecretVariable] = {}
    for owner in owners:
        usable = (item for item in owner.variables if is_protected or not item.is_protected)
        chosen |= _best(usable, environment)
    return chosen


def _best(
    variables: Iterable[SecretVariable], environment: str | None
) -> Mapping[str, SecretVariable]:
    """Of two with one key that whose scope says most about the environment."""
    fitting = [item for item in variables if _fits(item.environment_scope, environment)]
    return {
        item.key: item for item in sorted(fitting, key=lambda item: _rank(item.environment_scope))
    }


def _fits(scope: str, environment: str | None) -> bool:
    if environment is None:
        return scope == "*"
    pattern = ".*".join(re.escape(part) for part in scope.split("*"))
    return re.fullmatch(pattern, environment, re.DOTALL) is not None


def _rank(scope: str) -> tuple[bool, int]:
    """How much a scope that fits says: an exact name most, then the longest pattern."""
    return "*" not in scope, len(scope)
