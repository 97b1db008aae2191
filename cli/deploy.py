"""`runner-fleet deploy`: the fleet's template on AWS, the functions' code, and the images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CalledProcessError
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from adapters.aws.clients import clients
from adapters.gitlab.reach import GitLabAnswer, ask_gitlab
from adapters.gitlab.way import Way
from cli.commands import DEFAULT_STACK, FILE, use_stack
from cli.image import BuildChoice, Here, ImageWorld, build_images, put_to_use
from cli.lines import say
from cli.options import InJson, Region, Stack, take_file
from cli.pairs import read_pair
from cli.validate import read_file
from fleet.config.reading import ConfigError
from fleet.errors import Refused
from infra import package
from infra.bytecode import python_of
from operations import images
from operations.deploy import Deployment, DeployResult, deploy as deploy_stack
from operations.deploy_check import check_deployment
from operations.gitlab_access import way_to
from operations.gitlab_reach import NETWORK, check_reach
from operations.stacks import parameters_of

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
File = Annotated[
    Path,
    typer.Option(
        "--file", callback=take_file, help="The fleet.toml with the GitLab that must answer."
    ),
]
AskGitLab = Annotated[
    bool,
    typer.Option("--gitlab/--no-gitlab", help="Ask that GitLab, from here and from the functions."),
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
        python = python_of(package.RUNTIME)
        if python is None:
            wanted = "{}.{}".format(*package.RUNTIME)
            say(
                f"no Python {wanted} and no uv is here, so the functions are packed uncompiled: a"
                " cold start takes about half a second more"
            )
        return package.functions_zip(dependencies=dependencies, python=python)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployWorld(ImageWorld):
    """What `deploy` works with: AWS, images, the packing of the functions, and GitLab."""

    pack: Callable[[], bytes] = packed
    ask: Callable[[str, Way], GitLabAnswer] = ask_gitlab


def deploy(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    stack: Stack = DEFAULT_STACK,
    region: Region = "",
    bucket: Bucket = None,
    parameter: Parameters = None,
    with_images: WithImages = True,
    local: Here = False,
    path: File = FILE,
    with_gitlab: AskGitLab = True,
    _as_json: InJson = False,
) -> None:
    """Deploy the fleet's template to AWS, or bring it up to date.

    Example: runner-fleet deploy --region eu-central-1 -p LogDays=7
    """
    use_stack(stack)
    parameters = dict(read_pair(text, "a parameter") for text in parameter or ())
    deployment = Deployment(stack=stack, bucket=bucket, parameters=parameters)
    world = ctx.obj if isinstance(ctx.obj, DeployWorld) else DeployWorld(aws=clients(region=region))
    check_deployment(world.aws, deployment)
    gitlab = _gitlab_in(path) if with_gitlab else None
    if gitlab:
        _ask_from_here(world, deployment, *gitlab)
    say("installing the dependencies of the functions")
    code = world.pack()
    say(f"deploying {stack}, which takes some minutes")
    result = deploy_stack(world.aws, deployment, code)
    if with_images:
        _bring_images(world, stack, parameters, BuildChoice(is_here=local))
    works, sentence = True, ""
    if gitlab:
        works, sentence = check_reach(world.aws, stack, *gitlab)
        if works:
            say(sentence)
    _show(stack, result)
    if not works:
        raise Refused(sentence)


def _gitlab_in(path: Path) -> tuple[str, Way] | None:
    """The address of the file's GitLab and the way there; None, and why, without such a file."""
    if not path.exists():
        say(f"no {path} here, so GitLab is not asked: `runner-fleet doctor` does, after `apply`")
        return None
    try:
        _, config = read_file(path)
    except ConfigError:
        say(f"{path} is not valid, so GitLab is not asked: see `runner-fleet validate`")
        return None
    return config.gitlab.url, way_to(config.gitlab, path)


def _ask_from_here(world: DeployWorld, deployment: Deployment, url: str, way: Way) -> None:
    """Say whether GitLab answers. Raises `Refused` where the functions have no network for it."""
    answer = world.ask(url, way)
    if answer.answers:
        say(f"GitLab answers at {url}")
        return
    words = f"GitLab does not answer at {url}: {answer.failure}"
    if not {**parameters_of(world.aws, deployment.stack), **deployment.parameters}.get(NETWORK):
        raise Refused(f"{words}; --no-gitlab deploys without GitLab")
    say(f"{words}; the functions are asked later, from their network")


def _bring_images(
    world: DeployWorld, stack: str, parameters: Mapping[str, str], choice: BuildChoice
) -> None:
    """Build and use the images of these sources, except where the operator chose an image."""
    workshop = images.workshop_of(world.aws, stack)
    kinds = [kind.name for kind in images.own_kinds(workshop) if not parameters.get(kind.parameter)]
    if kinds:
        choice = replace(choice, kinds=tuple(kinds))
        put_to_use(world, workshop, build_images(world, workshop, choice), parameters)


def _show(stack: str, result: DeployResult) -> None:
    for note in result.notes:
        say(note)
    say(f"{stack} is {result.word}; webhook URL: {result.outputs.get('WebhookUrl')}")
    if result.word == "created":
        for line in NEXT.splitlines():
            say(line)
