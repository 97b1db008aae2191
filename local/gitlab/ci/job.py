"""From one job entry of the file to its jobs, with defaults and rules applied."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from local.gitlab.ci import keywords
from local.gitlab.ci.artifacts import read_artifacts, read_caches
from local.gitlab.ci.keywords import Needs, Variables
from local.gitlab.ci.parallel import ParallelJob, parallel_jobs
from local.gitlab.ci.rules import (
    JOB_RULE_KEYS,
    JOB_RULE_WHEN,
    LONGEST_DELAY,
    RuleFacts,
    check_start_in,
    matching_rule,
    selected_by_refs,
)
from local.gitlab.ci.types import ArtifactSpec, JobSpec, RetrySpec
from local.gitlab.ci.unsupported import check_unsupported, pages_path
from local.gitlab.ci.values import Entries, Location, expand

DEFAULT_KEYS = (
    *("after_script", "artifacts", "before_script", "cache", "hooks", "id_tokens", "identity"),
    *("image", "interruptible", "retry", "services", "tags", "timeout"),
)
_COMMON_KEYS = (  # of jobs and triggers
    *("allow_failure", "environment", "except", "extends", "inherit", "interruptible", "needs"),
    *("only", "parallel", "resource_group", "rules", "stage", "variables", "when"),
)
_TRIGGER_KEYS = frozenset((*_COMMON_KEYS, "trigger"))
_JOB_KEYS = frozenset(
    (
        *DEFAULT_KEYS,
        *_COMMON_KEYS,
        *("coverage", "dast_configuration", "dependencies", "inputs", "manual_confirmation"),
        *("pages", "publish", "release", "run", "script", "secrets", "start_in"),
    )
)
_WHEN = ("on_success", "on_failure", "always", "manual", "delayed")
_TRIGGER_WHEN = ("on_success", "on_failure", "always", "manual")
_NOT_BESIDE_RULES = ("only", "except", "start_in")
_LONGEST_NAME = 255
_LONGEST_TIMEOUT = "1 month"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContext:
    """The parts of the file, and facts, that a job entry depends on."""

    defaults: Entries
    variables: Variables
    facts: RuleFacts
    files: Mapping[str, str]
    has_workflow_rules: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job before its `needs` and `dependencies` are resolved."""

    entry: str  # its name in the file
    spot: Location
    spec: JobSpec
    is_selected: bool  # false when its rules exclude it
    is_trigger: bool = False  # starts another pipeline, which does not exist here
    entries: Entries = field(default_factory=Entries)  # its rule applied
    needs: Needs | None = None
    rule_needs: tuple[Needs, ...] = ()  # of every rule, also those that do not hold


def read_drafts(name: str, spot: Location, context: FileContext) -> Iterator[Draft]:
    """The jobs of an entry, also those that its rules exclude. Raises `CiError`."""
    own = _own_entries(name, spot)
    is_trigger = _is_trigger(own)
    inherited = [
        key
        for key in _inherited_names(own, "default", context.defaults)
        if not is_trigger or key == "interruptible"
    ]
    entries = Entries({**{key: context.defaults[key] for key in inherited}, **own})
    names = _inherited_names(own, "variables", context.variables.values)
    variables = Variables(
        values={k: context.variables.values[k] for k in names}, raw=context.variables.raw & {*names}
    )
    if "variables" in own:
        own_variables = keywords.read_variables(own["variables"], keywords.JOB_VARIABLE)
        variables = variables.under(own_variables)
    for job in parallel_jobs(name, entries.get("parallel")):
        with_matrix = variables.under(Variables(values=job.variables))
        inputs = _Inputs(spot, entries, with_matrix, is_selected=True)
        yield _draft(name, job, inputs, context)


def _own_entries(name: str, spot: Location) -> Entries:
    """The entry's keys without nulls, checked as far as the entry alone tells."""
    if not name.strip():
        raise spot.error("a job's name can't be blank")
    if len(name) > _LONGEST_NAME:
        raise spot.error(f"a job's name may have {_LONGEST_NAME} characters, not {len(name)}")
    every = spot.entries()
    kinds = [key for key in ("script", "run", "trigger") if key in every]
    if len(kinds) > 1:
        raise every[kinds[1]].error(f"cannot stand beside {kinds[0]}")
    if not kinds and not _is_trigger(every):
        raise spot.missing("script is missing: a job has script:, run: or trigger:")
    own = spot.entries(_TRIGGER_KEYS if _is_trigger(every) else _JOB_KEYS)
    if "run" in own:
        raise own["run"].error("CI steps are not supported here; use script")
    own = own.present
    check_unsupported(name, own)
    return own


def _is_trigger(own: Mapping[str, Location]) -> bool:
    """Whether the job starts or mirrors another pipeline instead of running a script."""
    if "script" in own or "run" in own:
        return False
    if "trigger" in own:
        return True
    needs = own.get("needs")
    if needs is None or not (needs.is_map or needs.is_list):
        return False
    items = (needs,) if needs.is_map else needs.items()
    return any(i.is_map and "pipeline" in i.entries() and "job" not in i.entries() for i in items)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The values that a job is made of, before or after its rules are applied."""

    spot: Location
    entries: Entries
    variables: Variables
    is_selected: bool


def _draft(name: str, job: ParallelJob, inputs: _Inputs, context: FileContext) -> Draft:
    applied = _apply_rules(inputs, context)
    body = applied.entries.present
    is_trigger = _is_trigger(inputs.entries)
    needs = body.read("needs", lambda spot: keywords.read_needs(spot, of_trigger=is_trigger), None)
    return Draft(
        entry=name,
        spot=inputs.spot,
        spec=_spec(job, applied, context),
        is_selected=applied.is_selected,
        is_trigger=is_trigger,
        entries=body,
        needs=needs,
        rule_needs=_rule_needs(inputs),
    )


def _rule_needs(inputs: _Inputs) -> tuple[Needs, ...]:
    rules = [rule.entries() for rule in inputs.entries.present.read("rules", Location.items, ())]
    return tuple(
        keywords.read_needs(entries["needs"], of_rule=True)
        for entries in rules
        if "needs" in entries
    )


def _inherited_names(own: Entries, kind: str, names: Collection[str]) -> list[str]:
    """Those of `names` that `inherit:` admits; all without it. `kind`: default | variables."""
    entries = own.read("inherit", lambda spot: spot.entries(("default", "variables")), Entries())
    if kind not in entries:
        return list(names)
    if entries[kind].is_list:
        admitted = (
            entries[kind].list_of(DEFAULT_KEYS) if kind == "default" else entries[kind].texts()
        )
        return [name for name in names if name in admitted]
    return list(names) if entries[kind].flag() else []


def _apply_rules(inputs: _Inputs, context: FileContext) -> _Inputs:
    """The job with the first rule that holds applied, or with `only` and `except` asked."""
    entries = inputs.entries.present
    facts = context.facts
    facts = replace(facts, variables={**inputs.variables.values, **facts.variables})
    if "rules" not in entries:
        is_selected = selected_by_refs(
            entries.get("only"),
            entries.get("except"),
            facts,
            by_default=not context.has_workflow_rules,
        )
        return replace(inputs, is_selected=is_selected)
    _check_rules(entries)
    rule = matching_rule(entries["rules"], facts, JOB_RULE_KEYS, whens=JOB_RULE_WHEN)
    if rule is None:
        return replace(inputs, is_selected=False)
    overrides = {
        key: Location(node, f"{inputs.spot.path}:rules:{key}")
        for key, node in rule.items()
        if node.value is not None
    }
    variables = inputs.variables
    if "variables" in overrides:
        variables = variables.under(keywords.read_variables(overrides.pop("variables")))
    is_selected = "when" not in overrides or overrides["when"].node.value != "never"
    if not is_selected:
        del overrides["when"]
    return _Inputs(inputs.spot, Entries({**entries, **overrides}), variables, is_selected)


def _check_rules(entries: Entries) -> None:
    for key in _NOT_BESIDE_RULES:
        if key in entries:
            raise entries[key].error("cannot stand beside rules")
    for rule in entries["rules"].items():
        if rule.is_map and "variables" in (rule_entries := rule.entries()):
            keywords.read_variables(rule_entries["variables"])


def _spec(job: ParallelJob, inputs: _Inputs, context: FileContext) -> JobSpec:
    body = inputs.entries.present
    known = {**inputs.variables.values, **context.facts.variables}
    is_trigger = _is_trigger(inputs.entries)
    if not is_trigger and not any(body.read("script", Location.lines, ())):
        raise inputs.spot.error("script is missing")
    when, start_in_s = _when(body, _TRIGGER_WHEN if is_trigger else _WHEN)
    manual_is_optional = when == "manual" and "rules" not in body
    allowed, codes = body.read(
        "allow_failure", keywords.read_allow_failure, (manual_is_optional, ())
    )
    body.read("coverage", keywords.check_coverage, None)
    return JobSpec(
        name=job.name,
        stage=body.read("stage", Location.text, "test"),
        script=(
            *body.read("before_script", Location.lines, ()),
            *body.read("script", Location.lines, ()),
        ),
        after_script=body.read("after_script", Location.lines, ()),
        before_sources=body.read("hooks", _before_sources, ()),
        tags=tuple(expand(tag, known) for tag in body.read("tags", keywords.read_tags, ())),
        image=body.read("image", keywords.read_image, None),
        services=body.read("services", keywords.read_services, ()),
        variables=inputs.variables.values,
        raw_variables=inputs.variables.raw,
        artifacts=_artifacts(inputs, body),
        cache=body.read("cache", lambda spot: read_caches(spot, context.files, known), ()),
        dependencies=body.read("dependencies", Location.texts, None),
        when=when,
        start_in_s=start_in_s,
        allow_failure=allowed,
        allow_failure_exit_codes=codes,
        retry=body.read("retry", keywords.read_retry, RetrySpec()),
        timeout_s=body.read("timeout", lambda s: s.duration_up_to_s(_LONGEST_TIMEOUT), None),
        resource_group=_expand_if_any(body.read("resource_group", Location.text, None), known),
        interruptible=body.read("interruptible", Location.flag, False),
        environment=body.read(
            "environment", lambda spot: keywords.read_environment(spot, known), None
        ),
        id_in_parallel=job.id_in_parallel,
    )


def _before_sources(spot: Location) -> tuple[str, ...]:
    entries = spot.entries(("pre_get_sources_script",))
    return entries["pre_get_sources_script"].lines() if entries else ()


def _artifacts(inputs: _Inputs, body: Entries) -> tuple[ArtifactSpec, ...]:
    """The job's artifacts, and the folder that GitLab Pages would publish."""
    artifacts = body.read("artifacts", read_artifacts, ())
    path = pages_path(inputs.spot.path.removeprefix("jobs:"), body)
    if path is None:
        return artifacts
    (own,) = artifacts or (ArtifactSpec(),)
    return (own if path in own.paths else replace(own, paths=(*own.paths, path)),)


def _expand_if_any(text: str | None, known: Mapping[str, str]) -> str | None:
    return None if text is None else expand(text, known)


def _when(body: Entries, whens: Collection[str]) -> tuple[str, int | None]:
    when = body.read("when", lambda spot: spot.one_of(whens), "on_success")
    check_start_in(body, when)
    return when, body.read("start_in", lambda s: s.duration_up_to_s(LONGEST_DELAY), None)
