"""`runner-fleet deploy`: the fleet's template on AWS, with the functions' code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from adapters.aws.clients import Clients, clients
from cli.commands import DEFAULT_STACK, use_stack, with_stack
from cli.lines import say
from cli.options import Region, Stack
from fleet.errors import Refused
from infra import package
from operations.deploy import Deployment, DeployResult, check, deploy as deploy_stack

Bucket = Annotated[
    str | None,
    typer.Option("--bucket", help="Bucket for the code; by default the command makes one."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Of infra/template.yaml."),
]
Image = Annotated[
    str | None,
    typer.Option("--lambda-image", help="Image of the Lambda runners in ECR, with its digest."),
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
class DeployWorld:
    """AWS and the packing. Tests put their own into the command's context."""

    aws: Clients
    pack: Callable[[], bytes] = packed


def deploy(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    bucket: Bucket = None,
    lambda_image: Image = None,
    parameter: Parameters = None,
) -> None:
    """Deploy the fleet's template to AWS, or bring it up to date.

    Example: runner-fleet deploy --region eu-central-1 -p LogDays=7
    """
    use_stack(stack)
    given = dict(read_parameter(text) for text in parameter or ())
    if lambda_image:
        given["LambdaImage"] = lambda_image
    order = Deployment(stack=stack, bucket=bucket, parameters=given)
    world = ctx.obj if isinstance(ctx.obj, DeployWorld) else DeployWorld(aws=clients(region=region))
    check(world.aws, order)
    say("installing the dependencies of the functions")
    code = world.pack()
    say(f"deploying {stack}, which takes some minutes")
    _show(stack, deploy_stack(world.aws, order, code))


def read_parameter(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as two. `Refused` without a name or an equals sign."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Refused("write a parameter as NAME=VALUE", given=text)
    return name, value


def _show(stack: str, done: DeployResult) -> None:
    for note in done.notes:
        say(note)
    say(f"{stack} is {done.word}; webhook URL: {done.outputs.get('WebhookUrl')}")
    if done.word == "created":
        for line in with_stack(NEXT).splitlines():
            say(line)
