"""The variables of one job: GitLab's, the runner's own, and what they expand to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from local.stand_in.job import Job, Variable
from local.stand_in.options import REVISION, VERSION, RunnerOptions
from local.stand_in.protocol import ARCHITECTURE

_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)\}|([A-Za-z_]\w*|[*#@!?0-9-]))")
_GO_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The folders of one job."""

    builds: str
    project: str  # where the sources are
    temporary: str  # beside it, for files that are not sources
    cache: str


class Variables:
    """Variables by name; of two with one name the later counts."""

    def __init__(self, variables: Iterable[Variable], *, folder_of_files: str) -> None:
        self._folder = folder_of_files
        self._written = {variable.key: variable for variable in variables}
        self._all = {
            key: variable if variable.raw else replace(variable, value=self._expanded(key, ()))
            for key, variable in self._written.items()
        }

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._all.values())

    def set(self, key: str, value: str) -> None:
        """Give a variable a value that is not expanded."""
        self._all[key] = Variable(key=key, value=value, raw=True)

    def value(self, key: str) -> str:
        """The value, or nothing; of a file variable its content."""
        found = self._all.get(key)
        return found.value if found else ""

    def path(self, variable: Variable) -> str:
        """Where the content of a file variable is written."""
        return f"{self._folder}/{variable.key}"

    def exported(self, variable: Variable) -> str:
        """What the shell sees: of a file variable the path."""
        return self.path(variable) if variable.file else variable.value

    def expand(self, text: str) -> str:
        """`text` with `$name` and `${name}` replaced; unknown names by nothing."""
        return _REFERENCE.sub(lambda m: m[1] or self._of(m[2] or m[3] or ""), text)

    def flag(self, key: str, *, absent: bool) -> bool:
        """A truth value in any of the usual spellings."""
        text = self.value(key).lower()
        return absent if not text else text in {"1", "t", "true"}

    def whole(self, key: str, absent: int) -> int:
        """A whole number; anything else counts as absent."""
        text = self.value(key)
        return int(text) if text.isdigit() else absent

    def seconds(self, key: str, absent: float | None) -> float | None:
        """A duration such as `1h30m` or `90s`; anything else counts as absent."""
        parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", self.value(key))
        return sum(float(n) * _GO_UNIT_S[unit] for n, unit in parts) if parts else absent

    def _of(self, key: str) -> str:
        found = self._all.get(key)
        return self.exported(found) if found else ""

    def _expanded(self, key: str, trail: tuple[str, ...]) -> str:
        """The value with what it refers to, and so on; a circle ends in nothing."""

        def referred(found: re.Match[str]) -> str:
            name = found[2] or found[3] or ""
            variable = self._written.get(name)
            if found[1] or variable is None:
                return found[1] or ""
            if variable.file:
                return self.path(variable)
            if variable.raw or name == key or name in trail:
                return variable.value if variable.raw else ""
            return self._expanded(name, (*trail, key))

        return _REFERENCE.sub(referred, self._written[key].value)


def job_variables(job: Job, runner: RunnerOptions, places: Places) -> Variables:
    """All variables of a job, the runner's own first, GitLab's over them."""
    mine = {
        "CI_BUILDS_DIR": places.builds,
        "CI_PROJECT_DIR": places.project,
        "CI_CONCURRENT_ID": "0",
        "CI_CONCURRENT_PROJECT_ID": "0",
        "CI_SERVER": "yes",
        "CI_JOB_STATUS": "running",
        "CI_JOB_TIMEOUT": str(job.timeout_s),
    }
    after = {
        "CI_SHARED_ENVIRONMENT": "true",
        "CI_RUNNER_SHORT_TOKEN": runner.short_token,
        "CI_RUNNER_VERSION": VERSION,
        "CI_RUNNER_REVISION": REVISION,
        "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{ARCHITECTURE}",
        "RUNNER_TEMP_PROJECT_DIR": places.temporary,
    }
    configured = [line.partition("=") for line in runner.environment]
    return Variables(
        [
            *(Variable(key=key, value=value) for key, equals, value in configured if equals),
            *(Variable(key=key, value=value) for key, value in mine.items()),
            *job.variables,
            *(Variable(key=key, value=value, raw=True) for key, value in after.items()),
        ],
        folder_of_files=places.temporary,
    )
