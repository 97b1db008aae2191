"""Files of other programs given as `fleet.toml`: a sentence on what the file is and what to do."""

import json
import re
from collections.abc import Mapping
from typing import Any

from fleet.config.secret_words import looks_secret
from fleet.config.values import did_you_mean

OURS = ("gitlab", "pools")
_START = "a fleet.toml has [gitlab] and a table [pools.<name>] for each kind of machine"
_SEE = f"{_START}: see docs/configuration.md"
# Other programs' files, by the name and by tables that only they have.
_RUNNER_KEYS = {"concurrent", "check_interval", "session_server", "shutdown_timeout"}
_PROGRAMS = {
    "a pyproject.toml": {"build-system", "tool"},
    "a Cargo.toml": {"package", "workspace"},
}
_HCL = re.compile(r"(?m)^\s*(?:variable|resource|provider|module|terraform|locals)\b[^=\n]*\{\s*$")
_YAML = re.compile(r"(?m)^(?:---\s*$|- |[\w.-]+:(?:\s|$))")
_HELM = re.compile(r"(?m)^(?:gitlabUrl|runnerToken|runnerRegistrationToken):")
_PIPELINE = re.compile(r"(?m)^(?:stages|script|include|workflow|default|image|[.\w-]+):\s*(?:$|\S)")
_JOB = re.compile(r"(?m)^\s+(?:-\s*)?(?:script|stage|extends|trigger|rules):|^(?:stages|include):")
_ASSIGNED = re.compile(r"(?m)^\s*(?:export\s+)?[A-Z][A-Z0-9_]*=[^\s\"'\[{]")


def foreign_tables(name: str, tables: Mapping[str, Any]) -> str | None:
    """A sentence on a TOML file that is no `fleet.toml`; None when it may be meant as one."""
    if not tables:
        return f"there is nothing in it; {_SEE}"
    if any(ours in tables for ours in OURS):
        return None
    if looks_like_runner_config(tables):
        return _of_gitlab_runner(tables.get("runners"))
    for program, marks in _PROGRAMS.items():
        if marks & tables.keys():
            return f"this is {program}, not a fleet.toml; {_SEE}"
    if re.search(r"\.tf(vars)?$", name):
        return f"these are variables of Terraform, not a fleet.toml; {_SEE}"
    if any(did_you_mean(key, OURS) for key in tables):
        return None
    keys = ", ".join(f'"{key[:30]}"' for key in list(tables)[:3])
    return f"this is not a fleet.toml: it has {keys}, and neither [gitlab] nor [pools]; {_SEE}"


def looks_like_runner_config(tables: Mapping[str, Any]) -> bool:
    """Whether a TOML file is a config.toml of gitlab-runner."""
    return isinstance(tables.get("runners"), list) or bool(_RUNNER_KEYS & tables.keys())


def foreign_text(name: str, text: str) -> str | None:
    """A sentence on a text that is no TOML at all; None when it looks like TOML with a mistake."""
    if re.search(r"(?m)^\s*\[\[?\s*(?:gitlab|pools)\b", text):
        return None
    if _is_json(text):
        return f"this is JSON, not TOML; {_SEE}"
    if re.search(r"\.tf(vars)?$", name) or _HCL.search(text):
        return f"this is Terraform, not TOML; {_SEE}"
    if _YAML.search(text) and not re.search(r"(?m)^\[[^\]\n]*\]\s*$", text):
        if _HELM.search(text):  # it holds a config.toml, whose tables are indented
            return f"these are values of gitlab-runner's Helm chart, not TOML; {_SEE}"
        if ".gitlab-ci" in name or (_PIPELINE.search(text) and _JOB.search(text)):
            sentence = "this is a pipeline (.gitlab-ci.yml), not the fleet's configuration"
            return f"{sentence}: its jobs name a pool's tags; {_START}"
        return f"this is YAML, not TOML; {_SEE}"
    if _ASSIGNED.search(text) and "[" not in text:
        return f"these are variables of a shell, not TOML; {_SEE}"
    return None


def _of_gitlab_runner(runners: object) -> str:
    """A sentence on gitlab-runner's own file and the keys that replace it; without its tokens."""
    listed = runners if isinstance(runners, list) else []
    tables = [table for table in listed if isinstance(table, dict)]
    urls = {table["url"] for table in tables if isinstance(table.get("url"), str)}
    url = next((url for url in sorted(urls) if len(url) < 80 and not looks_secret(url)), None)
    gitlab = f'[gitlab] with url = "{url.rstrip("/")}"' if url else "[gitlab] with url"
    hints = [f"write {gitlab} and runners_in, and a table [pools.<name>] for each [[runners]]"]
    if any("autoscaler" in table for table in tables):
        hints.append("[runners.autoscaler] max_instances is ceiling, idle_count is idle.count")
    elif any("machine" in table for table in tables):
        hints.append("[runners.machine] IdleCount is idle.count, limit is ceiling")
    hints.append("tokens stay out: the fleet makes its runners itself")
    hints.append("`runner-fleet import-config` proposes all of it")
    sentence = "this is the config.toml of gitlab-runner, which the fleet writes for each machine"
    return f"{sentence}; {'; '.join(hints)}; see docs/configuration.md"


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
