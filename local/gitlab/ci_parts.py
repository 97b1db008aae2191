"""The parts of a job that have a shape of their own: images, variables, needs, ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from local.gitlab.ci_parallel import instances_of
from local.gitlab.ci_types import EnvironmentSpec, ImageSpec, NeedSpec, RetrySpec
from local.gitlab.ci_values import Spot, expand

_PULL_POLICIES = ("always", "if-not-present", "never")
_IMAGE_KEYS = ("name", "entrypoint", "pull_policy")
_SERVICE_KEYS = (*_IMAGE_KEYS, "alias", "command", "variables")
_ENVIRONMENT_KEYS = ("name", "url", "action", "on_stop", "auto_stop_in", "deployment_tier")
_ACTIONS = ("start", "stop", "prepare", "verify", "access")
_RETRY_WHEN = (  # GitLab docs, "retry:when"
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "runner_interrupted",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Variables of one level, and which of them are not to be expanded."""

    values: Mapping[str, str] = field(default_factory=dict)
    raw: frozenset[str] = frozenset()

    def under(self, over: Variables) -> Variables:
        """Both; where both have a name, `over` wins."""
        raw = over.raw.union(name for name in self.raw if name not in over.values)
        return Variables(values={**self.values, **over.values}, raw=raw)


def read_variables(spot: Spot) -> Variables:
    """`variables:` of the file, a job, a service or a rule."""
    values: dict[str, str] = {}
    raw: set[str] = set()
    for name, entry in spot.entries().items():
        if not entry.is_map:
            values[name] = entry.plain()
            continue
        said = entry.entries(("value", "description", "expand", "options"))
        values[name] = said["value"].plain() if "value" in said else ""
        if "expand" in said and not said["expand"].flag():
            raw.add(name)
    return Variables(values=values, raw=frozenset(raw))


def read_image(spot: Spot) -> ImageSpec:
    """`image:` as a name or a map."""
    return _image(spot, _IMAGE_KEYS)


def read_services(spot: Spot) -> tuple[ImageSpec, ...]:
    """`services:`, each a name or a map."""
    return tuple(_image(item, _SERVICE_KEYS) for item in spot.items())


def _image(spot: Spot, allowed: tuple[str, ...]) -> ImageSpec:
    if not spot.is_map:
        return ImageSpec(name=spot.text())
    said = spot.entries(allowed)
    if "name" not in said:
        raise spot.error("name is missing")
    policies = said["pull_policy"].text_or_texts() if "pull_policy" in said else ()
    if not set(policies) <= set(_PULL_POLICIES):
        raise said["pull_policy"].error(f"must be among {', '.join(_PULL_POLICIES)}")
    return ImageSpec(
        name=said["name"].text(),
        alias=said["alias"].text() if "alias" in said else None,
        entrypoint=_arguments(said, "entrypoint"),
        command=_arguments(said, "command"),
        variables=read_variables(said["variables"]).values if "variables" in said else {},
        pull_policy=policies,
    )


def _arguments(said: Mapping[str, Spot], key: str) -> tuple[str, ...]:
    """Words of a command line; unlike elsewhere an empty one means something."""
    if key not in said:
        return ()
    return tuple(item.plain() for item in said[key].items())


def read_retry(spot: Spot) -> RetrySpec:
    """`retry:` as a number or a map."""
    if not spot.is_map:
        return RetrySpec(max=spot.whole(0, 2))
    said = spot.entries(("max", "when"))
    when = said["when"].text_or_texts() if "when" in said else ("always",)
    for word in when:
        if word not in _RETRY_WHEN:
            raise said["when"].error(f"{word!r} is not among {', '.join(_RETRY_WHEN)}")
    return RetrySpec(max=said["max"].whole(0, 2) if "max" in said else 0, when=when)


def read_needs(spot: Spot) -> tuple[NeedSpec, ...]:
    """`needs:` with the names as written; `parallel: matrix` picks expanded ones."""
    return tuple(need for item in spot.items() for need in _needs_of(item))


def _needs_of(spot: Spot) -> tuple[NeedSpec, ...]:
    if not spot.is_map:
        return (NeedSpec(job=spot.text()),)
    said = spot.entries(("job", "artifacts", "optional", "parallel"))
    if "job" not in said:
        raise spot.error("job is missing")
    artifacts = "artifacts" not in said or said["artifacts"].flag()
    optional = "optional" in said and said["optional"].flag()
    picked = instances_of(said["job"].text(), said.get("parallel"))
    return tuple(NeedSpec(job=i.name, artifacts=artifacts, optional=optional) for i in picked)


def read_allow_failure(spot: Spot) -> tuple[bool, tuple[int, ...]]:
    """`allow_failure:` as a flag, or as the exit codes that are allowed."""
    if not spot.is_map:
        return spot.flag(), ()
    said = spot.entries(("exit_codes",))
    if "exit_codes" not in said:
        raise spot.error("exit_codes is missing")
    codes = said["exit_codes"]
    return False, tuple(
        code.whole(0, 255) for code in (codes.items() if codes.is_list else [codes])
    )


def read_environment(spot: Spot, known: Mapping[str, str]) -> EnvironmentSpec:
    """`environment:` as a name or a map; `known` variables are put into the name."""
    if not spot.is_map:
        return EnvironmentSpec(name=expand(spot.text(), known))
    said = spot.entries(_ENVIRONMENT_KEYS)
    if "name" not in said:
        raise spot.error("name is missing")
    return EnvironmentSpec(
        name=expand(said["name"].text(), known),
        url=said["url"].text() if "url" in said else None,
        action=said["action"].one_of(_ACTIONS) if "action" in said else "start",
        tier=said["deployment_tier"].text() if "deployment_tier" in said else None,
        on_stop=said["on_stop"].text() if "on_stop" in said else None,
        auto_stop_in=said["auto_stop_in"].plain() if "auto_stop_in" in said else None,
    )
