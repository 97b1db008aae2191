"""`runner-fleet local`: the service kept running on this machine, to push pipelines to."""

import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.burst import burst
from cli.chaos import chaos
from local.demo import register_webhook
from local.demo_project import CONFIG
from local.gitlab.seed import create_project
from local.laptop import Laptop, LaptopOptions

app = typer.Typer(help="The whole service on this machine.", no_args_is_help=True)
app.command()(chaos)
app.command()(burst)

GROUP, PROJECT = "acme", "acme/playground"
STOP_TIMEOUT_S = 60.0

Folder = Annotated[
    Path, typer.Option("--data", help="Where it keeps its files; one laptop per folder.")
]
Port = Annotated[int, typer.Option("--gitlab-port", help="Port of GitLab; 0 takes a free one.")]
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
    running = _read(data)
    if running is not None:
        typer.echo(
            f"it is up already, process {running.pid}: `runner-fleet local status`", err=True
        )
        raise typer.Exit(1)
    data.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    laptop = Laptop(data.resolve(), LaptopOptions(gitlab_port=gitlab_port))
    try:
        with laptop:
            told = _prepare(laptop)
            _write(data, told, laptop.environment())
            _tell(told, data)
            stopped.wait()
            typer.echo("stopping")
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
    while _is_alive(running.pid):
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
        typer.echo("nothing is up: `runner-fleet local up`")
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
        f"then     . {data / 'env'} && runner-fleet status\n"
        "Jobs tagged `lambda` or `ec2` get runners. Ctrl-C or `runner-fleet local down` ends it."
    )


def _write(data: Path, told: Up, environment: dict[str, str]) -> None:
    """The addresses, and a file to source, readable by its owner only: it holds local keys."""
    names = [name for name in environment if name.startswith(("AWS_", "GITLAB_"))]
    env = data / "env"
    env.touch(mode=0o600)
    env.write_text("".join(f"export {name}='{environment[name]}'\n" for name in names))
    (data / "up.json").write_text(json.dumps(asdict(told)))


def _read(data: Path) -> Up | None:
    try:
        told = Up(**json.loads((data / "up.json").read_text()))
    except FileNotFoundError:
        return None
    return told if _is_alive(told.pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
