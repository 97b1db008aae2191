"""Reads a useful subset of `.gitlab-ci.yml` into a pipeline. Does no I/O.

Source: GitLab docs, "CI/CD YAML syntax reference". A key outside the subset is an error that
names it, never a silent omission. `changes` counts as true: see `ci_rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from local.gitlab.ci_job import DEFAULT_KEYS, Surroundings, read_drafts
from local.gitlab.ci_links import link
from local.gitlab.ci_parts import Variables, read_variables
from local.gitlab.ci_rules import WORKFLOW_RULE_SAYS, Facts, matching_rule
from local.gitlab.ci_tree import MAIN_FILE, read_tree
from local.gitlab.ci_types import (
    ArtifactSpec,
    CacheSpec,
    CiError,
    EnvironmentSpec,
    ImageSpec,
    JobSpec,
    NeedSpec,
    PipelineSpec,
    RetrySpec,
)
from local.gitlab.ci_values import Spot, expand

__all__ = [
    "ArtifactSpec",
    "CacheSpec",
    "CiError",
    "EnvironmentSpec",
    "ImageSpec",
    "JobSpec",
    "NeedSpec",
    "PipelineSpec",
    "RetrySpec",
    "read_pipeline",
]

_STAGES = ("build", "test", "deploy")
_EDGES = (".pre", ".post")
# Keys that set a default from the top level, the way it was done before `default:`.
_OLD_DEFAULTS = ("image", "services", "cache", "before_script", "after_script")
_TOP_LEVEL = (*_OLD_DEFAULTS, "default", "stages", "variables", "workflow")
_WORKFLOW = ("auto_cancel", "name", "rules")
_ON_NEW_COMMIT = ("conservative", "interruptible", "none")  # the default first
_ON_JOB_FAILURE = ("none", "all")
_UNSUPPORTED = ("spec", "types")


def read_pipeline(
    text: str,
    *,
    variables: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    paths: Collection[str] | None = None,
) -> PipelineSpec:
    """The pipeline a CI file makes. Raises `CiError` when GitLab would refuse the file.

    `variables` are those known beforehand, such as CI_COMMIT_BRANCH and CI_PIPELINE_SOURCE; they
    win over the file's own in rules. `files` is text by path, for `include` and cache keys made
    of files; `paths` are the repository's files for `rules:exists`.
    """
    document = _Document(
        tree={n: Spot(v, n) for n, v in read_tree(text, files=files or {}).items()}
    )
    stages = document.stages()
    given = document.variables()
    facts = Facts(variables=variables, paths=paths)
    wanted, given, name = document.workflow(facts, given)
    around = Surroundings(
        defaults=document.defaults(),
        variables=given,
        facts=facts,
        files=files or {},
    )
    drafts = [d for name, spot in document.jobs() for d in read_drafts(name, spot, around)]
    jobs = link(drafts, stages)
    if not wanted or all(job.stage in _EDGES for job in jobs):
        jobs = ()
    on_new_commit, on_job_failure = document.auto_cancel()
    return PipelineSpec(
        stages=stages,
        jobs=jobs,
        variables=given.values,
        name=name,
        cancels_on_new_commit=on_new_commit,
        cancels_on_job_failure=on_job_failure,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The top level of the file."""

    tree: Mapping[str, Spot]

    def stages(self) -> tuple[str, ...]:
        """`.pre`, the stages in order, `.post`."""
        named = self.tree["stages"].texts() if "stages" in self.tree else _STAGES
        return (".pre", *(stage for stage in named if stage not in _EDGES), ".post")

    def variables(self) -> Variables:
        return read_variables(self.tree["variables"]) if "variables" in self.tree else Variables()

    def defaults(self) -> dict[str, Spot]:
        old = {key: self.tree[key] for key in _OLD_DEFAULTS if key in self.tree}
        new = self.tree["default"].entries(DEFAULT_KEYS) if "default" in self.tree else {}
        return {**old, **new}

    def workflow(self, facts: Facts, given: Variables) -> tuple[bool, Variables, str | None]:
        """Whether a pipeline is wanted, the variables it starts with, and its name."""
        said = self.tree["workflow"].entries(_WORKFLOW) if "workflow" in self.tree else {}
        seen = Facts(variables={**given.values, **facts.variables}, paths=facts.paths)
        rule = matching_rule(said["rules"], seen, WORKFLOW_RULE_SAYS) if "rules" in said else {}
        wanted = rule is not None
        if rule and "when" in rule:
            wanted = (
                Spot(rule["when"], "workflow:rules:when").one_of(("always", "never")) != "never"
            )
        if rule and "variables" in rule:
            more = read_variables(Spot(rule["variables"], "workflow:rules:variables"))
            given = given.under(more)
        known = {**given.values, **facts.variables}
        name = expand(said["name"].text(), known) if "name" in said else None
        return wanted, given, name

    def auto_cancel(self) -> tuple[str, str]:
        """What a newer commit, and what a failed job, cancels."""
        workflow = self.tree["workflow"].entries(_WORKFLOW) if "workflow" in self.tree else {}
        if "auto_cancel" not in workflow:
            return _ON_NEW_COMMIT[0], _ON_JOB_FAILURE[0]
        said = workflow["auto_cancel"].entries(("on_new_commit", "on_job_failure"))
        return (
            said["on_new_commit"].one_of(_ON_NEW_COMMIT)
            if "on_new_commit" in said
            else _ON_NEW_COMMIT[0],
            said["on_job_failure"].one_of(_ON_JOB_FAILURE)
            if "on_job_failure" in said
            else _ON_JOB_FAILURE[0],
        )

    def jobs(self) -> list[tuple[str, Spot]]:
        """The visible jobs in file order. Raises `CiError` when there are none."""
        found: list[tuple[str, Spot]] = []
        for name, spot in self.tree.items():
            if name in _TOP_LEVEL or name.startswith("."):
                continue
            if name in _UNSUPPORTED:
                raise spot.node.error(f"unsupported key {name!r}")
            if not spot.is_map:
                raise spot.node.error(f"unsupported key {name!r}: not a job, since it is no map")
            found.append((name, Spot(spot.node, f"jobs:{name}")))
        if not found:
            raise CiError(f"{MAIN_FILE} line 1: there is no job in it")
        return found
