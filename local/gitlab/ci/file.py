"""Reads `.gitlab-ci.yml` into a pipeline, as GitLab would. Does no I/O.

A file that GitLab refuses is refused, with the line and the key. What it takes and nothing here
does is a warning, never a silent omission: see `unsupported.py`.
Source: GitLab docs, "CI/CD YAML syntax reference"; GitLab's `lib/gitlab/ci/config/entry`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from local.gitlab.ci.job import DEFAULT_KEYS, Draft, Surroundings, read_drafts
from local.gitlab.ci.keywords import GLOBAL_VARIABLE, Variables, read_variables
from local.gitlab.ci.links import link
from local.gitlab.ci.rules import WORKFLOW_RULE_SAYS, Changes, RuleFacts, matching_rule
from local.gitlab.ci.tree import Tree, explained, left_out, read_tree
from local.gitlab.ci.types import (
    ArtifactSpec,
    CacheSpec,
    CiError,
    CiMissingError,
    EnvironmentSpec,
    ImageSpec,
    JobSpec,
    NeedSpec,
    PipelineSpec,
    RetrySpec,
)
from local.gitlab.ci.unsupported import warnings_of
from local.gitlab.ci.values import Location, expand

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

MAIN_FILE = ".gitlab-ci.yml"
_STAGES = ("build", "test", "deploy")
_EDGES = (".pre", ".post")
# Keys that set a default from the top level, the way it was done before `default:`.
_OLD_DEFAULTS = ("image", "services", "cache", "before_script", "after_script")
_TOP_LEVEL = (*_OLD_DEFAULTS, "default", "stages", "variables", "workflow")
_WORKFLOW = ("auto_cancel", "name", "rules")
_ON_NEW_COMMIT = ("conservative", "interruptible", "none")  # the default first
_ON_JOB_FAILURE = ("none", "all")
_LONGEST_NAME = 255


def read_pipeline(  # noqa: PLR0913 - a file, and four kinds of things that rules ask about
    text: str,
    *,
    variables: Mapping[str, str],
    file: str = MAIN_FILE,
    files: Mapping[str, str] | None = None,
    paths: Collection[str] | None = None,
    changes: Changes | None = None,
) -> PipelineSpec:
    """The pipeline a CI file makes. Raises `CiError` when GitLab would refuse the file.

    `file` is its path, for errors. `variables` are known beforehand, such as CI_COMMIT_BRANCH;
    they win over the file's own in rules. `files` is text by path, for `include` and cache keys
    made of files; `paths` are the repository's files for `rules:exists`, and `changes` what the
    commit changed, for `rules:changes`; where they are None, such rules apply.
    """
    facts = RuleFacts(variables=variables, paths=paths, changes=changes)
    tree = read_tree(text, file=file, files=files or {}, facts=facts)
    try:
        return _pipeline(tree, facts, files or {})
    except CiError as exc:
        raise explained(exc, tree.not_fetched) from exc


def _pipeline(tree: Tree, facts: RuleFacts, files: Mapping[str, str]) -> PipelineSpec:
    entries = {
        name: Location(node, name)
        for name, node in tree.entries.items()
        if node.value is not None or name not in _TOP_LEVEL
    }
    document = _Document(file=tree.file, tree=entries)
    stages = document.stages()
    given = document.variables()
    wanted, given, title, cancels = document.workflow(facts, given)
    around = Surroundings(
        defaults=document.defaults(),
        variables=given,
        facts=facts,
        files=files,
        has_workflow_rules=document.has_workflow_rules,
    )
    drafts: list[Draft] = []
    gone: list[str] = []  # warnings
    for name, spot in document.jobs():
        try:
            drafts += _known_stages(list(read_drafts(name, spot, around)), stages)
        except CiMissingError as exc:
            if not tree.not_fetched:
                raise
            gone.append(left_out(exc))
    jobs, more = link(drafts, stages, may_be_elsewhere=bool(tree.not_fetched))
    gone += more
    is_left_out = tree.has_left_out or bool(gone) or any(draft.is_wanted for draft in drafts)
    if not wanted or all(draft.spec.stage in _EDGES for draft in drafts if draft.is_wanted):
        jobs, drafts = (), []
    wanted_entries = {draft.entry: draft.spot for draft in drafts if draft.is_wanted}
    return PipelineSpec(
        stages=stages,
        jobs=jobs,
        variables=given.values,
        name=title,
        cancels_on_new_commit=cancels[0],
        cancels_on_job_failure=cancels[1],
        warnings=(*tree.warnings, *gone, *warnings_of(wanted_entries, around.defaults)),
        is_left_out=wanted and not jobs and is_left_out,
    )


def _known_stages(drafts: list[Draft], stages: Sequence[str]) -> list[Draft]:
    for draft in drafts:
        if draft.spec.stage not in stages:
            place = draft.entries.get("stage", draft.spot)
            said = f"stage {draft.spec.stage!r} does not exist; there are {', '.join(stages)}"
            raise place.missing(said)
    return drafts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The top level of the file."""

    file: str
    tree: Mapping[str, Location]

    def stages(self) -> tuple[str, ...]:
        """`.pre`, the stages in order, `.post`."""
        named = self.tree["stages"].texts() if "stages" in self.tree else _STAGES
        inner = dict.fromkeys(stage for stage in named if stage not in _EDGES)
        return (".pre", *inner, ".post")

    def variables(self) -> Variables:
        if "variables" not in self.tree:
            return Variables()
        return read_variables(self.tree["variables"], GLOBAL_VARIABLE)

    def defaults(self) -> dict[str, Location]:
        old = {key: self.tree[key] for key in _OLD_DEFAULTS if key in self.tree}
        new = self.tree["default"].entries(DEFAULT_KEYS) if "default" in self.tree else {}
        for key in old.keys() & new.keys():
            raise new[key].error("is defined at the top level and in default, too")
        return {**old, **new}

    @property
    def has_workflow_rules(self) -> bool:
        return "workflow" in self.tree and "rules" in self.tree["workflow"].entries()

    def workflow(
        self, facts: RuleFacts, given: Variables
    ) -> tuple[bool, Variables, str | None, tuple[str, str]]:
        """Whether a pipeline is wanted, its first variables, its name, and what cancels it."""
        said = self.tree["workflow"].entries(_WORKFLOW) if "workflow" in self.tree else {}
        seen = RuleFacts(
            variables={**given.values, **facts.variables},
            paths=facts.paths,
            changes=facts.changes,
        )
        cancels = _auto_cancel(said.get("auto_cancel"), (_ON_NEW_COMMIT[0], _ON_JOB_FAILURE[0]))
        rule = (
            matching_rule(said["rules"], seen, WORKFLOW_RULE_SAYS, whens=("always", "never"))
            if "rules" in said
            else {}
        )
        wanted = rule is not None
        if rule and "when" in rule:
            wanted = rule["when"].value != "never"
        if rule and "variables" in rule:
            more = read_variables(Location(rule["variables"], "workflow:rules:variables"))
            given = given.under(more)
        if rule and "auto_cancel" in rule:
            spot = Location(rule["auto_cancel"], "workflow:rules:auto_cancel")
            cancels = _auto_cancel(spot, cancels)
        name = said["name"].text() if "name" in said else None
        if name is not None and len(name) > _LONGEST_NAME:
            raise said["name"].error(f"may have {_LONGEST_NAME} characters at most")
        known = {**given.values, **facts.variables}
        return wanted, given, expand(name, known) if name else None, cancels

    def jobs(self) -> list[tuple[str, Location]]:
        """The visible jobs in file order. Raises `CiError` when there are none."""
        found: list[tuple[str, Location]] = []
        for name, spot in self.tree.items():
            if name in _TOP_LEVEL or name.startswith("."):
                continue
            if not spot.is_map:
                raise spot.node.error(
                    f"unsupported key {name!r}: no keyword of the top level, and no job, since "
                    "it is no map"
                )
            found.append((name, Location(spot.node, f"jobs:{name}")))
        if not found:
            raise CiMissingError(f"{self.file} line 1: there is no job in it")
        return found


def _auto_cancel(spot: Location | None, absent: tuple[str, str]) -> tuple[str, str]:
    """What a newer commit, and what a failed job, cancels."""
    if spot is None:
        return absent
    said = spot.entries(("on_new_commit", "on_job_failure"))
    commit, failure = said.get("on_new_commit"), said.get("on_job_failure")
    return (
        commit.one_of(_ON_NEW_COMMIT) if commit is not None else absent[0],
        failure.one_of(_ON_JOB_FAILURE) if failure is not None else absent[1],
    )
