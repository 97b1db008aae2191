"""The keywords of a job that are more than one text: images, variables, needs, ..."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from local.gitlab.ci.expression import ExpressionError, is_pattern, matches
from local.gitlab.ci.parallel import parallel_jobs
from local.gitlab.ci.types import EnvironmentSpec, ImageSpec, NeedSpec, RetrySpec
from local.gitlab.ci.values import Location, expand

_PULL_POLICIES = ("always", "if-not-present", "never")
_EXECUTORS: Mapping[str, Mapping[str, int]] = {  # keys and their longest values
    "docker": {"platform": 64, "user": 255},
    "kubernetes": {"user": 255},
}
_IMAGE_KEYS = ("name", "entrypoint", "pull_policy", *_EXECUTORS)
_SERVICE_KEYS = (*_IMAGE_KEYS, "alias", "command", "variables")
_ENVIRONMENT_KEYS = (
    "name",
    "url",
    "action",
    "on_stop",
    "auto_stop_in",
    "deployment_tier",
    "kubernetes",
)
_ACTIONS = ("start", "stop", "prepare", "verify", "access")
_TIERS = ("production", "staging", "testing", "development", "other")
_ENVIRONMENT_NAME = re.compile(r"[\w${}. -]([\w/${}. -]*[\w${}. -])?", re.ASCII)
_LONGEST_URL = 255
_MOST_TAGS = 49
_MOST_ELSEWHERE = 5  # needs:pipeline
_RETRY_WHEN = (  # GitLab's `Enums::Ci::CommitStatus.failure_reasons` and docs, "retry:when"
    *("always", "unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure"),
    *("runner_system_failure", "missing_dependency_failure", "runner_unsupported"),
    *("runner_interrupted", "stale_schedule", "job_execution_timeout", "archived_failure"),
    *("unmet_prerequisites", "scheduler_failure", "data_integrity_failure"),
    *("forward_deployment_failure", "user_blocked", "project_deleted", "ci_quota_exceeded"),
    *("pipeline_loop_detected", "no_matching_runner", "trace_size_exceeded", "builds_disabled"),
    *("environment_creation_failure", "deployment_rejected", "failed_outdated_deployment_job"),
    *("job_execution_server_timeout", "protected_environment_failure"),
    *("insufficient_bridge_permissions", "downstream_bridge_project_not_found"),
    *("invalid_bridge_trigger", "upstream_bridge_project_not_found"),
    *("insufficient_upstream_permissions", "bridge_pipeline_is_child_pipeline"),
    *("downstream_pipeline_creation_failed", "secrets_provider_not_found"),
    *("reached_max_descendant_pipelines_depth", "ip_restriction_failure"),
    *("reached_max_pipeline_hierarchy_size", "reached_downstream_pipeline_trigger_rate_limit"),
    *("duo_workflow_not_allowed", "job_router_failure", "job_token_expired"),
    *("image_pull_failure", "runner_configuration_error", "runner_external_dependency_failure"),
    *("stuck_pending_no_matching_runners", "stuck_pending_with_matching_runners"),
    *("no_updates_running", "no_updates_canceling", "server_timeout_running"),
    "server_timeout_canceling",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The variables of one level; those in `raw` are not expanded."""

    values: Mapping[str, str] = field(default_factory=dict)
    raw: frozenset[str] = frozenset()

    def under(self, over: "Variables") -> "Variables":
        """Both levels; a variable of `over` wins."""
        raw = over.raw.union(name for name in self.raw if name not in over.values)
        return Variables(values={**self.values, **over.values}, raw=raw)


GLOBAL_VARIABLE = ("value", "description", "expand", "options")
JOB_VARIABLE = ("value", "expand")


def read_variables(spot: Location, allowed: Collection[str] = ()) -> Variables:
    """`variables:` of the file, a job, a service or a rule.

    `allowed` are the keys of a variable that is a map; without them a map is an error.
    """
    values: dict[str, str] = {}
    raw: set[str] = set()
    for name, variable in spot.entries().items():
        if variable.is_null and allowed:
            values[name] = ""
            continue
        if not variable.is_map or not allowed:
            values[name] = variable.scalar_text()
            continue
        entries = variable.entries(allowed)
        value = entries.get("value")
        values[name] = value.scalar_text() if value and not value.is_null else ""
        if "options" in entries:
            options = entries["options"].texts()
            if options and (value is None or value.node.value not in options):
                raise (value or variable).error(f"must be among its options {', '.join(options)}")
        if "description" in entries:
            entries["description"].scalar_text()
        if "expand" in entries and not entries["expand"].flag():
            raw.add(name)
    return Variables(values=values, raw=frozenset(raw))


def read_image(spot: Location) -> ImageSpec:
    """`image:`, a name or a map."""
    return _image(spot, _IMAGE_KEYS)


def read_services(spot: Location) -> tuple[ImageSpec, ...]:
    """`services:`, each a name or a map."""
    return tuple(_image(item, _SERVICE_KEYS) for item in _present_items(spot))


def _present_items(spot: Location) -> tuple[Location, ...]:
    """The list's items without nulls, which GitLab skips in `needs` and `services`."""
    return tuple(item for item in spot.items() if not item.is_null)


def _image(spot: Location, allowed: tuple[str, ...]) -> ImageSpec:
    if not spot.is_map:
        return ImageSpec(name=spot.text())
    entries = spot.entries(allowed)
    if "name" not in entries:
        raise spot.error("name is missing")
    policies = entries.read("pull_policy", lambda spot: spot.list_of(_PULL_POLICIES), ())
    return ImageSpec(
        name=entries["name"].text(),
        alias=entries.read("alias", Location.text, None),
        entrypoint=_command_line(entries, "entrypoint"),
        command=entries.read("command", Location.lines, ()),
        variables=read_variables(entries["variables"]).values if "variables" in entries else {},
        pull_policy=policies,
        executor_options={
            name: _executor_options(entries[name], keys)
            for name, keys in _EXECUTORS.items()
            if name in entries
        },
    )


def _executor_options(spot: Location, keys: Mapping[str, int]) -> dict[str, str]:
    options = {key: entry.scalar_text() for key, entry in spot.entries(keys).items()}
    for key, value in options.items():
        if not 1 <= len(value) <= keys[key]:
            raise spot.entries()[key].error(f"must have from 1 to {keys[key]} characters")
    return options


def _command_line(entries: Mapping[str, Location], key: str) -> tuple[str, ...]:
    """The words of a command line, which may be empty."""
    if key not in entries:
        return ()
    return tuple(item.line() for item in entries[key].items())


def read_tags(spot: Location) -> tuple[str, ...]:
    """`tags:`, 49 at most."""
    tags = spot.texts()
    if len(tags) > _MOST_TAGS:
        raise spot.error(f"must be fewer than {_MOST_TAGS + 1} tags, not {len(tags)}")
    return tags


def check_coverage(spot: Location) -> None:
    """Raises `CiError` when `coverage:` is no /pattern/."""
    text = spot.text()
    if not is_pattern(text):
        raise spot.error(f"must be a pattern between slashes, such as '/{text.strip('/')}/'")
    try:
        matches(text, "")
    except ExpressionError as exc:
        raise spot.error(str(exc)) from exc


def read_retry(spot: Location) -> RetrySpec:
    """`retry:`, a number or a map."""
    if not spot.is_map:
        return RetrySpec(max=spot.whole_number(0, 2))
    entries = spot.entries(("max", "when", "exit_codes"))
    codes = entries.read("exit_codes", _exit_codes, ())
    by_default = () if codes else ("always",)
    return RetrySpec(
        max=entries.read("max", lambda spot: spot.whole_number(0, 2), 0),
        when=entries.read("when", lambda spot: spot.list_of(_RETRY_WHEN), by_default),
        exit_codes=codes,
    )


def _exit_codes(spot: Location) -> tuple[int, ...]:
    items = spot.items() if spot.is_list else (spot,)
    return tuple(code.whole_number(-(2**31), 2**31 - 1) for code in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """`needs:` with job names as written, each with its location."""

    jobs: tuple[tuple[NeedSpec, Location], ...] = ()
    elsewhere: tuple[Location, ...] = ()  # jobs of other pipelines and projects


def read_needs(spot: Location, *, of_rule: bool = False, of_trigger: bool = False) -> Needs:
    """`needs:`, a list or one map; `parallel: matrix` selects jobs of a matrix."""
    jobs: list[tuple[NeedSpec, Location]] = []
    elsewhere: list[Location] = []
    for item in (spot,) if spot.is_map else _present_items(spot):
        if item.is_map and {"pipeline", "project"} & item.entries().keys():
            if of_rule:
                raise item.error("a rule's needs are jobs of this pipeline")
            _check_elsewhere(item, of_trigger=of_trigger)
            elsewhere.append(item)
        else:
            jobs += [(need, item) for need in _needs_of_item(item)]
    if sum("pipeline" in item.entries() for item in elsewhere) > _MOST_ELSEWHERE:
        raise spot.error(f"may name {_MOST_ELSEWHERE} jobs of other pipelines at most")
    return Needs(jobs=tuple(jobs), elsewhere=tuple(elsewhere))


def _check_elsewhere(spot: Location, *, of_trigger: bool) -> None:
    if "project" in spot.entries():
        entries = spot.entries(("project", "job", "ref", "artifacts"))
        missing = {"job", "ref"} - entries.keys()
    else:
        entries = spot.entries(("pipeline", "job", "artifacts"))
        missing = set() if of_trigger else {"job"} - entries.keys()
    if missing:
        raise spot.error(f"{sorted(missing)[0]} is missing")
    for key in entries.keys() - {"artifacts"}:
        entries[key].text()
    if "artifacts" in entries:
        entries["artifacts"].flag()


def _needs_of_item(spot: Location) -> tuple[NeedSpec, ...]:
    if not spot.is_map:
        return (NeedSpec(job=spot.text()),)
    entries = spot.entries(("job", "artifacts", "optional", "parallel"))
    if "job" not in entries:
        raise spot.error("job is missing")
    if "parallel" in entries and not entries["parallel"].is_map:
        raise entries["parallel"].error("needs take `parallel: matrix`, not a number")
    artifacts = entries.read("artifacts", Location.flag, True)
    optional = entries.read("optional", Location.flag, False)
    jobs = parallel_jobs(entries["job"].text(), entries.get("parallel"))
    return tuple(NeedSpec(job=j.name, artifacts=artifacts, optional=optional) for j in jobs)


def read_allow_failure(spot: Location) -> tuple[bool, tuple[int, ...]]:
    """`allow_failure:`: whether any failure is allowed, and the exit codes that are."""
    if not spot.is_map:
        return spot.flag(), ()
    entries = spot.entries(("exit_codes",))
    if "exit_codes" not in entries:
        raise spot.error("exit_codes is missing")
    return False, _exit_codes(entries["exit_codes"])


def read_environment(spot: Location, known: Mapping[str, str]) -> EnvironmentSpec:
    """`environment:`, a name or a map; the name is expanded with the `known` variables."""
    if not spot.is_map:
        return EnvironmentSpec(name=_environment_name(spot, known))
    entries = spot.entries(_ENVIRONMENT_KEYS)
    if "name" not in entries:
        raise spot.error("name is missing")
    url = entries.read("url", Location.text, None)
    if url and len(url) > _LONGEST_URL:
        raise entries["url"].error(f"may have {_LONGEST_URL} characters at most")
    if "kubernetes" in entries and not entries["kubernetes"].is_map:
        raise entries["kubernetes"].error("must be a map")
    if "auto_stop_in" in entries:
        entries["auto_stop_in"].text()
    return EnvironmentSpec(
        name=_environment_name(entries["name"], known),
        url=url,
        action=entries.read("action", lambda spot: spot.one_of(_ACTIONS), "start"),
        tier=entries.read("deployment_tier", lambda spot: spot.one_of(_TIERS), None),
        on_stop=entries.read("on_stop", Location.text, None),
    )


def _environment_name(spot: Location, known: Mapping[str, str]) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(spot.text()):
        raise spot.error(
            "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
            "but it cannot start or end with '/'"
        )
    return expand(spot.text(), known)
