"""`python -m ec2_runner`: the agent with the machine's real surroundings."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import TypeVar

import boto3
from botocore.config import Config

from adapters.aws.cipher import KmsCipher
from adapters.aws.clients import aws_call
from adapters.guest.usage import Stats
from adapters.ledger.mailbox import Mailbox
from ec2_runner.agent import AgentSettings, AgentSetup, work
from ec2_runner.imds import Imds
from fleet.errors import Refused, Transient

Answer = TypeVar("Answer")
AGENT = "runner-fleet-agent"  # the name that infra/user-data.sh gives the agent's container
BOOT_TRIES = 60  # one a second: the network and the instance role may start a little later
# botocore asks the metadata once, for one second: too little for a machine that is just booting.
METADATA = {"AWS_METADATA_SERVICE_TIMEOUT": "3", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5"}
CLIENT = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard"})


def main() -> int:
    """Serve one job. The exit code is 0 after every regular end of the agent."""
    for name, value in METADATA.items():
        os.environ.setdefault(name, value)
    settings = AgentSettings.of(os.environ)
    imds = Imds.of(os.environ)
    session = boto3.Session(region_name=_patiently(imds.region))
    user_id = _patiently(lambda: _user_id(session))
    mailbox = Mailbox(
        session.client("dynamodb", config=CLIENT),
        settings.mailbox_table,
        user_id,
        KmsCipher(session.client("kms", config=CLIENT), settings.mailbox_key),
    )
    machine = AgentSetup(
        settings=settings,
        imds=imds,
        mailbox=mailbox,
        environment=os.environ,
        docker_answers=_docker_answers,
        containers=_containers,
        echo=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"runner-fleet agent: {work(machine)}", file=sys.stderr, flush=True)
    return 0


def _patiently(ask: Callable[[], Answer]) -> Answer:
    for _ in range(BOOT_TRIES):
        try:
            return ask()
        except (Transient, Refused):  # a role that AWS has not attached yet has "no credentials"
            time.sleep(1)
    return ask()


def _user_id(session: boto3.Session) -> str:
    """`<role id>:<instance id>`; a new client each time, because a client keeps its first keys."""
    with aws_call("sts.GetCallerIdentity"):
        return session.client("sts", config=CLIENT).get_caller_identity()["UserId"]


def _docker_answers() -> bool:
    import docker  # noqa: PLC0415 - a third of the agent's start, and shell machines have no Docker
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=5)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except DockerException:
        return False


def _containers() -> Mapping[str, Stats]:
    """What each container but the agent's own uses now: all of them are the job's."""
    import docker  # noqa: PLC0415
    from docker.errors import DockerException  # noqa: PLC0415

    used: dict[str, Stats] = {}
    with suppress(DockerException, OSError), closing(docker.from_env(timeout=5)) as client:
        for container in client.api.containers():
            if f"/{AGENT}" not in container["Names"]:
                with suppress(DockerException):  # it ended meanwhile
                    used[container["Id"]] = client.api.stats(
                        container["Id"], stream=False, one_shot=True
                    )
    return used


if __name__ == "__main__":
    sys.exit(main())
