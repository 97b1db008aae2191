"""Runs one job from its sources to its artifacts, in the stages and words of the real runner.

Source: gitlab-runner 17.9, `common/build.go` and `shells/abstract.go`.
"""

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import TypeVar

from local.stand_in.artifacts import Artifacts
from local.stand_in.cache import Caches
from local.stand_in.config import NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.gitlab import JobServer
from local.stand_in.job import Job
from local.stand_in.log import Log
from local.stand_in.script import (
    STRATEGIES,
    commands,
    exports,
    notice,
    shell_script,
    source_commands,
)
from local.stand_in.shell import BuildError, Over, Stops, run_shell
from local.stand_in.trace import Sender, Trace
from local.stand_in.variables import Variables, find_places, job_variables

_T = TypeVar("_T")
_CLEAR, _CYAN, _YELLOW, _RESET = "\033[0K", "\033[36;1m", "\033[0;33m", "\033[0;m"
_USUAL_TIMEOUT_S = 7200
_STATUSES = {"job_canceled": "canceled", "job_execution_timeout": "timedout"}
_SYSTEM_FAILURES = {"runner_system_failure", "runner_interrupted"}
# Variables that only the real runner follows.
_NOT_FOLLOWED = re.compile(
    r"CI_DEBUG_TRACE|AFTER_SCRIPT_IGNORE_ERRORS|RUNNER_(AFTER_)?SCRIPT_TIMEOUT|FF_\w+"
    r"|(GET_SOURCES|RESTORE_CACHE|ARTIFACT_DOWNLOAD|EXECUTOR_JOB_SECTION)_ATTEMPTS"
    r"|GIT_(CHECKOUT|CLONE_PATH|FETCH_EXTRA_FLAGS|SUBMODULE_(STRATEGY|DEPTH|PATHS|UPDATE_FLAGS))"
)


class Build:
    """One job on this machine. `stops` may end it at any time."""

    def __init__(self, job: Job, runner: RunnerOptions, gitlab: JobServer, log: Log) -> None:
        timeout_s = job.runner_info.timeout or _USUAL_TIMEOUT_S
        self._job, self._runner, self._gitlab = job, runner, gitlab
        self._places = find_places(job, runner)
        self._variables = job_variables(job, runner, self._places, timeout_s)
        self._artifacts = Artifacts(gitlab, job, self._variables, self._say)
        self._caches = Caches(runner, job, self._variables, self._say)
        self.stops = Stops(timeout_s=timeout_s)
        self._trace = Trace(
            secrets=[variable.value for variable in self._variables if variable.masked],
            token_prefixes=job.features.token_mask_prefixes,
            limit_bytes=runner.output_limit * 1024,
        )
        project_id, token = job.job_info.project_id, runner.short_token
        self._log = log.having(job=job.id, project=project_id, runner=token)

    def run(self, trace_s: float) -> None:
        """Run the job; send its log every `trace_s`, and its end to GitLab."""
        started = time.monotonic()
        if self._runner.feature_flags.ff_log_images_configured_for_job:
            self._log_images()
        sender = Sender(
            gitlab=self._gitlab,
            job=self._job,
            trace=self._trace,
            stops=self.stops,
            interval_s=trace_s,
        )
        failure = self._run_stages()
        log = self._log.having(duration_s=time.monotonic() - started)
        if failure is None:
            self._trace.write("\033[32;1mJob succeeded\033[0;m\n")
            log.say("info", "Job succeeded")
            sender.finish("success")
            return
        system = " (system failure)" if failure.reason in _SYSTEM_FAILURES else ""
        line = f"Job failed{system}: {failure}"
        self._trace.write(f"\033[31;1mERROR: {line}\n\033[0;m\n")
        log.say("warning", f"{line}\n")
        reason = failure.reason_for(self._job.features.failure_reasons)
        sender.finish("failed", failure_reason=reason, exit_code=failure.exit_code)

    def _log_images(self) -> None:
        of_job = [("Image", self._job.image)] if self._job.image.name else []
        for kind, image in (*of_job, *(("Service image", image) for image in self._job.services)):
            self._log.say("info", f"{kind} configured for job", image_name=image.name)

    def _run_stages(self) -> BuildError | None:
        """How the job failed, or None when it did not."""
        try:
            self._prepare()
            failure = self._attempt(self._get_ready)
            if failure is None:
                failure = self._attempt(self._run_script)
                self._run_after_script(failure)
            succeeded = failure is None
            late = self._attempt(lambda: self._save_caches(succeeded))
            late = self._attempt(lambda: self._upload_artifacts(succeeded)) or late
        except Over as over:
            return over
        except OSError as exc:
            return BuildError(str(exc), reason="runner_system_failure")
        finally:
            title = "Cleaning up project directory and file based variables"
            with self._section("cleanup_file_variables", title):
                shutil.rmtree(self._places.temporary, ignore_errors=True)
        return failure or late

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

    def _prepare(self) -> None:
        self._trace.write(f"{_CLEAR}Running with {NAME} {VERSION} ({REVISION}){_RESET}\n")
        about = f"{self._runner.name} {self._runner.short_token}"
        self._trace.write(f"{_CLEAR}  on {about}, system ID: {self._gitlab.system_id}{_RESET}\n")
        with self._section("prepare_executor", 'Preparing the "shell" executor'):
            self._trace.write(f"{_CLEAR}Using Shell ({self._runner.shell}) executor...{_RESET}\n")
            if names := ", ".join(not_followed(self._variables)):
                self._say(f"{_YELLOW}WARNING: the stand-in runner does not follow {names}")
        with self._section("prepare_script", "Preparing environment"):
            os.makedirs(self._places.temporary, exist_ok=True)
            for variable in self._variables:
                if variable.file:
                    with open(self._variables.exported(variable), "w", encoding="utf-8") as file:
                        file.write(variable.value)
            self._trace.write(f"Running on {socket.gethostname()}...\n")

    def _get_ready(self) -> None:
        job = self._job
        with self._section("get_sources", "Getting source from Git repository"):
            self._run_lines(source_commands(job, self._variables, self._places))
        caches = [cache for cache in job.cache if cache.paths or cache.untracked]
        self._each("restore_cache", "Restoring cache", caches, self._caches.restore)
        archives = [earlier for earlier in job.dependencies if earlier.artifacts_file.filename]
        title = "Downloading artifacts"
        self._each("download_artifacts", title, archives, self._artifacts.download)

    def _run_script(self) -> None:
        script = filter(None, [self._runner.pre_build_script, *self._job.script("script")])
        with self._section("step_script", 'Executing "step_script" stage of the job script'):
            self._run_lines([self._enter(), *commands(script)], is_script=True)

    def _run_after_script(self, failure: BuildError | None) -> None:
        """Run what follows the script; its own failure changes nothing."""
        status = _STATUSES.get(failure.reason, "failed") if failure else "success"
        self._variables.set("CI_JOB_STATUS", status)
        script = self._job.script("after_script")
        if not script:
            return
        lines = [self._enter(), notice("Running after script..."), *commands(script)]
        with self._section("after_script", "Running after_script"):
            error = self._attempt(lambda: self._run_lines(lines))
        if error:
            text = "after_script failed, but job will continue unaffected"
            self._say(f"{_YELLOW}WARNING: {text}: {error}")

    def _save_caches(self, succeeded: bool) -> None:
        wanted = [cache for cache in self._job.cache if cache.is_wanted(succeeded=succeeded)]
        name = "archive_cache" if succeeded else "archive_cache_on_failure"
        title = f"Saving cache for {_end_word(succeeded)} job"
        self._each(name, title, wanted, self._caches.save)

    def _upload_artifacts(self, succeeded: bool) -> None:
        wanted = [files for files in self._job.artifacts if files.is_wanted(succeeded=succeeded)]
        name = f"upload_artifacts_on_{'success' if succeeded else 'failure'}"
        title = f"Uploading artifacts for {_end_word(succeeded)} job"
        self._each(name, title, wanted, self._artifacts.upload)

    def _each(self, name: str, title: str, items: Sequence[_T], act: Callable[[_T], None]) -> None:
        """One section for all the items, and none without items."""
        if items:
            with self._section(name, title):
                for item in items:
                    act(item)

    def _enter(self) -> str:
        return f"cd {quote(self._places.project)}"

    def _run_lines(self, lines: Sequence[str], *, is_script: bool = False) -> None:
        code = run_shell(
            [self._runner.shell, "-l"],
            shell_script([*exports(self._variables), *lines]),
            write=self._trace.write,
            stops=self.stops,
            is_script=is_script,
        )
        if code < 0:
            raise BuildError(f"signal: {signal.strsignal(-code) or -code}".lower(), exit_code=-1)
        if code > 0:
            raise BuildError(f"exit status {code}", exit_code=code)

    @contextmanager
    def _section(self, name: str, title: str) -> Iterator[None]:
        has_sections = self._job.features.trace_sections
        start = f"section_start:{int(time.time())}:{name}\r{_CLEAR}" if has_sections else ""
        self._trace.write(f"{start}{_CLEAR}{_CYAN}{title}{_RESET}{_RESET}\n")
        try:
            yield
        finally:
            if has_sections:
                self._trace.write(f"section_end:{int(time.time())}:{name}\r{_CLEAR}")

    def _say(self, line: str) -> None:
        self._trace.write(f"{line}{_RESET}\n")


def not_followed(variables: Variables) -> list[str]:
    """The names of the settings that the real runner follows and the stand-in does not."""
    given = (v for v in variables if v.value not in {"", "none"})
    names = [v.key for v in given if _NOT_FOLLOWED.fullmatch(v.key)]
    if variables.value("GIT_STRATEGY") not in {"", *STRATEGIES}:
        names.append("GIT_STRATEGY")
    return sorted(names)


def _end_word(succeeded: bool) -> str:
    return "successful" if succeeded else "failed"
