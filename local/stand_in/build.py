"""Runs one job from its sources to its artifacts, in the stages and words of the real runner.

Source: gitlab-runner 17.9, `common/build.go` and `shells/abstract.go`.
"""

import os
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
from local.stand_in.process import ScriptLimits, run_shell
from local.stand_in.script import Sources, commands, exports, notice, shell_script
from local.stand_in.stops import BuildError, Over, Stops
from local.stand_in.trace import Trace
from local.stand_in.variables import Places, Variables

_CLEAR, _CYAN, _YELLOW, _RESET = "\033[0K", "\033[36;1m", "\033[0;33m", "\033[0;m"
_AFTER_SCRIPT_S = 300.0
_EVAL_FLAG = "FF_USE_NEW_BASH_EVAL_STRATEGY"
_STATUSES = {"job_canceled": "canceled", "job_execution_timeout": "timedout"}


@dataclass(kw_only=True)
class Build:
    """One job on this machine. `stops` may be asked to end it at any time."""

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
                failure = self._attempt(self._run_steps)
                failure = self._run_after_script(failure) or failure
            succeeded = failure is None
            late = [
                self._attempt(lambda: self._save_caches(succeeded)),
                self._attempt(lambda: self._upload_artifacts(succeeded)),
            ]
            return failure or next((error for error in late if error), None)
        except Over as over:
            return over
        except OSError as exc:
            return _system_failure(str(exc))
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
        with self._section("prepare_script", "Preparing environment"):
            os.makedirs(self.places.temporary, exist_ok=True)
            for variable in self.variables:
                if variable.file:
                    with open(self.variables.exported(variable), "w", encoding="utf-8") as file:
                        file.write(variable.value)
            self.trace.write(f"Running on {socket.gethostname()}...\n")

    def _get_ready(self) -> None:
        self._often("GET_SOURCES_ATTEMPTS", self._get_sources)
        if any(cache.paths or cache.untracked for cache in self.job.cache):
            self._often("RESTORE_CACHE_ATTEMPTS", self._restore_caches)
        if any(earlier.artifacts_file.filename for earlier in self.job.dependencies):
            self._often("ARTIFACT_DOWNLOAD_ATTEMPTS", self._download_artifacts)

    def _often(self, variable: str, stage: Callable[[], None]) -> None:
        """Try a stage as often as the variable says; the last failure counts."""
        attempts = self.variables.whole(variable, 1)
        if not 1 <= attempts <= 10:
            raise _system_failure(f"number of attempts out of the range [1, 10]: {variable}")
        for _ in range(attempts - 1):
            if self._attempt(stage) is None:
                return
        stage()

    def _get_sources(self) -> None:
        sources = Sources(self.job, self.variables, self.places)
        hooks = {} if sources.strategy == "none" else {h.name: h.script for h in self.job.hooks}
        lines = [
            *commands(hooks.get("pre_get_sources_script", ())),
            *sources.lines(),
            *commands(hooks.get("post_get_sources_script", ())),
        ]
        with self._section("get_sources", "Getting source from Git repository"):
            if sources.complaint:
                self._say(f"{_YELLOW}WARNING: {sources.complaint}")
            self._run_lines(lines, ScriptLimits(stops=self.stops), in_project=False)

    def _restore_caches(self) -> None:
        caches = self._caches()
        with self._section("restore_cache", "Restoring cache"):
            for cache in self.job.cache:
                if cache.paths or cache.untracked:
                    caches.restore(cache)

    def _save_caches(self, succeeded: bool) -> None:
        wanted = [cache for cache in self.job.cache if is_wanted(cache, succeeded=succeeded)]
        if not wanted:
            return
        name = "archive_cache" if succeeded else "archive_cache_on_failure"
        title = f"Saving cache for {'successful' if succeeded else 'failed'} job"
        caches = self._caches()
        with self._section(name, title):
            for cache in wanted:
                caches.save(cache)

    def _caches(self) -> Caches:
        project_id = self.job.job_info.project_id
        bucket = Bucket(self.runner, project_id) if self.runner.cache.type else None
        return Caches(bucket, self.places, self.variables, self._say)

    def _download_artifacts(self) -> None:
        with self._section("download_artifacts", "Downloading artifacts"):
            for earlier in self.job.dependencies:
                if earlier.artifacts_file.filename:
                    self._artifacts.download(earlier)

    def _upload_artifacts(self, succeeded: bool) -> None:
        wanted = [files for files in self.job.artifacts if is_wanted(files, succeeded=succeeded)]
        if not wanted:
            return
        name = f"upload_artifacts_on_{'success' if succeeded else 'failure'}"
        title = f"Uploading artifacts for {'successful' if succeeded else 'failed'} job"
        with self._section(name, title):
            for artifact in wanted:
                self._artifacts.upload(artifact, self.variables)

    def _run_steps(self) -> None:
        scope = ScriptLimits(
            stops=self.stops,
            is_script=True,
            timeout_s=self.variables.seconds("RUNNER_SCRIPT_TIMEOUT", None),
            on_timeout=_timeout("script timeout: context deadline exceeded"),
        )
        for step in self.job.steps:
            if step.name == "after_script":
                continue
            script = [self.runner.pre_build_script, *step.script, self.runner.post_build_script]
            title = f'Executing "step_{step.name}" stage of the job script'
            with self._section(f"step_{step.name}", title):
                self._run_lines(commands(filter(None, script)), scope, in_project=True)

    def _run_after_script(self, failure: BuildError | None) -> BuildError | None:
        """Its failure, where it counts: usually it does not."""
        script = [line for s in self.job.steps if s.name == "after_script" for line in s.script]
        status = _STATUSES.get(failure.reason, "failed") if failure else "success"
        self.variables.set("CI_JOB_STATUS", status)
        if not script:
            return None
        scope = ScriptLimits(
            stops=self.stops,
            timeout_s=self.variables.seconds("RUNNER_AFTER_SCRIPT_TIMEOUT", _AFTER_SCRIPT_S),
            on_timeout=_timeout("context deadline exceeded"),
        )
        lines = [notice("Running after script..."), *commands(script)]
        with self._section("after_script", "Running after_script"):
            error = self._attempt(lambda: self._run_lines(lines, scope, in_project=True))
        if error is None or not self.variables.flag("AFTER_SCRIPT_IGNORE_ERRORS", absent=True):
            return None if failure else error
        text = "after_script failed, but job will continue unaffected"
        self._say(f"{_YELLOW}WARNING: {text}: {error}")
        return None

    def _run_lines(self, lines: list[str], scope: ScriptLimits, *, in_project: bool) -> None:
        start = [f"cd {quote(self.places.project)}"] if in_project else []
        configured = self.runner.feature_flags.get(_EVAL_FLAG, False)
        script = shell_script(
            [*exports(self.variables, self.places), *start, *lines],
            is_traced=self.trace.is_debug,
            in_subshell=self.variables.flag(_EVAL_FLAG, absent=configured),
        )
        shell = [self.runner.shell, "-l"]
        code = run_shell(shell, script, write=self.trace.write, scope=scope)
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


def find_places(job: Job, runner: RunnerOptions, *, working_dir: str) -> Places:
    """Where the job's files go: a folder per runner and project, as the real runner names it."""
    builds = os.path.join(working_dir, runner.builds_dir)
    path = urlsplit(job.git_info.clean_url).path.removesuffix(".git").strip("/")
    path = os.path.normpath(path)
    if path == "." or ".." in path:
        path = f"project-{job.job_info.project_id}"
    strategies = [variable.value for variable in job.variables if variable.key == "GIT_STRATEGY"]
    ending = "-empty" if strategies[-1:] == ["empty"] else ""
    project = os.path.join(builds, runner.short_token, "0", path + ending)
    return Places(
        builds=builds,
        project=project,
        temporary=f"{project}.tmp",
        cache=os.path.join(working_dir, runner.cache_dir, path),
    )


def _system_failure(message: str) -> BuildError:
    return BuildError(message, reason="runner_system_failure")


def _timeout(message: str) -> BuildError:
    return BuildError(message, reason="job_execution_timeout")
