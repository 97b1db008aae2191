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
from functools import partial
from shlex import quote
from typing import Any

from local.stand_in.config import NAME, REVISION, VERSION, RunnerOptions
from local.stand_in.gitlab import Job, JobServer
from local.stand_in.log import say
from local.stand_in.saved import SavedFiles
from local.stand_in.shell import BuildError, Over, Stops, commands, notice, run_shell, shell_script
from local.stand_in.trace import Sender, Trace
from local.stand_in.variables import Variable, Variables

_CLEAR, _CYAN, _YELLOW, _RESET = "\033[0K", "\033[36;1m", "\033[0;33m", "\033[0;m"
_USUAL_TIMEOUT_S = 7200
_STATUSES = {"job_canceled": "canceled", "job_execution_timeout": "timedout"}
# Variables that only the real runner follows.
_NOT_FOLLOWED = re.compile(
    r"CI_DEBUG_TRACE|AFTER_SCRIPT_IGNORE_ERRORS|RUNNER_(AFTER_)?SCRIPT_TIMEOUT|FF_\w+"
    r"|(GET_SOURCES|RESTORE_CACHE|ARTIFACT_DOWNLOAD|EXECUTOR_JOB_SECTION)_ATTEMPTS"
    r"|GIT_(CHECKOUT|CLONE_PATH|(CLEAN|FETCH_EXTRA)_FLAGS|SUBMODULE_\w+)"
)


class Build:
    """One job on this machine. `stops` may end it at any time."""

    def __init__(self, job: Job, runner: RunnerOptions, gitlab: JobServer) -> None:
        timeout_s = job["runner_info"].get("timeout") or _USUAL_TIMEOUT_S
        self._job, self._runner, self._gitlab = job, runner, gitlab
        self._variables = Variables(job, runner, timeout_s)
        self._caches = [e for e in job.get("cache", ()) if e.get("paths") or e.get("untracked")]
        self._saved = SavedFiles(
            runner=runner, gitlab=gitlab, job=job, variables=self._variables, say=self._say
        )
        self.stops = Stops(timeout_s=timeout_s)
        self._trace = Trace(
            secrets=[variable.value for variable in self._variables if variable.masked],
            token_prefixes=job["features"].get("token_mask_prefixes", ()),
            limit_bytes=runner.output_limit * 1024,
        )
        project_id, token = job["job_info"]["project_id"], runner.short_token
        self._log = partial(say, job=job["id"], project=project_id, runner=token)

    def run(self, interval_s: float) -> None:
        """Run the job; send its log every `interval_s`, and its end to GitLab."""
        started = time.monotonic()
        self._log_images()
        sender = Sender(self._gitlab, self._job, self._trace, self.stops, interval_s)
        failure = self._run_stages()
        duration_s = time.monotonic() - started
        if failure is None:
            self._trace.write("\033[32;1mJob succeeded\033[0;m\n")
            self._log("info", "Job succeeded", duration_s=duration_s)
            sender.finish("success")
            return
        system = " (system failure)" if failure.reason == "runner_system_failure" else ""
        line = f"Job failed{system}: {failure}"
        self._trace.write(f"\033[31;1mERROR: {line}\n\033[0;m\n")
        self._log("warning", f"{line}\n", duration_s=duration_s)
        sender.finish("failed", failure_reason=failure.reason, exit_code=failure.exit_code)

    def _log_images(self) -> None:
        if self._runner.feature_flags.get("FF_LOG_IMAGES_CONFIGURED_FOR_JOB"):
            if image := self._job.get("image"):
                self._log("info", "Image configured for job", image_name=image["name"])
            for image in self._job["services"]:
                self._log("info", "Service image configured for job", image_name=image["name"])

    def _run_stages(self) -> BuildError | None:
        """How the job failed, or None when it did not."""
        try:
            self._prepare()
            failure = self._attempt(self._get_ready)
            if failure is None:
                failure = self._attempt(self._run_script)
                self._run_after_script(failure)
            late = [self._attempt(save) for save in self._saves(succeeded=failure is None)]
        except Over as over:
            return over
        except OSError as exc:
            return BuildError(str(exc), reason="runner_system_failure")
        finally:
            title = "Cleaning up project directory and file based variables"
            with self._section("cleanup_file_variables", title):
                shutil.rmtree(self._variables.temporary, ignore_errors=True)
        return next(filter(None, (failure, *late)), None)

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
            if names := ", ".join(v.key for v in self._variables if not is_followed(v)):
                self._say(f"{_YELLOW}WARNING: the stand-in runner does not follow {names}")
        with self._section("prepare_script", "Preparing environment"):
            os.makedirs(self._variables.temporary, exist_ok=True)
            for variable in self._variables:
                if variable.file:
                    with open(self._variables.exported(variable), "w", encoding="utf-8") as file:
                        file.write(variable.value)
            self._trace.write(f"Running on {socket.gethostname()}...\n")

    def _get_ready(self) -> None:
        with self._section("get_sources", "Getting source from Git repository"):
            self._run_lines(self._source_commands())
        self._each("restore_cache", "Restoring cache", self._caches, self._saved.restore)
        earlier = [job for job in self._job["dependencies"] if job["artifacts_file"]]
        self._each("download_artifacts", "Downloading artifacts", earlier, self._saved.download)

    def _source_commands(self) -> list[str]:
        """The commands that put the sources in place, always in a fresh repository.

        A machine of the fleet serves one job: there is no repository to go on from.
        """
        git, project = self._job["git_info"], quote(self._variables.project)
        if self._variables.expand("$GIT_STRATEGY") == "none":
            return [f"mkdir -p {project}", notice("Skipping Git repository setup")]
        limit = ("--depth", str(git["depth"])) if git["depth"] else ()
        shown = f" with git depth set to {git['depth']}" if git["depth"] else ""
        options = ("--no-recurse-submodules", *git["refspecs"], *limit, "--prune", "--quiet")
        return [
            *commands(self._script("pre_get_sources_script")),
            notice(f"Fetching changes{shown}..."),
            "export GIT_TERMINAL_PROMPT=0",
            f"rm -rf {project}",
            f"git -c init.defaultBranch=none init --template= {project}",
            f"cd {project}",
            f"git remote add origin {quote(git['repo_url'])}",
            notice("Created fresh repository."),
            " ".join(map(quote, ("git", "fetch", "origin", *options))),
            notice(f"Checking out {git['sha'][:8]} as detached HEAD (ref is {git['ref']})..."),
            f"git -c submodule.recurse=false checkout -f -q {quote(git['sha'])}",
            notice("Skipping Git submodules setup"),
        ]

    def _run_script(self) -> None:
        script = filter(None, (self._runner.pre_build_script, *self._script("script")))
        with self._section("step_script", 'Executing "step_script" stage of the job script'):
            self._run_lines([self._enter(), *commands(script)], is_script=True)

    def _run_after_script(self, failure: BuildError | None) -> None:
        """Run what follows the script; its own failure changes nothing."""
        status = _STATUSES.get(failure.reason, "failed") if failure else "success"
        self._variables.set("CI_JOB_STATUS", status)
        script = self._script("after_script")
        if not script:
            return
        lines = [self._enter(), notice("Running after script..."), *commands(script)]
        with self._section("after_script", "Running after_script"):
            error = self._attempt(lambda: self._run_lines(lines))
        if error:
            text = "after_script failed, but job will continue unaffected"
            self._say(f"{_YELLOW}WARNING: {text}: {error}")

    def _saves(self, *, succeeded: bool) -> Iterator[Callable[[], None]]:
        """The stages that save caches and artifacts after such an end."""
        end, when = ("successful", "on_success") if succeeded else ("failed", "on_failure")
        artifacts = self._job.get("artifacts", ())
        for name, title, entries, save in (
            ("archive_cache", "Saving cache", self._caches, self._saved.save),
            ("upload_artifacts", "Uploading artifacts", artifacts, self._saved.upload),
        ):
            wanted = [e for e in entries if e.get("when", "on_success") in {when, "always"}]
            yield partial(self._each, name, f"{title} for {end} job", wanted, save)

    def _each(
        self, name: str, title: str, items: Sequence[Any], act: Callable[[Any], None]
    ) -> None:
        """One section for all the items, and none without items."""
        if items:
            with self._section(name, title):
                for item in items:
                    act(item)

    def _script(self, name: str) -> list[str]:
        """The commands of the steps and hooks of that name."""
        entries = (*self._job["steps"], *self._job.get("hooks", ()))
        return [line for entry in entries if entry["name"] == name for line in entry["script"]]

    def _enter(self) -> str:
        return f"cd {quote(self._variables.project)}"

    def _run_lines(self, lines: Sequence[str], *, is_script: bool = False) -> None:
        exports = (f"export {v.key}={quote(self._variables.exported(v))}" for v in self._variables)
        code = run_shell(
            [self._runner.shell, "-l"],
            shell_script([*exports, *lines]),
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
        start = f"section_start:{time.time():.0f}:{name}\r{_CLEAR}"
        self._trace.write(f"{start}{_CLEAR}{_CYAN}{title}{_RESET}{_RESET}\n")
        try:
            yield
        finally:
            self._trace.write(f"section_end:{time.time():.0f}:{name}\r{_CLEAR}")

    def _say(self, line: str) -> None:
        self._trace.write(f"{line}{_RESET}\n")


def is_followed(variable: Variable) -> bool:
    """Whether the stand-in does what the real runner does for this setting."""
    if variable.key == "GIT_STRATEGY":
        return variable.value in {"", "fetch", "clone", "none"}
    return variable.value in {"", "none"} or not _NOT_FOLLOWED.fullmatch(variable.key)
