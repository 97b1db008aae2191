"""Runs one job from its sources to its artifacts, in the stages and words of the real runner.

Source: gitlab-runner 17.9, `common/build.go` and `shells/abstract.go`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from local.stand_in.artifacts import Artifacts
from local.stand_in.cache import Caches, open_store
from local.stand_in.job import Job
from local.stand_in.options import NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.process import Scope, run_shell
from local.stand_in.protocol import Coordinator
from local.stand_in.script import Sources, commands, exports, notice, shell_script
from local.stand_in.stops import BuildError, Over, Stops
from local.stand_in.trace import Trace
from local.stand_in.variables import Places, Variables

_CLEAR, _CYAN, _YELLOW, _RESET = "\033[0K", "\033[36;1m", "\033[0;33m", "\033[0;m"
_AFTER_SCRIPT_S = 300.0
_MOST_ATTEMPTS = 10
_EVAL_FLAG = "FF_USE_NEW_BASH_EVAL_STRATEGY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a build works with besides its job."""

    runner: RunnerOptions
    system_id: str
    coordinator: Coordinator
    trace: Trace
    stops: Stops


class Build:
    """One job on this machine."""

    def __init__(
        self, job: Job, around: Surroundings, places: Places, variables: Variables
    ) -> None:
        self._job = job
        self._runner = around.runner
        self._system_id = around.system_id
        self._trace = around.trace
        self._stops = around.stops
        self._places = places
        self._variables = variables
        self._shell = [around.runner.shell or ("bash" if shutil.which("bash") else "sh"), "-l"]
        self._artifacts = Artifacts(around.coordinator, job, say=self._say)
        self._sources = Sources(job, variables, places, clone_url=around.runner.clone_url)

    def run(self) -> BuildError | None:
        """How the job failed, or None when it did not."""
        try:
            self._prepare()
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
        finally:
            self._clean_up()

    def _attempt(self, stage: Callable[[], None]) -> BuildError | None:
        """The failure of a stage, unless the job is over altogether: that is raised."""
        self._stops.check()
        try:
            stage()
        except Over:
            raise
        except BuildError as error:
            return error
        return None

    def _prepare(self) -> None:
        self._trace.write(f"{_CLEAR}Running with {NAME} {VERSION} ({REVISION}){_RESET}\n")
        on = f"{self._runner.name} {self._runner.short_token}, system ID: {self._system_id}"
        self._trace.write(f"{_CLEAR}  on {on}{_RESET}\n")
        if self._sources.complaint:
            self._say(f"{_YELLOW}WARNING: {self._sources.complaint}")
        with self._section("prepare_executor", 'Preparing the "shell" executor'):
            self._trace.write(f"{_CLEAR}Using Shell ({self._shell[0]}) executor...{_RESET}\n")
        with self._section("prepare_script", "Preparing environment"):
            os.makedirs(self._places.temporary, exist_ok=True)
            for variable in self._variables:
                if variable.file:
                    with open(self._variables.path(variable), "w", encoding="utf-8") as file:
                        file.write(variable.value)
            self._trace.write(f"Running on {socket.gethostname()}...\n")

    def _get_ready(self) -> None:
        self._often("GET_SOURCES_ATTEMPTS", self._get_sources)
        if any(cache.paths or cache.untracked for cache in self._job.cache):
            self._often("RESTORE_CACHE_ATTEMPTS", self._restore_caches)
        if any(dependency.filename for dependency in self._job.dependencies):
            self._often("ARTIFACT_DOWNLOAD_ATTEMPTS", self._download_artifacts)

    def _often(self, variable: str, stage: Callable[[], None]) -> None:
        """Try a stage as often as the variable says; the last failure counts."""
        attempts = self._variables.whole(variable, 1)
        if not 1 <= attempts <= _MOST_ATTEMPTS:
            raise _system_failure(f"number of attempts out of the range [1, 10]: {variable}")
        for _ in range(attempts - 1):
            if self._attempt(stage) is None:
                return
        stage()

    def _get_sources(self) -> None:
        hooks = self._job.hooks
        before = [self._runner.pre_get_sources_script, *hooks.get("pre_get_sources_script", ())]
        after = [*hooks.get("post_get_sources_script", ()), self._runner.post_get_sources_script]
        if self._sources.strategy == "none":
            before = after = []
        lines = [
            *commands(filter(None, before)),
            *self._sources.lines(),
            *commands(filter(None, after)),
        ]
        with self._section("get_sources", "Getting source from Git repository"):
            self._run_lines(lines, Scope(stops=self._stops), in_project=False)

    def _restore_caches(self) -> None:
        caches = self._caches()
        with self._section("restore_cache", "Restoring cache"):
            for cache in self._job.cache:
                if cache.paths or cache.untracked:
                    caches.restore(cache)

    def _save_caches(self, succeeded: bool) -> None:
        wanted = [c for c in self._job.cache if c.is_for(succeeded) and (c.paths or c.untracked)]
        if not wanted:
            return
        caches, end = self._caches(), "successful" if succeeded else "failed"
        name = "archive_cache" if succeeded else "archive_cache_on_failure"
        with self._section(name, f"Saving cache for {end} job"):
            for cache in wanted:
                caches.save(cache)

    def _caches(self) -> Caches:
        store = open_store(self._runner, self._job.project_id)
        return Caches(store, self._places, self._variables, say=self._say)

    def _download_artifacts(self) -> None:
        with self._section("download_artifacts", "Downloading artifacts"):
            for dependency in self._job.dependencies:
                if dependency.filename:
                    self._artifacts.download(dependency, self._places.project)

    def _upload_artifacts(self, succeeded: bool) -> None:
        wanted = [
            a for a in self._job.artifacts if a.is_for(succeeded) and (a.paths or a.untracked)
        ]
        if not wanted:
            return
        end = "successful" if succeeded else "failed"
        name = f"upload_artifacts_on_{'success' if succeeded else 'failure'}"
        with self._section(name, f"Uploading artifacts for {end} job"):
            for artifact in wanted:
                self._artifacts.upload(artifact, self._places.project, self._variables)

    def _run_steps(self) -> None:
        late = BuildError(
            "script timeout: context deadline exceeded", reason="job_execution_timeout"
        )
        scope = Scope(
            stops=self._stops,
            is_script=True,
            timeout_s=self._variables.seconds("RUNNER_SCRIPT_TIMEOUT", None),
            on_timeout=late,
        )
        for step in self._job.steps:
            if step.name == "after_script":
                continue
            script = [self._runner.pre_build_script, *step.script, self._runner.post_build_script]
            title = f'Executing "step_{step.name}" stage of the job script'
            with self._section(f"step_{step.name}", title):
                self._run_lines(commands(filter(None, script)), scope, in_project=True)

    def _run_after_script(self, failure: BuildError | None) -> BuildError | None:
        """Its failure, where it counts: usually it does not."""
        script = [line for s in self._job.steps if s.name == "after_script" for line in s.script]
        self._variables.set("CI_JOB_STATUS", _status(failure))
        if not script:
            return None
        scope = Scope(
            stops=self._stops,
            timeout_s=self._variables.seconds("RUNNER_AFTER_SCRIPT_TIMEOUT", _AFTER_SCRIPT_S),
            on_timeout=BuildError("context deadline exceeded", reason="job_execution_timeout"),
        )
        lines = [notice("Running after script..."), *commands(script)]
        with self._section("after_script", "Running after_script"):
            error = self._attempt(lambda: self._run_lines(lines, scope, in_project=True))
        if error is None or not self._variables.flag("AFTER_SCRIPT_IGNORE_ERRORS", absent=True):
            return None if failure else error
        said = "after_script failed, but job will continue unaffected"
        self._say(f"{_YELLOW}WARNING: {said}: {error}")
        return None

    def _run_lines(self, lines: list[str], scope: Scope, *, in_project: bool) -> None:
        start = [*exports(self._variables, self._places)]
        if in_project:
            start.append(f"cd {_quoted(self._places.project)}")
        configured = self._runner.feature_flags.get(_EVAL_FLAG, False)
        script = shell_script(
            [*start, *lines],
            is_traced=self._trace.is_debug,
            in_subshell=self._variables.flag(_EVAL_FLAG, absent=configured),
        )
        try:
            code = run_shell(self._shell, script, write=self._trace.write, scope=scope)
        except OSError as exc:
            raise _system_failure(f"failed to start process: {exc}") from exc
        if code < 0:
            raise BuildError(f"signal: {signal.strsignal(-code) or -code}".lower(), exit_code=-1)
        if code > 0:
            raise BuildError(f"exit status {code}", exit_code=code)

    def _clean_up(self) -> None:
        title = "Cleaning up project directory and file based variables"
        with self._section("cleanup_file_variables", title):
            shutil.rmtree(self._places.temporary, ignore_errors=True)

    @contextmanager
    def _section(self, name: str, title: str) -> Iterator[None]:
        start, end = "", ""
        if self._job.trace_sections:
            start = f"section_start:{int(time.time())}:{name}\r{_CLEAR}"
        self._trace.write(f"{start}{_CLEAR}{_CYAN}{title}{_RESET}{_RESET}\n")
        try:
            yield
        finally:
            if self._job.trace_sections:
                end = f"section_end:{int(time.time())}:{name}\r{_CLEAR}"
            self._trace.write(end)

    def _say(self, line: str) -> None:
        self._trace.write(f"{line}{_RESET}\n")


def find_places(job: Job, runner: RunnerOptions, *, working_dir: str) -> Places:
    """Where the job's files go: a folder per runner and project, as the real runner names it."""
    builds = os.path.join(working_dir, runner.builds_dir or "builds")
    path = os.path.normpath(urlsplit(job.git.clean_url).path.removesuffix(".git").strip("/"))
    if path == "." or ".." in path:
        path = f"project-{job.project_id}"
    strategies = [variable.value for variable in job.variables if variable.key == "GIT_STRATEGY"]
    ending = "-empty" if strategies[-1:] == ["empty"] else ""
    project = os.path.join(builds, runner.short_token, "0", path + ending)
    return Places(
        builds=builds,
        project=project,
        temporary=f"{project}.tmp",
        cache=os.path.join(working_dir, runner.cache_dir or "cache", path),
    )


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def _system_failure(message: str) -> BuildError:
    return BuildError(message, reason="runner_system_failure")


def _status(failure: BuildError | None) -> str:
    if failure is None:
        return "success"
    return {"job_canceled": "canceled", "job_execution_timeout": "timedout"}.get(
        failure.reason, "failed"
    )
