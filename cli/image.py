"""`runner-fleet image`: build the images of the machines, list them, use one, bake an AMI."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import docker
import typer
from docker.errors import DockerException

from adapters.aws.clients import Clients, clients
from cli.commands import DEFAULT_STACK, use_stack
from cli.consoles import add, console, listing
from cli.lines import say, say_json
from cli.options import AsJson, InJson, Stack
from cli.pairs import read_pair
from fleet.errors import Refused
from infra.image_sources import ImageSources, image_sources
from operations import images
from operations.bake import BakeRequest, bake as bake_image
from operations.images import BuildRequest, ImageKind, Workshop

app = typer.Typer(
    help="The images that machines start from: build, list, use, bake.", no_args_is_help=True
)

# The argument of the Dockerfile for a given gitlab-runner, by the processor in its ELF header.
_CHECKSUMS = {
    0x3E: ("x86_64", "GITLAB_RUNNER_SHA256_X86_64"),
    0xB7: ("arm64", "GITLAB_RUNNER_SHA256_ARM64"),
}

Here = Annotated[
    bool, typer.Option("--local", help="Build with the Docker engine of this machine, and push.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--arg", metavar="NAME=VALUE", help="An argument of infra/runner.Dockerfile."),
]
Binary = Annotated[
    Path | None,
    typer.Option("--gitlab-runner", help="Take this gitlab-runner instead of GitLab's release."),
]
Kinds = Annotated[
    list[str] | None, typer.Option("--for", metavar="KIND", help="ec2, ec2-arm64 or lambda.")
]
Reference = Annotated[
    str | None,
    typer.Argument(
        help="An image with its digest, …@sha256:…, or only the digest of one in the list;"
        " without it the newest of each kind."
    ),
]


def engine_here() -> Any:
    """A client of the engine that the environment names. Raises `Refused` when none answers."""
    engine = None
    try:
        engine = docker.from_env(timeout=600)
        engine.ping()
    except DockerException as error:
        if engine:
            engine.close()
        raise Refused(
            "no Docker engine answers here: start one, or leave --local out and have the images"
            " built in the account"
        ) from error
    return engine


JobImages = Annotated[
    list[str] | None, typer.Argument(help="Job images to pull in advance: public, or in your ECR.")
]
Arm64 = Annotated[bool, typer.Option("--arm64", help="For arm64 machines instead of x86-64 ones.")]
Subnet = Annotated[
    str | None, typer.Option("--subnet", help="Where to bake; else in the default network.")
]
SecurityGroup = Annotated[
    str | None, typer.Option("--security-group", help="Of that machine; with --subnet.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageWorld:
    """AWS, the sources and the local Docker engine. Tests put their own into the context."""

    aws: Clients
    sources: Callable[[Mapping[str, Path]], ImageSources] = lambda given: image_sources(given=given)
    engine: Callable[[], Any] = engine_here
    every_s: float = images.EVERY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildChoice:
    """What the options say of a build."""

    is_here: bool = False
    arguments: tuple[str, ...] = ()
    binary: Path | None = None
    kinds: tuple[str, ...] = ()


@app.command()
def build(  # noqa: PLR0913 - one argument for each option
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    local: Here = False,
    arg: Arguments = None,
    gitlab_runner: Binary = None,
    kind: Kinds = None,
    _as_json: InJson = False,
) -> None:
    """Build the images from these sources. Nothing uses them until `image use` or `deploy`.

    Example: runner-fleet image build --for ec2
    """
    world, workshop = _reach(ctx, stack)
    choice = BuildChoice(
        is_here=local, arguments=tuple(arg or ()), binary=gitlab_runner, kinds=tuple(kind or ())
    )
    for built, reference in build_images(world, workshop, choice).items():
        say(built.name, reference)
    say("put them to use with: runner-fleet image use")


@app.command("list")
def list_images(
    ctx: typer.Context, *, stack: Stack = DEFAULT_STACK, as_json: AsJson = False
) -> None:
    """List the images that the stack can use, and those that it uses.

    Example: runner-fleet image list
    """
    _, workshop = _reach(ctx, stack)
    rows = images.listed(workshop)
    if as_json:
        say_json({"images": [_row(row) for row in rows]})
        return
    if not rows:
        say("there is no image yet: runner-fleet image build")
        return
    columns = ("kind", "used", "pushed", "MB", "findings", "image")
    table = listing(workshop.repository.uri, *columns, whole=columns, right=("MB",))
    for row in rows:
        add(
            table,
            row.kind.name,
            "yes" if row.is_used else "",
            row.pushed_at.strftime("%Y-%m-%d %H:%M") if row.pushed_at else "elsewhere",
            "-" if row.size_bytes is None else f"{row.size_bytes / 1e6:.0f}",
            _findings(row.findings),
            row.reference.removeprefix(f"{workshop.repository.uri}@"),
        )
    console().print(table)


@app.command()
def use(
    ctx: typer.Context,
    reference: Reference = None,
    *,
    stack: Stack = DEFAULT_STACK,
    kind: Kinds = None,
    as_json: AsJson = False,
) -> None:
    """Start machines from this image, or from the newest of each kind, from now on.

    Example: runner-fleet image use --for lambda
    """
    world, workshop = _reach(ctx, stack)
    chosen = tuple(images.kind_named(name) for name in kind or ())
    if reference is None:
        wanted = images.newest(workshop)
        wanted = {kind: wanted[kind] for kind in chosen or wanted if kind in wanted}
        if not wanted:
            raise Refused("there is no such image yet: run `runner-fleet image build`")
    else:
        if reference.startswith("sha256:"):
            reference = f"{workshop.repository.uri}@{reference}"
        wanted = dict.fromkeys(chosen or (images.kind_of(workshop, reference),), reference)
    if as_json:
        change = images.use(world.aws, workshop, wanted, every_s=world.every_s)
        used = [
            {"kind": kind.name, "image": wanted[kind], "is_change": kind in change.changed}
            for kind in wanted
        ]
        say_json({"images": used, "notes": change.notes}, indent=2)
    else:
        put_to_use(world, workshop, wanted)


@app.command()
def bake(  # noqa: PLR0913 - one argument for each option
    ctx: typer.Context,
    job_images: JobImages = None,
    *,
    stack: Stack = DEFAULT_STACK,
    arm64: Arm64 = False,
    subnet: Subnet = None,
    security_group: SecurityGroup = None,
    _as_json: InJson = False,
) -> None:
    """Bake machine images that have the agent's and these job images, now and each week.

    Example: runner-fleet image bake node:22 python:3.12
    """
    world, workshop = _reach(ctx, stack)
    request = BakeRequest(
        architecture="arm64" if arm64 else "x86_64",
        job_images=tuple(job_images or ()),
        subnet=subnet,
        security_group=security_group,
        every_s=world.every_s * 3,
    )
    say("baking a machine image, which takes about half an hour")
    baked = bake_image(world.aws, workshop, request, say)
    say(f"machines start from {baked.machine_image} and its weekly successors: {baked.parameter}")


def build_images(
    world: ImageWorld, workshop: Workshop, choice: BuildChoice
) -> dict[ImageKind, str]:
    """Build what the choice says, showing its progress; the reference of each kind."""
    arguments = dict(read_pair(text, "an argument") for text in choice.arguments)
    kinds = tuple(images.kind_named(name) for name in choice.kinds) or images.KINDS
    given: dict[str, Path] = {}
    if choice.binary:
        architecture, argument = _checksum(choice.binary)
        given["gitlab-runner"] = choice.binary
        arguments.setdefault(argument, hashlib.sha256(choice.binary.read_bytes()).hexdigest())
        kinds = tuple(kind for kind in kinds if kind.architecture == architecture)
    request = BuildRequest(
        sources=world.sources(given), kinds=kinds, arguments=arguments, every_s=world.every_s
    )
    images.check_arguments(arguments)
    if choice.is_here:
        with closing(world.engine()) as engine:
            return images.build_here(engine, workshop, request, say)
    say("building the images in the account, which takes some minutes unless they are there")
    return images.build(world.aws, workshop, request, say)


def put_to_use(
    world: ImageWorld,
    workshop: Workshop,
    wanted: Mapping[ImageKind, str],
    given: Mapping[str, str] | None = None,
) -> None:
    """Have the stack use these images, and say so; `given`: the operator's parameters."""
    change = images.use(world.aws, workshop, wanted, given=given, every_s=world.every_s)
    for note in change.notes:
        say(note)
    for kind in wanted:
        word = "machines start from" if kind in change.changed else "unchanged:"
        say(kind.name, word, wanted[kind])


def _reach(ctx: typer.Context, stack: str) -> tuple[ImageWorld, Workshop]:
    use_stack(stack)
    world = ctx.obj if isinstance(ctx.obj, ImageWorld) else ImageWorld(aws=clients())
    return world, images.workshop_of(world.aws, stack)


def _checksum(binary: Path) -> tuple[str, str]:
    """The architecture of a program and the argument for its checksum."""
    head = binary.read_bytes()[:20]
    reference = (
        _CHECKSUMS.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None
    )
    if reference is None:
        raise Refused("this is no Linux program for x86-64 or arm64", file=binary)
    return reference


def _findings(findings: Mapping[str, int] | None) -> str:
    if findings is None:
        return "-"
    return ", ".join(f"{number} {word.lower()}" for word, number in findings.items()) or "none"


def _row(row: images.ListedImage) -> dict[str, object]:
    return {
        "kind": row.kind.name,
        "image": row.reference,
        "is_used": row.is_used,
        "pushed_at": row.pushed_at.isoformat() if row.pushed_at else None,
        "size_bytes": row.size_bytes,
        "findings": None if row.findings is None else dict(row.findings),
    }
