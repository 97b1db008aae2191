"""One `gitlab-runner run-single`: starts it, follows it, stops it, leaves nothing of it behind."""

import os
import queue
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from adapters.guest.process_tree import Family, children_of, is_heard, send
from adapters.guest.wipe import remove_tree
from fleet.errors import Refused
from fleet.machine.runner_log import RunnerLine, read_log_line
from fleet.machine.stop import Force

BINARY_VARIABLE = "RUNNER_FLEET_GITLAB_RUNNER"
HAND_OVER_S = 20.0  # from exec to the reading of the configuration
CLEAN_UP_S = 5.0
LONGEST_LINE = 65_536  # bytes; a longer one is read in pieces
SCRIPT_AGE_S = 0.5  # a younger process at a cancel may be its after_script already
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})
_PASSED_ON = frozenset(
    {"PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "DOCKER_HOST"}
    | _PROXIES
    | {name.lower() for name in _PROXIES}
)
_SIGNALS = {Force.DRAIN: signal.SIGQUIT, Force.INTERRUPT: signal.SIGTERM}


def runner_binary(environment: Mapping[str, str]) -> str:
    """The gitlab-runner to start: the one named in the environment, else the one on PATH."""
    return environment.get(BINARY_VARIABLE) or "gitlab-runner"


def open_to_jobs(binary: str, environment: Mapping[str, str]) -> str | None:
    """Why a shell job could read gitlab-runner's memory, and with it the runner token, or None.

    The kernel closes /proc/<pid>/mem and /proc/<pid>/fd of a program that its user may not read
    (`would_dump`, fs/exec.c). Its owner could change that, and root reads everything.
    """
    path = shutil.which(binary, path=environment.get("PATH"))
    if path is None:
        return None  # it will not start
    if os.geteuid() == 0:
        return "jobs run as root and can read gitlab-runner's memory"
    if os.access(path, os.R_OK) or os.stat(path).st_uid == os.geteuid():
        return f"jobs can read gitlab-runner's memory: make {path} root's, with mode 0711"
    return None


def clean_environment(environment: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """The part of our environment for the runner, and so for every shell job. No AWS, no FLEET.

    The job inherits the runner's whole environment (gitlab-runner `executors/shell/shell.go`).
    """
    kept = {name: value for name, value in environment.items() if name in _PASSED_ON}
    return {"LANG": "C.UTF-8", **kept, "HOME": str(home), "TMPDIR": str(home / "tmp")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The process to start. The configuration holds the token: it never touches a disk."""

    binary: str
    config: str = field(repr=False)  # text of config.toml
    name: str  # of the runner inside it
    wait_timeout_s: int
    home: Path  # HOME and working directory; made if missing
    environment: Mapping[str, str] = field(repr=False)


class RunOnce:
    """The process, as a context: leaving it leaves no process and no file of ours behind."""

    def __init__(self, spec: RunSpec, *, echo: Callable[[str], None] | None = None) -> None:
        """`echo` gets every line of the runner as it is."""
        self._spec = spec
        self._echo = echo
        self._lines: queue.SimpleQueue[RunnerLine] = queue.SimpleQueue()
        self._family = Family()
        self._canceled: frozenset[int] | None = None

    def __enter__(self) -> Self:
        """Start it and hand over the configuration. Raises `Refused` when the start fails."""
        (self._spec.home / "tmp").mkdir(parents=True, exist_ok=True)
        self._private = Path(tempfile.mkdtemp(prefix="runner-", dir=self._spec.home))
        fifo = self._private / "config.toml"
        os.mkfifo(fifo, stat.S_IRUSR | stat.S_IWUSR)
        try:
            self._process = self._start(fifo)
        except OSError as exc:
            remove_tree(self._private, within_s=CLEAN_UP_S)
            raise Refused(f"{self._spec.binary} cannot be started: {exc.strerror}") from exc
        assert self._process.stderr
        self._reader = threading.Thread(
            target=self._follow, args=(self._process.stderr,), daemon=True
        )
        self._reader.start()
        self._hand_over(fifo)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill what still runs, read the last lines, remove our files."""
        self._process.kill()
        self._process.wait()
        self._family.end(within_s=CLEAN_UP_S)  # Lambda's handler and the keeper look again
        self._reader.join(CLEAN_UP_S)
        remove_tree(self._private, within_s=CLEAN_UP_S)

    @property
    def pid(self) -> int:
        """Of gitlab-runner itself."""
        return self._process.pid

    def next_line(self, *, within_s: float) -> RunnerLine | None:
        """The next line with a meaning; `None` without one in this time."""
        try:
            return self._lines.get(timeout=within_s)
        except queue.Empty:
            return None

    @property
    def exit_code(self) -> int | None:
        """`None` while it runs; negative when a signal ended it."""
        return self._process.poll()

    def last_lines(self) -> tuple[RunnerLine, ...]:
        """After its end: the lines that `next_line` has not returned."""
        self._process.wait()
        self._family.end(within_s=CLEAN_UP_S)  # else a child could hold its stderr open
        self._reader.join(CLEAN_UP_S)
        return tuple(self._lines.get() for _ in range(self._lines.qsize()))

    @property
    def listens(self) -> bool:
        """Whether it handles SIGQUIT; True where the kernel does not show it."""
        try:
            return is_heard(self.pid, signal.SIGQUIT)
        except OSError:
            return True

    def note_cancel(self) -> None:
        """Remember the runner's children as the canceled script: after_script follows."""
        self._canceled = children_of(self.pid, older_than_s=SCRIPT_AGE_S)

    def stop(self, force: Force) -> None:
        """Drain, interrupt or kill, as `fleet.machine.stop` asks. Send SIGTERM only once.

        A second SIGTERM makes gitlab-runner end without telling GitLab.
        """
        if force in _SIGNALS:
            send(self.pid, _SIGNALS[force])
        elif force is Force.KILL_JOB:
            self._family.kill(spare=self._spared, within_s=CLEAN_UP_S)
        else:
            self._process.kill()
            self._process.wait()
            self._family.end(within_s=CLEAN_UP_S)

    def _spared(self) -> frozenset[int]:
        """gitlab-runner, and all that it started after a cancel."""
        runner = frozenset({self.pid})
        if self._canceled is None:
            return runner
        return runner | self._family.below(children_of(self.pid) - self._canceled)

    def _start(self, fifo: Path) -> subprocess.Popen[bytes]:
        spec = self._spec
        command = [spec.binary, "--log-format", "json", "run-single", "-c", str(fifo)]
        command += ["-r", spec.name, "--max-builds", "1"]
        command += ["--wait-timeout", str(spec.wait_timeout_s)]
        return subprocess.Popen(
            command,
            cwd=spec.home,
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _hand_over(self, fifo: Path) -> None:
        """Write the configuration once the runner reads, after removing the pipe's name.

        `run-single -c -r` opens it once, at its start (`commands/single.go`, HandleArgs). Nothing
        of any job runs then. A runner that never reads, or not to the end, logs that by itself.
        """
        give_up = time.monotonic() + HAND_OVER_S
        while self.exit_code is None and time.monotonic() < give_up:
            try:
                sink = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # ENXIO: no reader yet
                time.sleep(0.005)
                continue
            fifo.unlink()
            os.set_blocking(sink, True)
            with suppress(BrokenPipeError), os.fdopen(sink, "wb") as out:
                out.write(self._spec.config.encode())
            return
        fifo.unlink()

    def _follow(self, stderr: IO[bytes]) -> None:
        with stderr:
            for raw in iter(lambda: stderr.readline(LONGEST_LINE), b""):
                text = raw.decode(errors="replace").rstrip("\n")
                if self._echo:
                    self._echo(text)
                line = read_log_line(text)
                if line:
                    self._lines.put(line)
