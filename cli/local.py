"""`runner-fleet local`: the service kept running on this machine, to push pipelines to."""

import errno
import fcntl
import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.burst import burst
from cli.chaos import chaos
from fleet.errors import Refused
from local.demo.project import CONFIG
from local.demo.run import register_webhook
from local.gitlab.seed import create_project
from local.laptop import Laptop, LaptopOptions

app = typer.Typer(help="The whole service on this machine.", no_args_is_help=True)
app.command()(chaos)
app.command()(burst)

GROUP, PROJECT = "acme", "acme/playground"
STOP_TIMEOUT_S = 60.0

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
HERE = Path(".runner-fleet/local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """What `local status` and `local down` know of a laptop that is up."""

    pid: int
    webhook: str
    gitlab: str
    engine: str
    clone: str
    stack: str


@app.command()
def up(data: Folder = HERE, gitlab_port: Port = 8929) -> None:
    """Start everything and stay; Ctrl-C, SIGTERM or `local down` end every process."""
    data.mkdir(parents=True, exist_ok=True)
    with _alone(data):
        _must_be_fresh(data)
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        try:
            with Laptop(data.resolve(), LaptopOptions(gitlab_port=gitlab_port)) as laptop:
                told = _prepare(laptop)
                _write(data, told, laptop.environment())
                _tell(told, data)
                stopped.wait()
                typer.echo("stopping")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise Refused("its port is taken: give another --gitlab-port, or 0") from error
        finally:
            (data / "up.json").unlink(missing_ok=True)
            (data / "env").unlink(missing_ok=True)


@app.command()
def down(data: Folder = HERE) -> None:
    """End a laptop that is up, with every process of it."""
    running = _read(data)
    if running is None:
        typer.echo("nothing is up")
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _is_held(data):
        if time.monotonic() > deadline:
            typer.echo(f"process {running.pid} did not end within {STOP_TIMEOUT_S:.0f} s", err=True)
            raise typer.Exit(1)
        time.sleep(0.1)
    typer.echo("down")


@app.command()
def status(data: Folder = HERE) -> None:
    """The addresses of a laptop that is up."""
    running = _read(data)
    if running is None:
        typer.echo("nothing is up: `runner-fleet local up`", err=True)
        raise typer.Exit(1)
    _tell(running, data)


def _prepare(laptop: Laptop) -> Up:
    """A group with our webhook and an empty project in it, on the demo's pools."""
    laptop.apply(CONFIG.format(gitlab_url=laptop.gitlab_url))
    readme = {"README.md": "# Playground\n\nAdd a `.gitlab-ci.yml` and push.\n"}
    project = create_project(laptop.gitlab_url, laptop.gitlab_token, PROJECT, readme)
    register_webhook(laptop, group=GROUP)
    return Up(
        pid=os.getpid(),
        webhook=laptop.stack.webhook_url,
        gitlab=laptop.gitlab_url,
        engine=laptop.engine.url,
        clone=project.clone_url,
        stack=laptop.stack.name,
    )


def _tell(told: Up, data: Path) -> None:
    typer.echo(
        f"webhook  {told.webhook}\n"
        f"GitLab   {told.gitlab}   (any project of group {GROUP} calls the webhook)\n"
        f"engine   {told.engine}   (AWS endpoint, stack {told.stack})\n"
        f"clone    git clone {told.clone}\n"
        "         (pages of pipelines and jobs ask for the same name and password)\n"
        f"then     . {shlex.quote(str(data / 'env'))} && runner-fleet status\n"
        "Jobs tagged `lambda` or `ec2` get runners. Ctrl-C or `runner-fleet local down` ends it."
    )


def _write(data: Path, told: Up, environment: dict[str, str]) -> None:
    """The addresses, and a file to source, readable by their owner only: they hold local keys."""
    names = [name for name in environment if name.startswith(("AWS_", "GITLAB_"))]
    lines = "".join(f"export {name}='{environment[name]}'\n" for name in names)
    for name, text in (("env", lines), ("up.json", json.dumps(asdict(told)))):
        path = data / name
        path.touch(mode=0o600)
        path.write_text(text)


def _read(data: Path) -> Up | None:
    """The laptop that is up in this folder. A file that a killed one left says nothing."""
    path = data / "up.json"
    if not path.exists() or not _is_held(data):
        return None
    try:
        return Up(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise Refused(
            "this file is not as `local up` writes it: end it by hand", file=path
        ) from error


# What an earlier one leaves: its engine's state, its repositories, its guests' files.
REMAINS = ("engine", "gitlab", "lambda", "guests")


def _must_be_fresh(data: Path) -> None:
    """Refuse a folder that an earlier `local up` used: its jobs and repositories are not taken up.

    They are not deleted either: somebody may have pushed there.
    """
    if any((data / name).exists() for name in REMAINS):
        raise Refused(
            "an earlier `local up` left its files here: "
            f"remove them (rm -r {shlex.quote(str(data))}), or give another folder with --data",
            folder=data,
        )


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Be the only one in this folder; the system ends that with the process, however it ends."""
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            option = "" if data == HERE else f"; both with --data {shlex.quote(str(data))}"
            raise Refused(
                "it is up already: `runner-fleet local status` tells its addresses, "
                f"`runner-fleet local down` ends it{option}",
                folder=data,
            ) from error
        yield


def _is_held(data: Path) -> bool:
    """Whether a process is up here: its number alone may be another's by now."""
    try:
        with _alone(data):
            return False
    except Refused:
        return True
