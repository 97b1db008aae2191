"""`runner-fleet local`: the service kept running on this machine, to push pipelines to."""

import errno
import fcntl
import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.burst import burst
from cli.chaos import chaos
from cli.commands import LAPTOP, STACK_VARIABLE
from cli.lines import say, say_json
from cli.machines import MachineForm, Machines, containers
from cli.options import AsJson, InJson
from fleet.errors import FleetError, Refused
from local.demo.project import CONFIG
from local.fleet_file import FILE, keep_applied, put_in_force
from local.former_laptop import make_private, restore_projects, set_aside
from local.gitlab.seed import create_project
from local.laptop import Laptop, LaptopOptions
from operations.executors import EXECUTORS_VARIABLE

app = typer.Typer(help="The whole service on this machine.", no_args_is_help=True)
app.command()(chaos)
app.command()(burst)

GROUP, PROJECT = "acme", "acme/playground"
STOP_TIMEOUT_S = 60.0
LOCK = "lock"

Folder = Annotated[
    Path,
    typer.Option(
        "--data", file_okay=False, help="Where it keeps its files; one laptop per folder."
    ),
]
Port = Annotated[
    int,
    typer.Option("--gitlab-port", min=0, max=65535, help="Port of GitLab; 0 takes a free one."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLaptop:
    """The addresses of a running laptop, for `local status` and `local down`."""

    pid: int
    webhook: str
    gitlab: str
    engine: str
    clone: str
    stack: str
    tags: tuple[str, ...] = ()


@app.command()
def up(
    data: Folder = LAPTOP,
    gitlab_port: Port = 8929,
    machines: Machines = MachineForm.PROCESSES,
    *,
    _as_json: InJson = False,
) -> None:
    """Start everything and stay; Ctrl-C, SIGTERM or `local down` end every process.

    Example: runner-fleet local up --gitlab-port 0
    """
    options = LaptopOptions(gitlab_port=gitlab_port, containers=containers(machines))
    with _folder(data), _hold_lock(data):
        set_aside(data)
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        try:
            with Laptop(data.resolve(), options) as laptop:
                running = _prepare(laptop, data)
                _write(data, running, laptop.environment())
                say(laptop.about_machines, err=True)
                _show(running, data)
                stopped.wait()
                say("stopping")
                keep_applied(data, laptop.fleet_rows)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Refused("GitLab's port is in use: give another --gitlab-port, or 0") from error
        finally:
            (data / "up.json").unlink(missing_ok=True)
            (data / "env").unlink(missing_ok=True)


@app.command()
def down(data: Folder = LAPTOP, *, _as_json: InJson = False) -> None:
    """End a running laptop, with every process of it.

    Example: runner-fleet local down
    """
    running = _read(data)
    if running is None:
        say("nothing is running")
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_held(data):
        if time.monotonic() > deadline:
            say(
                f"Error: process {running.pid} did not end within {STOP_TIMEOUT_S:.0f} s: kill it",
                err=True,
            )
            raise typer.Exit(1)
        time.sleep(0.1)
    say("down")


@app.command()
def status(data: Folder = LAPTOP, *, as_json: AsJson = False) -> None:
    """Print the addresses of a running laptop.

    Example: runner-fleet local status
    """
    running = _read(data)
    if running is None:
        say(
            f"Error: nothing is running: start it with `runner-fleet local up{_option(data)}`",
            err=True,
        )
        raise typer.Exit(1)
    if as_json:
        say_json(asdict(running), indent=2)
        return
    _show(running, data)


def _prepare(laptop: Laptop, data: Path) -> RunningLaptop:
    """A group with our webhook and a project in it, on the pools of the folder's fleet.toml."""
    url, token = laptop.gitlab_url, laptop.gitlab_token
    projects = restore_projects(data, gitlab_url=url, token=token)
    readme = {"README.md": "# Playground\n\nAdd a `.gitlab-ci.yml` and push.\n"}
    project = projects.get(PROJECT) or create_project(url, token, PROJECT, readme)
    default = CONFIG.format(gitlab_url=url)
    for line in put_in_force(laptop.apply, data, default, gitlab_url=url):
        say(line, err=True)
    keep_applied(data, laptop.fleet_rows)
    laptop.register_webhook(group=GROUP)
    return RunningLaptop(
        pid=os.getpid(),
        webhook=laptop.stack.webhook_url,
        gitlab=laptop.gitlab_url,
        engine=laptop.engine.url,
        clone=project.clone_url,
        stack=laptop.stack.name,
        tags=laptop.tags,
    )


def _show(running: RunningLaptop, data: Path) -> None:
    folder = data.resolve()  # the shell looks for a name without a slash on PATH
    environment, fleet = shlex.quote(str(folder / "env")), shlex.quote(str(folder / FILE))
    for line in (
        f"webhook  {running.webhook}",
        f"GitLab   {running.gitlab}   (any project of group {GROUP} calls the webhook)",
        f"engine   {running.engine}   (AWS endpoint, stack {running.stack})",
        f"clone    git clone {running.clone}",
        "         (pages of pipelines and jobs ask for the same name and password)",
        f"then     . {environment} && runner-fleet status",
        f"pages    . {environment} && runner-fleet dashboard --open",
        f"pools    edit {fleet}, then: . {environment} && runner-fleet apply {fleet}",
        f"{_served(running.tags)}Ctrl-C or `runner-fleet local down{_option(data)}` ends it.",
    ):
        say(line)


def _served(tags: Sequence[str]) -> str:
    *others, last = (f"`{tag}`" for tag in tags) if tags else ("",)
    names = f"{', '.join(others)} or {last}" if others else last
    return f"Jobs tagged {names} get runners. " if names else ""


def _write(data: Path, running: RunningLaptop, environment: dict[str, str]) -> None:
    """The addresses, and a file to source, readable by their owner only: they hold local keys."""
    names = [name for name in environment if name.startswith(("AWS_", "GITLAB_"))]
    names += [EXECUTORS_VARIABLE] if EXECUTORS_VARIABLE in environment else []
    values = {name: environment[name] for name in names} | {STACK_VARIABLE: running.stack}
    lines = "".join(f"export {name}='{value}'\n" for name, value in values.items())
    for name, text in (("env", lines), ("up.json", json.dumps(asdict(running)))):
        path = data / name
        path.touch(mode=0o600)
        path.write_text(text)


def _read(data: Path) -> RunningLaptop | None:
    """The running laptop of this folder; None without one, whatever file a killed one left."""
    path = data / "up.json"
    if not path.exists() or not _is_held(data):
        return None
    try:
        return RunningLaptop(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise Refused(
            "`local up` did not write this file: end its process by hand", file=path
        ) from error


@contextmanager
def _folder(data: Path) -> Iterator[None]:
    """Make the folder. A start that fails before it writes there removes what it made."""
    made = [folder for folder in (data, *data.parents) if not folder.exists()]
    make_private(data)
    try:
        yield
    except (FleetError, OSError):
        if made and {path.name for path in data.iterdir()} <= {LOCK}:
            (data / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # another process put something in between
                for folder in made:
                    folder.rmdir()
        raise


@contextmanager
def _hold_lock(data: Path) -> Iterator[None]:
    """Hold this folder's lock, which ends with the process. `Refused` where it is held."""
    with (data / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            option = _option(data)
            raise Refused(
                f"a laptop is already running here: `runner-fleet local status{option}` shows its "
                f"addresses, `runner-fleet local down{option}` ends it",
                folder=data,
            ) from error
        yield


def _option(data: Path) -> str:
    """The option with which a command reaches this folder's laptop."""
    return "" if data == LAPTOP else f" --data {shlex.quote(str(data))}"


def _is_held(data: Path) -> bool:
    """Whether a laptop runs here: its process number alone may be another process's by now."""
    try:
        with _hold_lock(data):
            return False
    except Refused:
        return True
