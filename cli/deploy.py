"""`runner-fleet deploy`: the fleet's template on AWS, the functions' code, and the images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from adapters.aws.clients import clients
from cli.commands import DEFAULT_STACK, use_stack
from cli.image import BuildChoice, Here, ImageWorld, build_images, put_to_use
from cli.lines import say
from cli.options import InJson, Region, Stack
from cli.pairs import read_pair
from fleet.errors import Refused
from infra import package
from operations import images
from operations.deploy import Deployment, DeployResult, check, deploy as deploy_stack

Bucket = Annotated[
    str | None,
    typer.Option("--bucket", help="Bucket for the code; by default the command makes one."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of infra/template.yaml."),
]
WithImages = Annotated[
    bool,
    typer.Option("--images/--no-images", help="Build what is new of the images, and use it."),
]
NEXT = """next:
  runner-fleet apply --gitlab-token-env GITLAB_TOKEN
  runner-fleet webhook register --gitlab-url https://gitlab.example.com --group my-group"""


def packed() -> bytes:
    """The functions' zip with their dependencies. Raises `Refused` when pip fails."""
    with TemporaryDirectory(prefix="runner-fleet-") as folder:
        try:
            dependencies = package.install_dependencies(Path(folder))
        except CalledProcessError as error:
            raise Refused("pip could not install the dependencies: read its lines above") from error
        return package.functions_zip(dependencies=dependencies)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployWorld(ImageWorld):
    """And the packing of the functions."""

    pack: Callable[[], bytes] = packed


def deploy(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    bucket: Bucket = None,
    parameter: Parameters = None,
    with_images: WithImages = True,
    local: Here = False,
    as_json: InJson = False,
) -> None:
    """Deploy the fleet's template to AWS, or bring it up to date.

    Example: runner-fleet deploy --region eu-central-1 -p LogDays=7
    """
    del as_json  # its callback has acted
    use_stack(stack)
    given = dict(read_pair(text, "a parameter") for text in parameter or ())
    order = Deployment(stack=stack, bucket=bucket, parameters=given)
    world = ctx.obj if isinstance(ctx.obj, DeployWorld) else DeployWorld(aws=clients(region=region))
    check(world.aws, order)
    say("installing the dependencies of the functions")
    code = world.pack()
    say(f"deploying {stack}, which takes some minutes")
    done = deploy_stack(world.aws, order, code)
    if with_images:
        _bring_images(world, stack, given, BuildChoice(is_here=local))
    _show(stack, done)


def _bring_images(
    world: DeployWorld, stack: str, given: Mapping[str, str], choice: BuildChoice
) -> None:
    """Build and use the images of these sources, but where the operator chose an image."""
    workshop = images.workshop_of(world.aws, stack)
    kinds = [kind.name for kind in images.ours(workshop) if not given.get(kind.parameter)]
    if kinds:
        choice = replace(choice, kinds=tuple(kinds))
        put_to_use(world, workshop, build_images(world, workshop, choice))


def _show(stack: str, done: DeployResult) -> None:
    for note in done.notes:
        say(note)
    say(f"{stack} is {done.word}; webhook URL: {done.outputs.get('WebhookUrl')}")
    if done.word == "created":
        for line in NEXT.splitlines():
            say(line)
