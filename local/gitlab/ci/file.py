"""Reads a `.gitlab-ci.yml` into a pipeline, as GitLab does. No I/O.

A file that GitLab refuses is a `CiError` with line and key. A keyword that GitLab carries out and
this simulator does not is a warning: see `unsupported.py`.
Source: GitLab docs, "CI/CD YAML syntax reference"; GitLab's `lib/gitlab/ci/config/entry`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from local.gitlab.ci.job import DEFAULT_KEYS, Draft, FileContext, read_drafts
from local.gitlab.ci.keywords import GLOBAL_VARIABLE, Variables, read_variables
from local.gitlab.ci.links import link
from local.gitlab.ci.rules import WORKFLOW_RULE_KEYS, Changes, RuleFacts, matching_rule
from local.gitlab.ci.tree import Tree, left_out_warning, name_not_fetched, read_tree
from local.gitlab.ci.types import CiError, CiMissingError, PipelineSpec
from local.gitlab.ci.unsupported import warnings_of
from local.gitlab.ci.values import Entries, Location, expand
from local.gitlab.ci.yaml import Node

MAIN_FILE = ".gitlab-ci.yml"
_STAGES = ("build", "test", "deploy")
_EDGES = (".pre", ".post")
# Top-level keys that set defaults, from before `default:` existed.
_OLD_DEFAULTS = ("image", "services", "cache", "before_script", "after_script")
_TOP_LEVEL = (*_OLD_DEFAULTS, "default", "stages", "variables", "workflow")
_WORKFLOW = ("auto_cancel", "name", "rules")
_ON_NEW_COMMIT = ("conservative", "interruptible", "none")  # the default first
_ON_JOB_FAILURE = ("none", "all")
_LONGEST_NAME = 255


def read_pipeline(  # noqa: PLR0913 - a file, and four kinds of facts for rules
    text: str,
    *,
    variables: Mapping[str, str],
    file: str = MAIN_FILE,
    files: Mapping[str, str] | None = None,
    paths: Collection[str] | None = None,
    changes: Changes | None = None,
) -> PipelineSpec:
    """The pipeline of a CI file. Raises `CiError` when GitLab would refuse the file.

    `file` is its path, for messages. `variables` are those known before the jobs, such as
    CI_COMMIT_BRANCH; in rules they win over the file's own. `files` maps paths to text, for
    `include` and `cache:key:files`. `paths` are the repository's files, for `rules:exists`;
    `changes` are the commit's, for `rules:changes`; with None such conditions hold.
    """
    facts = RuleFacts(variables=variables, paths=paths, changes=changes)
    tree = read_tree(text, file=file, files=files or {}, facts=facts)
    try:
        return _pipeline(tree, facts, files or {})
    except CiError as exc:
        raise name_not_fetched(exc, tree.not_fetched) from exc


def _pipeline(tree: Tree, facts: RuleFacts, files: Mapping[str, str]) -> PipelineSpec:
    entries = Entries(
        (name, Location(node, name))
        for name, node in tree.entries.items()
        if node.value is not None or name not in _TOP_LEVEL
    )
    document = _Document(file=tree.file, entries=entries)
    stages = document.stages()
    workflow = document.workflow(facts)
    context = FileContext(
        defaults=document.defaults(),
        variables=workflow.variables,
        facts=facts,
        files=files,
        has_workflow_rules=document.has_workflow_rules,
    )
    drafts: list[Draft] = []
    undefined: list[str] = []  # warnings
    for name, spot in document.jobs():
        try:
            drafts += _check_stages(list(read_drafts(name, spot, context)), stages)
        except CiMissingError as exc:
            if not tree.not_fetched:
                raise
            undefined.append(left_out_warning(exc))
    jobs, unlinked = link(drafts, stages, may_be_elsewhere=bool(tree.not_fetched))
    undefined += unlinked
    is_left_out = tree.has_left_out or bool(undefined) or any(d.is_selected for d in drafts)
    if not workflow.is_selected or all(d.spec.stage in _EDGES for d in drafts if d.is_selected):
        jobs, drafts = (), []
    selected = {draft.entry: draft.spot for draft in drafts if draft.is_selected}
    return PipelineSpec(
        stages=stages,
        jobs=jobs,
        variables=workflow.variables.values,
        name=workflow.name,
        cancels_on_new_commit=workflow.cancels.on_new_commit,
        cancels_on_job_failure=workflow.cancels.on_job_failure,
        warnings=(*tree.warnings, *undefined, *warnings_of(selected, context.defaults)),
        is_left_out=workflow.is_selected and not jobs and is_left_out,
    )


def _check_stages(drafts: list[Draft], stages: Sequence[str]) -> list[Draft]:
    for draft in drafts:
        if draft.spec.stage not in stages:
            spot = draft.entries.get("stage", draft.spot)
            why = f"stage {draft.spec.stage!r} does not exist; there are {', '.join(stages)}"
            raise spot.missing(why)
    return drafts


@dataclass(frozen=True, slots=True, kw_only=True)
class _AutoCancel:
    """`workflow:auto_cancel`."""

    on_new_commit: str = _ON_NEW_COMMIT[0]
    on_job_failure: str = _ON_JOB_FAILURE[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workflow:
    """`workflow:` with its rules applied."""

    is_selected: bool  # rules admit the pipeline
    variables: Variables  # of the file and the rule
    name: str | None
    cancels: _AutoCancel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The top level of the file."""

    file: str
    entries: Entries

    def stages(self) -> tuple[str, ...]:
        """`.pre`, the file's stages in order, `.post`."""
        stages = self.entries.read("stages", Location.texts, _STAGES)
        inner = dict.fromkeys(stage for stage in stages if stage not in _EDGES)
        return (".pre", *inner, ".post")

    def variables(self) -> Variables:
        return self.entries.read(
            "variables", lambda spot: read_variables(spot, GLOBAL_VARIABLE), Variables()
        )

    def defaults(self) -> Entries:
        old = {key: self.entries[key] for key in _OLD_DEFAULTS if key in self.entries}
        new = self.entries.read("default", lambda spot: spot.entries(DEFAULT_KEYS), Entries())
        for key in old.keys() & new.keys():
            raise new[key].error("is defined at the top level and in default, too")
        return Entries({**old, **new})

    @property
    def has_workflow_rules(self) -> bool:
        return "workflow" in self.entries and "rules" in self.entries["workflow"].entries()

    def workflow(self, facts: RuleFacts) -> _Workflow:
        entries = self.entries.read("workflow", lambda spot: spot.entries(_WORKFLOW), Entries())
        variables = self.variables()
        known = {**variables.values, **facts.variables}
        rule: Mapping[str, Node] | None = {}
        if "rules" in entries:
            rule_facts = replace(facts, variables=known)
            whens = ("always", "never")
            rule = matching_rule(entries["rules"], rule_facts, WORKFLOW_RULE_KEYS, whens=whens)
        overrides = {k: Location(node, f"workflow:rules:{k}") for k, node in (rule or {}).items()}
        if "variables" in overrides:
            variables = variables.under(read_variables(overrides["variables"]))
        cancels = _auto_cancel(entries.get("auto_cancel"), _AutoCancel())
        name = entries.read("name", Location.text, None)
        if name is not None and len(name) > _LONGEST_NAME:
            raise entries["name"].error(f"may have {_LONGEST_NAME} characters at most")
        is_never = "when" in overrides and overrides["when"].node.value == "never"
        return _Workflow(
            is_selected=rule is not None and not is_never,
            variables=variables,
            name=expand(name, {**variables.values, **facts.variables}) if name else None,
            cancels=_auto_cancel(overrides.get("auto_cancel"), cancels),
        )

    def jobs(self) -> list[tuple[str, Location]]:
        """The entries of jobs in file order, without hidden ones. Raises `CiError` without any."""
        jobs: list[tuple[str, Location]] = []
        for name, spot in self.entries.items():
            if name in _TOP_LEVEL or name.startswith("."):
                continue
            if not spot.is_map:
                raise spot.node.error(
                    f"unsupported key {name!r}: neither a top-level keyword nor a job, which "
                    "must be a map"
                )
            jobs.append((name, Location(spot.node, f"jobs:{name}")))
        if not jobs:
            raise CiMissingError(f"{self.file} line 1: there is no job in it")
        return jobs


def _auto_cancel(spot: Location | None, absent: _AutoCancel) -> _AutoCancel:
    """`auto_cancel:`; `absent` has the values of missing keys."""
    if spot is None:
        return absent
    entries = spot.entries(("on_new_commit", "on_job_failure"))
    commit, failure = entries.get("on_new_commit"), entries.get("on_job_failure")
    return _AutoCancel(
        on_new_commit=commit.one_of(_ON_NEW_COMMIT) if commit else absent.on_new_commit,
        on_job_failure=failure.one_of(_ON_JOB_FAILURE) if failure else absent.on_job_failure,
    )
