"""The variables of one job: GitLab's, the runner's own, and what they expand to."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from local.stand_in.config import ARCHITECTURE, REVISION, VERSION, RunnerOptions
from local.stand_in.job import Job, Variable

_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)\}|([A-Za-z_]\w*|[*#@!?0-9-]))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of one job."""

    builds: str
    project: str  # where the sources are
    temporary: str  # beside it, for files that are not sources
    cache: str


class Variables:
    """Variables by name; the later of two with one name counts."""

    def __init__(self, variables: Iterable[Variable], places: Places) -> None:
        self.places = places
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

    def value(self, key: str) -> str:
        """The value, or ""; a file variable's content."""
        variable = self._all.get(key)
        return variable.value if variable else ""

    def exported(self, variable: Variable) -> str:
        """What the shell sees: a file variable's path."""
        return f"{self.places.temporary}/{variable.key}" if variable.file else variable.value

    def expand(self, text: str) -> str:
        """`text` with `$name` and `${name}` replaced, once; unknown names by ""."""

        def value(match: re.Match[str]) -> str:
            variable = self._all.get(match[2] or match[3] or "")
            return match[1] or (self.exported(variable) if variable else "")

        return _REFERENCE.sub(value, text)


def find_places(job: Job, runner: RunnerOptions) -> Places:
    """The job's folders: one per runner and project, as the real runner names it."""
    path = urlsplit(job.git_info.clean_url).path.removesuffix(".git").strip("/")
    builds = os.path.abspath(runner.builds_dir)
    project = os.path.join(builds, runner.short_token, "0", path)
    return Places(
        builds=builds,
        project=project,
        temporary=f"{project}.tmp",
        cache=os.path.join(os.path.abspath(runner.cache_dir), path),
    )


def job_variables(job: Job, runner: RunnerOptions, places: Places, timeout_s: int) -> Variables:
    """All variables of a job: the runner's own, then GitLab's over them, then facts."""
    own = {
        "CI_BUILDS_DIR": places.builds,
        "CI_PROJECT_DIR": places.project,
        "CI_CONCURRENT_ID": "0",
        "CI_CONCURRENT_PROJECT_ID": "0",
        "CI_SERVER": "yes",
        "CI_JOB_STATUS": "running",
        "CI_JOB_TIMEOUT": str(timeout_s),
    }
    facts = {
        "CI_SHARED_ENVIRONMENT": "true",
        "CI_RUNNER_SHORT_TOKEN": runner.short_token,
        "CI_RUNNER_VERSION": VERSION,
        "CI_RUNNER_REVISION": REVISION,
        "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{ARCHITECTURE}",
        "RUNNER_TEMP_PROJECT_DIR": places.temporary,
    }
    image = [Variable(key="CI_JOB_IMAGE", value=job.image.name)] if job.image.name else []
    configured = dict(line.split("=", 1) for line in runner.environment if "=" in line)
    return Variables(
        [
            *(Variable(key=key, value=value) for key, value in {**configured, **own}.items()),
            *job.variables,
            *image,
            *(Variable(key=key, value=value, raw=True) for key, value in facts.items()),
        ],
        places,
    )
