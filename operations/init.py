"""A first fleet.toml: where GitLab's projects are, what the account allows, and the text."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode, urlsplit

from adapters.aws.clients import Clients, aws_call
from adapters.gitlab.client import GitLab
from fleet.config.gitlab_address import read_address
from fleet.errors import Refused
from fleet.rules.quotas import FirstPools

INSTANCE_TYPES = ("m7i.large", "m7a.large", "m6i.large")
# `api` is for retries, for the webhook, and for switching it on again; it includes `read_api`.
SCOPES = ("api", "create_runner", "manage_runner")
# Beginnings of addresses that are pages around a group or project.
_BEFORE = ("groups/", "projects/")

_EC2_POOL = """
# `tags: [docker]` in .gitlab-ci.yml: a machine of its own for each job.
[pools.docker]
backend = "ec2"
tags = ["docker"]
# Several types of about one size find more spot machines.
instance_types = [{types}]
market = "spot-then-on-demand"
# Most machines at once: it limits the bill. This is what the account's quotas allow.
ceiling = {ceiling}
{how}
max_lifetime = "3h\""""
_IN_CONTAINERS = """\
# true mounts the engine's socket into each job: `docker build` works, and every job can be
# root of its machine, which serves that one job only.
docker = {{ socket = {socket} }}"""
_ON_THE_MACHINE = """\
# Jobs run on the machine itself, without containers: `image:` and `services:` have no effect.
executor = "shell\""""

_LAMBDA_POOL = """
# `tags: [node]`: light jobs of up to 14 minutes, without Docker, within seconds.
[pools.node]
backend = "lambda"
tags = ["node"]
size = "{size}"
ceiling = {ceiling}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A GitLab and the group or project of a pasted address; `path` may be empty."""

    url: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabOwner:
    """The group or project whose jobs the fleet runs."""

    kind: Literal["group", "project"]
    id: int
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The account's network for the machines; all empty lets the deployment make its own."""

    vpc: str = ""
    subnets: tuple[str, ...] = ()

    def parameters(self) -> tuple[str, ...]:
        """The template's parameters, as `deploy --parameter` takes them."""
        if not self.vpc:
            return ()
        return (f"VpcId={self.vpc}", f"SubnetIds={','.join(self.subnets)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFile:
    """What a first fleet.toml is made of."""

    gitlab_url: str
    owner: GitLabOwner
    runners_in: Literal["project", "group"]
    socket: bool
    pools: FirstPools
    deploy: tuple[str, ...] = ()  # the words after `runner-fleet up`
    tls_ca_file: str = ""
    executor: Literal["docker", "shell"] = "docker"


def read_pasted(text: str, gitlab_url: str = "") -> Address:
    """The parts of a page's address, or of a path below `gitlab_url`. `Refused` for neither.

    A GitLab below a path of its host needs `gitlab_url`.
    """
    pasted = text.strip()
    if "://" not in pasted:
        if not gitlab_url:
            raise Refused(
                "write the address of a group or project, such as https://gitlab.example.com/acme,"
                " or give --gitlab-url as well",
                given=pasted,
            )
        return Address(url=_address(gitlab_url), path=_path(pasted))
    parts = urlsplit(pasted)
    base = _address(gitlab_url or f"{parts.scheme}://{parts.netloc}")
    if gitlab_url and not f"{pasted.rstrip('/')}/".startswith(f"{base}/"):
        raise Refused("this group or project is not below --gitlab-url", given=pasted, url=base)
    below = parts.path.removeprefix(urlsplit(base).path)
    return Address(url=base, path=_path(below))


def token_page(url: str) -> str:
    """The page on which a person makes the fleet's token, its name and scopes filled in."""
    query = urlencode({"name": "runner-fleet", "scopes": ",".join(SCOPES)}, safe=",")
    return f"{url}/-/user_settings/personal_access_tokens?{query}"


def find_owner(gitlab: GitLab, path: str) -> GitLabOwner:
    """The project or the group of this path or number. `Refused` where the token sees neither."""
    if not path:
        raise Refused("name the group or project whose jobs the fleet runs: paste its address")
    try:
        project = gitlab.project(path)
        return GitLabOwner(kind="project", id=project.id, path=project.path)
    except Refused as error:
        if error.facts.get("status") != 404:
            raise
    try:
        return GitLabOwner(kind="group", id=gitlab.group(path), path=path)
    except Refused as error:
        if error.facts.get("status") != 404:
            raise
        raise Refused(
            "GitLab shows this token no project and no group of that name: check the address,"
            " and that the token's user is a member",
            name=path,
        ) from error


def find_network(aws: Clients, vpc: str, subnets: Sequence[str]) -> Network:
    """The network with the named subnets, else with all. `Refused` for what is not there.

    Empty names leave the network to the deployment.
    """
    if not vpc:
        if subnets:
            raise Refused("--subnet needs --vpc")
        return Network()
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    with aws_call("ec2.DescribeSubnets"):
        answer = aws.ec2.describe_subnets(Filters=filters)  # type: ignore[arg-type]
    zones = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in answer["Subnets"]}
    if not zones:
        raise Refused("this network has no subnets, or is not in this region", vpc=vpc)
    if missing := [subnet for subnet in subnets if subnet not in zones]:
        raise Refused("this subnet is not in that network", vpc=vpc, subnet=missing[0])
    return Network(vpc=vpc, subnets=tuple(subnets) or tuple(sorted(zones)))


def first_text(file: FirstFile) -> str:
    """The text of the file, with what each line is for."""
    return "\n".join([*_head(file), *_gitlab(file), *_pools(file)]) + "\n"


def _head(file: FirstFile) -> Iterator[str]:
    yield "# A runner fleet. Every key: docs/configuration.md"
    yield "# After a change: `runner-fleet plan`, then `runner-fleet apply`."
    yield f"# Its deployment: runner-fleet {' '.join(['up', *file.deploy])}"
    yield ""


def _gitlab(file: FirstFile) -> Iterator[str]:
    kind, number = file.owner.kind, file.owner.id
    where = "project" if file.runners_in == "project" else f"group:{number}"
    yield "[gitlab]"
    yield f'url = "{file.gitlab_url}"'
    if file.tls_ca_file:
        yield f"tls_ca_file = {json.dumps(file.tls_ca_file)}"
    if where == "project":
        yield "# Each runner is made in its job's own project: no other project's job gets it, or"
        yield "# reads its cache."
    else:
        yield "# Runners are of the whole group: any project's job may get any of them, and no"
        yield '# cache is kept. "project" makes each in its job\'s own project.'
    yield f'runners_in = "{where}"'
    yield f"# Read once a minute, should a webhook be lost: {file.owner.path}"
    yield f"watch = {{ {kind}s = [{number}] }}"


def _pools(file: FirstFile) -> Iterator[str]:
    pools = file.pools
    if not (pools.ec2 or pools.lambda_):
        raise Refused(
            "the account's quotas leave no room for a single machine: ask AWS for more with"
            " `aws service-quotas request-service-quota-increase`"
        )
    if pools.ec2:
        types = ", ".join(f'"{type_}"' for type_ in INSTANCE_TYPES)
        how = _IN_CONTAINERS.format(socket=str(file.socket).lower())
        how = _ON_THE_MACHINE if file.executor == "shell" else how
        yield _EC2_POOL.format(types=types, ceiling=pools.ec2, how=how)
    if pools.lambda_:
        yield _LAMBDA_POOL.format(size=pools.size, ceiling=pools.lambda_)


def _address(url: str) -> str:
    try:
        return read_address(url)
    except ValueError as error:
        raise Refused(f"GitLab's address {error}") from error


def _path(below: str) -> str:
    """`acme/demo` of `/acme/demo/-/jobs/7`, `/groups/acme/-/runners` and `acme/demo.git`."""
    path = below.strip("/").partition("/-/")[0].removesuffix("/-").removesuffix(".git")
    for start in _BEFORE:
        path = path.removeprefix(start)
    if quote(path, safe="/") != path or ".." in path.split("/"):
        raise Refused("this is not the path of a group or project", given=path)
    return path
