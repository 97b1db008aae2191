"""Runs one job from its sources to its artifacts, in the stages and words of the real runner.

Source: gitlab-runner 17.9, `common/build.go` and `shells/abstract.go`.
"""

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shlex import quote
from urllib.parse import urlsplit

from local.stand_in.artifacts import Artifacts
from local.stand_in.cache import Bucket, Caches
from local.stand_in.config import NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.gitlab import JobServer
from local.stand_in.job import Job, is_wanted
from local.stand_in.script import STRATEGIES, Sources, commands, exports, notice, shell_script
from local.stand_in.shell import BuildError, Over, Stops, run_shell
from local.stand_in.trace import Trace
from local.stand_in.variables import Places, Variables

_CLEAR, _CYAN, _YELLOW, _RESET = "\033[0K", "\033[36;1m", "\033[0;33m", "\033[0;m"
_STATUSES = {"job_canceled": "canceled", "job_execution_timeout": "timedout"}
# Variables that only the real runner follows. An empty GIT_STRATEGY is no strategy.
_NOT_FOLLOWED = re.compile(
    r"CI_DEBUG_TRACE|AFTER_SCRIPT_IGNORE_ERRORS|RUNNER_(AFTER_)?SCRIPT_TIMEOUT|FF_\w+"
    r"|(GET_SOURCES|RESTORE_CACHE|ARTIFACT_DOWNLOAD|EXECUTOR_JOB_SECTION)_ATTEMPTS"
    r"|GIT_(CHECKOUT|CLONE_PATH|FETCH_EXTRA_FLAGS|SUBMODULE_(DEPTH|PATHS|UPDATE_FLAGS))"
)


@dataclass(kw_only=True)
class Build:
    """One job on this machine. `stops` may end it at any time."""

    job: Job
    runner: RunnerOptions
    gitlab: JobServer
    places: Places
    variables: Variables
    trace: Trace
    stops: Stops

    def __post_init__(self) -> None:
        self._artifacts = Artifacts(self.gitlab, self.job, self.places.project, self._say)

    def run(self, system_id: str) -> BuildError | None:
        """How the job failed, or None when it did not."""
        try:
            self._prepare(system_id)
            failure = self._attempt(self._get_ready)
            if failure is None:
                failure = self._attempt(self._run_script)
                self._run_after_script(failure)
            succeeded = failure is None
            late = [
                self._attempt(lambda: self._save_caches(succeeded)),
                self._attempt(lambda: self._upload_artifacts(succeeded)),
            ]
            return failure or next((error for error in late if error), None)
        except Over as over:
            return over
        except OSError as exc:
            return BuildError(str(exc), reason="runner_system_failure")
        finally:
            title = "Cleaning up project directory and file based variables"
            with self._section("cleanup_file_variables", title):
                shutil.rmtree(self.places.temporary, ignore_errors=True)

    def _attempt(self, stage: Callable[[], None]) -> BuildError | None:
        """The failure of a stage, unless the job is over altogether: that is raised."""
        self.stops.check()
        try:
            stage()
        except Over:
            raise
        except BuildError as error:
            return error
        return None

    def _prepare(self, system_id: str) -> None:
        self.trace.write(f"{_CLEAR}Running with {NAME} {VERSION} ({REVISION}){_RESET}\n")
        on = f"{self.runner.name} {self.runner.short_token}, system ID: {system_id}"
        self.trace.write(f"{_CLEAR}  on {on}{_RESET}\n")
        with self._section("prepare_executor", 'Preparing the "shell" executor'):
            self.trace.write(f"{_CLEAR}Using Shell ({self.runner.shell}) executor...{_RESET}\n")
            if names := ", ".join(not_followed(self.variables)):
                self._say(f"{_YELLOW}WARNING: the stand-in runner does not follow {names}")
        with self._section("prepare_script", "Preparing environment"):
            os.makedirs(self.places.temporary, exist_ok=True)
            for variable in self.variables:
                if variable.file:
                    with open(self.variables.exported(variable), "w", encoding="utf-8") as file:
                        file.write(variable.value)
            self.trace.write(f"Running on {socket.gethostname()}...\n")

    def _get_ready(self) -> None:
        self._get_sources()
        if restored := [cache for cache in self.job.cache if cache.paths or cache.untracked]:
            with self._section("restore_cache", "Restoring cache"):
                for cache in restored:
                    self._caches().restore(cache)
        if downloads := [one for one in self.job.dependencies if one.artifacts_file.filename]:
            with self._section("download_artifacts", "Downloading artifacts"):
                for earlier in downloads:
                    self._artifacts.download(earlier)

    def _get_sources(self) -> None:
        sources = Sources(self.job, self.variables, self.places)
        before = () if sources.strategy == "none" else self.job.script("pre_get_sources_script")
        with self._section("get_sources", "Getting source from Git repository"):
            self._run_lines([*commands(before), *sources.lines()])

    def _run_script(self) -> None:
        script = filter(None, [self.runner.pre_build_script, *self.job.script("script")])
        with self._section("step_script", 'Executing "step_script" stage of the job script'):
            self._run_lines([self._enter(), *commands(script)], is_script=True)

    def _run_after_script(self, failure: BuildError | None) -> None:
        """Run what follows the script; its own failure changes nothing."""
        status = _STATUSES.get(failure.reason, "failed") if failure else "success"
        self.variables.set("CI_JOB_STATUS", status)
        script = self.job.script("after_script")
        if not script:
            return
        lines = [self._enter(), notice("Running after script..."), *commands(script)]
        with self._section("after_script", "Running after_script"):
            error = self._attempt(lambda: self._run_lines(lines))
        if error:
            text = "after_script failed, but job will continue unaffected"
            self._say(f"{_YELLOW}WARNING: {text}: {error}")

    def _save_caches(self, succeeded: bool) -> None:
        wanted = [cache for cache in self.job.cache if is_wanted(cache, succeeded=succeeded)]
        if not wanted:
            return
        name = "archive_cache" if succeeded else "archive_cache_on_failure"
        with self._section(name, f"Saving cache for {_end_word(succeeded)} job"):
            for cache in wanted:
                self._caches().save(cache)

    def _upload_artifacts(self, succeeded: bool) -> None:
        wanted = [files for files in self.job.artifacts if is_wanted(files, succeeded=succeeded)]
        if not wanted:
            return
        name = f"upload_artifacts_on_{'success' if succeeded else 'failure'}"
        with self._section(name, f"Uploading artifacts for {_end_word(succeeded)} job"):
            for artifact in wanted:
                self._artifacts.upload(artifact, self.variables)

    def _caches(self) -> Caches:
        project_id = self.job.job_info.project_id
        bucket = Bucket(self.runner, project_id) if self.runner.cache.type else None
        return Caches(bucket, self.places, self.variables, self._say)

    def _enter(self) -> str:
        return f"cd {quote(self.places.project)}"

    def _run_lines(self, lines: list[str], *, is_script: bool = False) -> None:
        code = run_shell(
            [self.runner.shell, "-l"],
            shell_script([*exports(self.variables), *lines]),
            write=self.trace.write,
            stops=self.stops,
            is_script=is_script,
        )
        if code < 0:
            raise BuildError(f"signal: {signal.strsignal(-code) or -code}".lower(), exit_code=-1)
        if code > 0:
            raise BuildError(f"exit status {code}", exit_code=code)

    @contextmanager
    def _section(self, name: str, title: str) -> Iterator[None]:
        has_sections = self.job.features.trace_sections
        start = f"section_start:{int(time.time())}:{name}\r{_CLEAR}" if has_sections else ""
        self.trace.write(f"{start}{_CLEAR}{_CYAN}{title}{_RESET}{_RESET}\n")
        try:
            yield
        finally:
            if has_sections:
                self.trace.write(f"section_end:{int(time.time())}:{name}\r{_CLEAR}")

    def _say(self, line: str) -> None:
        self.trace.write(f"{line}{_RESET}\n")


def not_followed(variables: Variables) -> list[str]:
    """The names of the settings that the real runner follows and the stand-in does not."""
    names = [one.key for one in variables if one.value and _NOT_FOLLOWED.fullmatch(one.key)]
    if variables.value("GIT_STRATEGY") not in {"", *STRATEGIES}:
        names.append("GIT_STRATEGY")
    return sorted(names)


def find_places(job: Job, runner: RunnerOptions, *, working_dir: str) -> Places:
    """The job's folders: one per runner and project, as the real runner names it."""
    builds = os.path.join(working_dir, runner.builds_dir)
    path = urlsplit(job.git_info.clean_url).path.removesuffix(".git").strip("/")
    project = os.path.join(builds, runner.short_token, "0", path)
    return Places(
        builds=builds,
        project=project,
        temporary=f"{project}.tmp",
        cache=os.path.join(working_dir, runner.cache_dir, path),
    )


def _end_word(succeeded: bool) -> str:
    return "successful" if succeeded else "failed"
