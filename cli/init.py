"""`runner-fleet init`: a first fleet.toml, from questions or from flags."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from adapters.aws.clients import Clients, clients
from adapters.gitlab.client import GitLab
from adapters.gitlab.tls_ca import read_tls_ca
from adapters.gitlab.way import Way
from cli.lines import say
from cli.options import InJson, Local, Region
from cli.validate import MARKS
from fleet.config.reading import read_config
from fleet.errors import Refused
from fleet.rules.quotas import AccountQuotas, FirstPools, first_pools
from fleet.words import counted
from operations.account import caller, quotas_of
from operations.clock import now
from operations.gitlab_access import Connect, connect, token_in
from operations.init import (
    INSTANCE_TYPES,
    Address,
    FirstFile,
    GitLabOwner,
    find_network,
    find_owner,
    first_text,
    read_pasted,
    token_page,
)
from operations.token_check import MAINTAINER, OWNER, TokenNeed, check_token

Where = Annotated[
    str | None,
    typer.Option("--in", help="Group or project whose jobs the fleet runs: its page's address."),
]
GitLabUrl = Annotated[
    str | None,
    typer.Option("--gitlab-url", envvar="GITLAB_URL", help="GitLab's address, if --in has none."),
]
RunnersInOption = Annotated[
    Literal["project", "group"] | None,
    typer.Option("--runners-in", help="Runners of each job's own project (safer), or the group's."),
]
Socket = Annotated[
    bool | None,
    typer.Option("--socket/--no-socket", help="Let jobs use their machine's Docker engine."),
]
Executor = Annotated[
    Literal["docker", "shell"],
    typer.Option("--executor", help="shell: EC2 jobs run on their machine, without containers."),
]
Vpc = Annotated[
    str | None, typer.Option("--vpc", help="Network for the machines; by default one is made.")
]
Subnets = Annotated[
    list[str] | None, typer.Option("--subnet", help="Of --vpc; by default all of them.")
]
TokenEnv = Annotated[
    str, typer.Option("--token-env", help="Environment variable that holds the GitLab token.")
]
TlsCaFile = Annotated[
    Path | None,
    typer.Option("--tls-ca-file", help="PEM file with GitLab's own certificate authority."),
]
Output = Annotated[Path, typer.Option("--file", dir_okay=False, help="Where to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class InitWorld:
    """AWS, GitLab, and whether a person answers. Tests put their own into the context."""

    aws: Callable[[str], Clients] = field(default=lambda region: clients(region=region))
    connect: Connect = connect
    asks: bool = field(default_factory=lambda: sys.stdin.isatty() and sys.stdout.isatty())

    def ask(self, given: Answer | None, flag: str, question: Callable[[], Answer]) -> Answer:
        """What was given, else the answer. `Refused` where no person answers."""
        if given is not None:
            return given
        if not self.asks:
            raise Refused(f"no terminal to ask: give {flag}")
        return question()


def init(  # noqa: PLR0913  # a command's parameters are its options
    ctx: typer.Context,
    *,
    where: Where = None,
    gitlab_url: GitLabUrl = None,
    runners_in: RunnersInOption = None,
    socket: Socket = None,
    executor: Executor = "docker",
    _local: Local = False,
    _as_json: InJson = False,
    region: Region = "",
    vpc: Vpc = None,
    subnet: Subnets = None,
    token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    tls_ca_file: TlsCaFile = None,
    path: Output = Path("fleet.toml"),
    force: Force = False,
) -> None:
    """Write a first fleet.toml that fits the account.

    Example: runner-fleet init --in https://gitlab.example.com/acme --no-socket
    """
    world = ctx.obj if isinstance(ctx.obj, InitWorld) else InitWorld()
    _may_write(world, path, force=force)
    address = read_pasted(world.ask(where, "--in", _ask_where), gitlab_url or "")
    token, is_new = _token(world, address, token_env)
    way = Way(tls_ca=read_tls_ca(tls_ca_file, at=now()) if tls_ca_file else "")
    gitlab = world.connect(address.url, token, way)
    owner = find_owner(gitlab, address.path)
    say(f"GitLab {gitlab.version()}: {owner.kind} {owner.path}, number {owner.id}")
    kind, has_socket = _runners_in(world, runners_in, owner), _socket(world, socket, executor)
    pools, options = _account(world, region, vpc, tuple(subnet or ()))
    file = FirstFile(
        gitlab_url=address.url,
        owner=owner,
        runners_in=kind,
        socket=has_socket,
        pools=pools,
        deploy=options,
        tls_ca_file=str(tls_ca_file.resolve()) if tls_ca_file else "",
        executor=executor,
    )
    text = first_text(file)
    config = read_config(text, name=path.name)
    needs = (*check_token(config, gitlab, now()), *_access(gitlab, owner))
    path.write_text(text)
    say(f"wrote {path}: {_described(pools)}")
    _show_needs(needs, address)
    say("next:")
    if is_new:
        say(f"  export {token_env}=...   # the token, for the commands of this shell")
    if owner.kind == "project":
        options = (*options, f"--test-project {owner.path}")
    say(f"  {' '.join(['runner-fleet up', *options])}")


def _account(
    world: InitWorld, region: str, vpc: str | None, subnets: tuple[str, ...]
) -> tuple[FirstPools, tuple[str, ...]]:
    """Pools that fit the account, and the options with which its fleet is deployed."""
    aws = world.aws(region)
    identity, quotas = caller(aws), quotas_of(aws)
    say(f"AWS account {identity.account} in {identity.region}: {_allowed(quotas)}")
    network = find_network(aws, _vpc(world, vpc), subnets)
    pools = first_pools(quotas, INSTANCE_TYPES)
    options = [f"--region {identity.region}"] if region else []
    options += [f"--parameter {parameter}" for parameter in network.parameters()]
    options += ["--parameter LargestRunner=2gb"] if pools.size == "2GB" else []
    return pools, tuple(options)


def _show_needs(needs: tuple[TokenNeed, ...], address: Address) -> None:
    say("GitLab says of the token:")
    for need in needs:
        say(f"  {MARKS[need.is_met]:4} {need.need}")
    if any(need.is_met is False for need in needs):
        say(f"make a token that may do all of it: {token_page(address.url)}", err=True)
        raise typer.Exit(1)


def _may_write(world: InitWorld, path: Path, *, force: bool) -> None:
    if not path.exists() or force:
        return
    if not world.asks:
        raise Refused(
            "the file exists: give --force to replace it, or --file for another",
            file=str(path),
        )
    if not typer.confirm(f"{path} exists. Replace it?", default=False):
        raise typer.Exit(1)


def _ask_where() -> str:
    return str(typer.prompt("Address of the group or project whose jobs the fleet runs"))


def _token(world: InitWorld, address: Address, token_env: str) -> tuple[str, bool]:
    """The token, and whether it was typed in now."""
    if os.environ.get(token_env, "").strip() or not world.asks:
        try:
            return token_in(token_env), False
        except Refused as error:
            raise Refused(f"{error}; make one at {token_page(address.url)}") from error
    say(f"make a token here, its scopes are filled in: {token_page(address.url)}")
    return str(typer.prompt("The token", hide_input=True)).strip(), True


def _runners_in(
    world: InitWorld, given: Literal["project", "group"] | None, owner: GitLabOwner
) -> Literal["project", "group"]:
    if owner.kind == "project":
        if given == "group":
            raise Refused(
                "--runners-in group needs a group: --in names a project", project=owner.path
            )
        return "project"
    if given is not None:
        return given
    if not world.asks:
        return "project"
    question = "Make each runner in its job's own project? (recommended; no: in the whole group)"
    return "project" if typer.confirm(question, default=True) else "group"


def _socket(world: InitWorld, given: bool | None, executor: str) -> bool:
    if executor == "shell":
        return False
    if given is not None or not world.asks:
        return bool(given)
    question = (
        "Do jobs run `docker build`? It gives them the engine's socket: each job can then be root"
        " of its machine, which serves that job only"
    )
    return typer.confirm(question, default=False)


def _vpc(world: InitWorld, given: str | None) -> str:
    if given is not None or not world.asks:
        return given or ""
    question = "Network (VPC) for the machines; empty makes a small one"
    return str(typer.prompt(question, default="", show_default=False)).strip()


def _access(gitlab: GitLab, owner: GitLabOwner) -> Iterator[TokenNeed]:
    """Whether the token's user may register webhooks and make runners there."""
    if owner.kind == "group":
        role, has_role = "owner", gitlab.has_group(owner.id, role=OWNER)
    else:
        role, has_role = "maintainer", gitlab.role_in_project(owner.id) >= MAINTAINER
    need = f"its user is {role} of {owner.kind} {owner.path}, or an administrator"
    yield TokenNeed(need=need, is_met=has_role or _is_administrator(gitlab))


def _is_administrator(gitlab: GitLab) -> bool:
    try:
        return gitlab.is_administrator()
    except Refused:  # a token that may not ask who it is
        return False


def _allowed(quotas: AccountQuotas) -> str:
    def most(value: int | None, of: str) -> str:
        return f"{of}: unknown" if value is None else f"{value} {of}"

    return ", ".join(
        (
            most(quotas.on_demand_vcpus, "on-demand vCPUs"),
            most(quotas.spot_vcpus, "spot vCPUs"),
            most(quotas.lambda_at_once, "Lambda invocations at once"),
        )
    )


def _described(pools: FirstPools) -> str:
    parts = [f"docker on EC2, at most {counted(pools.ec2, 'machine')}"] if pools.ec2 else []
    if pools.lambda_:
        parts.append(
            f"node in Lambda with {pools.size}, at most {counted(pools.lambda_, 'runner')}"
        )
    return "; ".join(parts)
