"""The folders and variables of one job: GitLab's, the runner's own, and what they expand to."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from local.stand_in.config import ARCHITECTURE, REVISION, VERSION, RunnerOptions
from local.stand_in.gitlab import Job, clean_url

_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)\}|([A-Za-z_]\w*|[*#@!?0-9-]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of the job, with what GitLab says of it."""

    key: str
    value: str
    file: bool = False
    masked: bool = False
    raw: bool = False
    public: bool = False


class Variables:
    """All variables of a job by name, and its folders; the later of two with one name counts.

    The runner's own come first, then GitLab's, then facts.
    """

    def __init__(self, job: Job, runner: RunnerOptions, timeout_s: int) -> None:
        path = urlsplit(clean_url(job)).path.removesuffix(".git").strip("/")
        builds = os.path.abspath(runner.builds_dir)
        self.project = os.path.join(builds, runner.short_token, "0", path)  # has the sources
        self.temporary = f"{self.project}.tmp"  # for files that are not sources
        self.cache = os.path.join(os.path.abspath(runner.cache_dir), path)
        own = {
            **dict(line.split("=", 1) for line in runner.environment if "=" in line),
            "CI_BUILDS_DIR": builds,
            "CI_PROJECT_DIR": self.project,
            "CI_CONCURRENT_ID": "0",
            "CI_CONCURRENT_PROJECT_ID": "0",
            "CI_SERVER": "yes",
            "CI_JOB_STATUS": "running",
            "CI_JOB_TIMEOUT": str(timeout_s),
        }
        image = {"CI_JOB_IMAGE": job["image"]["name"]} if "image" in job else {}
        facts = {
            "CI_SHARED_ENVIRONMENT": "true",
            "CI_RUNNER_SHORT_TOKEN": runner.short_token,
            "CI_RUNNER_VERSION": VERSION,
            "CI_RUNNER_REVISION": REVISION,
            "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{ARCHITECTURE}",
            "RUNNER_TEMP_PROJECT_DIR": self.temporary,
        }
        variables = [
            *(Variable(key=key, value=value) for key, value in own.items()),
            *(Variable(**variable) for variable in job["variables"]),
            *(Variable(key=key, value=value) for key, value in image.items()),
            *(Variable(key=key, value=value, raw=True) for key, value in facts.items()),
        ]
        self._all = {variable.key: variable for variable in variables}
        # Each refers to the others as they were written: GitLab has expanded what it may expand.
        self._all = {
            key: variable if variable.raw else replace(variable, value=self.expand(variable.value))
            for key, variable in self._all.items()
        }

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._all.values())

    def set(self, key: str, value: str) -> None:
        """Give a variable a value that is not expanded."""
        self._all[key] = Variable(key=key, value=value, raw=True)

    def exported(self, variable: Variable) -> str:
        """What the shell sees: a file variable's path."""
        return f"{self.temporary}/{variable.key}" if variable.file else variable.value

    def expand(self, text: str) -> str:
        """`text` with `$name` and `${name}` replaced, once; unknown names by ""."""

        def value(match: re.Match[str]) -> str:
            variable = self._all.get(match[2] or match[3] or "")
            return match[1] or (self.exported(variable) if variable else "")

        return _REFERENCE.sub(value, text)
