"""The whole service on one machine: engine, GitLab simulator, stack, guests; up and down again."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gitlab

from adapters.aws.demand import DemandQueue
from adapters.aws.secrets import SecretStore
from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.guest.runner_process import BINARY_VARIABLE
from adapters.ledger.fleet import FleetRows
from adapters.ledger.jobs import JobRows
from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.runners import RunnerRows
from adapters.ledger.table import Table
from fleet.config.reading import FleetConfig, read_config
from fleet.job_event import instance_of
from local.aws.engine import Engine, EngineOptions
from local.aws.stack import RUNNER_SIZES, Stack, StackOptions, deploy_stack
from local.former_laptop import make_private
from local.gitlab.options import Options as GitLabOptions
from local.gitlab.server import LOOPBACK, SimulatorServer
from local.machines.binaries import checked_binary
from local.machines.boot import GuestOptions
from local.machines.containers import (
    REGISTRY_NAME,
    ContainerSettings,
    build_guest_image,
    docker_engine,
    gateway_of,
    shares_groups,
)
from local.machines.guests import GuestHost
from local.machines.lambda_containers import LambdaContainers
from local.machines.lambda_host import LambdaHost, LambdaOptions
from local.registry import Registry
from local.remains import Remains
from operations.apply import Applied, apply_config
from operations.executors import EXECUTORS_VARIABLE, refuse_executors

PROCESS_EXECUTORS = ("shell",)  # of machines that are processes
ECR_PATH = "runner-fleet/ec2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOptions:
    """Machines as containers, on the Docker engine at hand."""

    agent: str | None = None  # the image of EC2 machines; without it none is booted
    sandbox: str | None = None  # that of Lambda runners, with the emulator; else they are processes
    bare_images: tuple[str, ...] = ()  # AMIs without Docker


@dataclass(frozen=True, slots=True, kw_only=True)
class LaptopOptions:
    """What can be set on a laptop. `guest_settings`: more variables of every guest.

    Without `boots_guests` EC2 instances stay records, and the caller stands for them.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    gitlab: GitLabOptions = field(default_factory=GitLabOptions)
    stack: StackOptions = field(default_factory=StackOptions)
    gitlab_port: int = 0
    guest_settings: Mapping[str, str] = field(default_factory=dict)
    boots_guests: bool = True
    containers: ContainerOptions | None = None  # machines are containers; else processes


class Laptop:
    """The whole service, with its files below one folder: a context, or `start` and `stop`."""

    def __init__(self, data: Path, options: LaptopOptions | None = None) -> None:
        self.options = options or LaptopOptions()
        self.data = data
        self._docker = docker_engine() if self.options.containers else None
        self.host = gateway_of(self._docker) if self._docker else LOOPBACK
        self.engine = Engine(data / "engine", replace(self.options.engine, host=self.host))
        self.registry: Registry | None = None
        self._closing = ExitStack()
        self._simulator: SimulatorServer | None = None
        self._stack: Stack | None = None
        self._config: FleetConfig | None = None
        self.guests: GuestHost | None = None
        self.lambdas: LambdaHost | None = None

    def __enter__(self) -> "Laptop":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part. If one fails, stop those that run, and raise its error."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._start()
            undo.pop_all()

    def _start(self) -> None:
        make_private(self.data)
        stack_name = self.options.stack.name
        settings = self._guest_settings()
        stack_options = self.options.stack
        if self._docker:
            self._closing.callback(self._docker.close)
        agent = self.options.containers and self.options.containers.agent
        if self._docker and agent:
            self.registry = self._closing.enter_context(Registry(self.data / "registry", self.host))
            digest = self.registry.push(self._docker, agent, ECR_PATH)
            ec2_image = f"{REGISTRY_NAME}/{ECR_PATH}@{digest}"
            stack_options = replace(stack_options, ec2_image=ec2_image)
        self._simulator = self._closing.enter_context(
            SimulatorServer(
                self.data / "gitlab",
                self.options.gitlab,
                port=self.options.gitlab_port,
                host=self.host,
            )
        )
        self.lambdas = self._closing.enter_context(self._lambda_host(settings))
        self._closing.enter_context(self.engine)
        self._stack = deploy_stack(self.engine, stack_options)
        for size in RUNNER_SIZES:
            for kind in ("runner", "runner-protected"):
                self.engine.serve_function(f"{stack_name}-{kind}-{size}", f"{self.lambdas.url}/")
        if self.options.boots_guests:
            self.guests = self._closing.enter_context(self._guest_host(settings))
        self._secrets.store_gitlab_token(self.stack.gitlab_secret, self.gitlab_token)

    def _lambda_host(self, settings: Mapping[str, str]) -> LambdaHost:
        options = LambdaOptions(folder=self.data / "lambda", environment=settings)
        chosen = self.options.containers
        if chosen is None or chosen.sandbox is None or self._docker is None:
            return LambdaHost(self.engine, options)
        return LambdaContainers(self.engine, options, self._docker, chosen.sandbox)

    def _guest_host(self, settings: Mapping[str, str]) -> GuestHost:
        options = GuestOptions(
            stack=self.options.stack.name,
            folder=self.data / "guests",
            environment=settings,
            containers=self._container_settings(),
        )
        return GuestHost(self.engine, options)

    def _container_settings(self) -> ContainerSettings | None:
        chosen = self.options.containers
        if chosen is None or self._docker is None or self.registry is None:
            return None
        return ContainerSettings(
            client=self._docker,
            gateway=self.host,
            image=build_guest_image(self._docker),
            registry=self.registry.address,
            shares_groups=shares_groups(self._docker),
            bare_images=chosen.bare_images,
        )

    def stop(self) -> None:
        """End every process; may be called twice."""
        self._closing.close()

    @property
    def stack(self) -> Stack:
        """The deployed stack's outputs."""
        if self._stack is None:
            raise RuntimeError("the laptop is not up")
        return self._stack

    @property
    def simulator(self) -> SimulatorServer:
        """The simulated GitLab."""
        if self._simulator is None:
            raise RuntimeError("the laptop is not up")
        return self._simulator

    @property
    def gitlab_url(self) -> str:
        """Where GitLab answers."""
        return self.simulator.url

    @property
    def gitlab_token(self) -> str:
        """A personal access token of GitLab's root."""
        return self.simulator.root_token

    @property
    def instance(self) -> str:
        """How job keys name this GitLab."""
        return instance_of(self.gitlab_url)

    @property
    def about_machines(self) -> str:
        """A sentence about what stands for EC2 machines."""
        if self.options.containers:
            return "machines are containers, each with a Docker engine of its own"
        return (
            "machines are processes, without a Docker engine: --machines containers gives them one"
        )

    def gitlab_client(self) -> Any:
        """python-gitlab, as a user would use it."""
        return gitlab.Gitlab(self.gitlab_url, private_token=self.gitlab_token, timeout=20)

    @property
    def table(self) -> Table:
        """The ledger's table."""
        return Table(self.engine.client("dynamodb"), self.stack.ledger_table)

    @property
    def job_rows(self) -> JobRows:
        """The ledger's jobs."""
        return JobRows(self.table)

    @property
    def runner_rows(self) -> RunnerRows:
        """The ledger's runners."""
        mail = Table(self.engine.client("dynamodb"), self.stack.mailbox_table)
        return RunnerRows(self.table, MailboxRows(mail), self.instance)

    @property
    def fleet_rows(self) -> FleetRows:
        """The ledger's pools, hooks and configuration."""
        return FleetRows(self.table)

    def queues(self) -> dict[str, DemandQueue]:
        """The demand queues by back end."""
        sqs, stack = self.engine.client("sqs"), self.stack
        return {
            "ec2": DemandQueue(sqs, stack.ec2_queue_url, stack.ec2_dead_letter_url),
            "lambda": DemandQueue(sqs, stack.lambda_queue_url, stack.lambda_dead_letter_url),
        }

    def apply(self, text: str) -> Applied:
        """Apply a fleet.toml, as `runner-fleet apply` does."""
        self._config = read_config(text)
        self._check_executors(self._config)
        return apply_config(
            text,
            fleet=self.fleet_rows,
            runners=self.runner_rows,
            secrets=self._secrets,
            gitlab=self._fleet_gitlab(),
            pool_secret_prefix=self.stack.pool_secret_prefix,
            at=datetime.now(UTC),
        )

    def _check_executors(self, config: FleetConfig) -> None:
        """Raise `Refused` for a pool whose jobs need an engine that its machines lack."""
        if self.options.containers is None and self.options.boots_guests:
            refuse_executors(config, PROCESS_EXECUTORS)

    def warm(self) -> None:
        """Start the functions' processes with requests that change nothing, in the background.

        On two cores a cold start costs a second of processor time, and a pipeline needs a dozen.
        """
        functions, name = self.engine.client("lambda"), self.stack.name
        no_machine = {"detail-type": "EC2 Instance State-change Notification"}
        settle = {"event": no_machine | {"detail": {"instance-id": "i-0"}}, "round": 0}
        calls: list[Callable[[], object]] = [
            lambda: functions.invoke(
                FunctionName=f"{name}-settle", Payload=json.dumps(settle).encode()
            ),
            self.reconcile_now,
        ]
        for call in calls:
            threading.Thread(target=call, daemon=True).start()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all pools of the applied configuration."""
        pools = self._config.pools if self._config else ()
        return tuple(dict.fromkeys(tag for pool in pools for tag in pool.tags))

    def backend_of(self, pool: str | None) -> str | None:
        """The back end of a pool of the applied configuration."""
        pools = self._config.pools if self._config else ()
        return next(
            (pool_config.backend for pool_config in pools if pool_config.name == pool), None
        )

    def reconcile_now(self) -> None:
        """Start the reconcile machine at once, as its rule does every minute."""
        self.engine.client("stepfunctions").start_execution(
            stateMachineArn=self.stack.reconcile_machine, input="{}"
        )

    def environment(self) -> dict[str, str]:
        """Variables with which `runner-fleet` and any AWS SDK speak to this laptop."""
        only_processes = {EXECUTORS_VARIABLE: ",".join(PROCESS_EXECUTORS)}
        return {
            **os.environ,
            **self.engine.environment(),
            "GITLAB_URL": self.gitlab_url,
            "GITLAB_TOKEN": self.gitlab_token,
            **({} if self.options.containers else only_processes),
        }

    def register_webhook(self, *, project: str | None = None, group: str | None = None) -> None:
        """Run `runner-fleet webhook register` as a user would."""
        owner = ("--project", project) if project else ("--group", group or "")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "cli", "webhook", "register", *owner),
                *("--gitlab-url", self.gitlab_url, "--stack", self.stack.name),
            ],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"webhook register failed: {done.stderr.strip()}")

    def remains(self) -> Remains:
        """Counts of all that must be gone once no job is left."""
        queues = self.queues().values()
        return Remains(
            instances=self.instances(),
            runners=len(self._fleet_gitlab().runners_described("rf-")),
            messages=sum(queue.depth() + queue.dead() for queue in queues),
            processes=(self.guests.processes() if self.guests else 0)
            + (self.lambdas.processes() if self.lambdas else 0),
        )

    def instances(self) -> int:
        """The number of EC2 instances of the stack that run."""
        answer = self.engine.client("ec2").describe_instances(
            Filters=[
                {"Name": "tag:runner-fleet:stack", "Values": [self.stack.name]},
                {"Name": "instance-state-name", "Values": ["pending", "running", "stopping"]},
            ]
        )
        return sum(len(reservation["Instances"]) for reservation in answer["Reservations"])

    def _guest_settings(self) -> dict[str, str]:
        """Variables of every guest; one says which gitlab-runner to run."""
        return {
            BINARY_VARIABLE: checked_binary(os.environ),
            **self.options.guest_settings,
        }

    @property
    def _secrets(self) -> SecretStore:
        client = self.engine.client("secretsmanager")
        return SecretStore(client, timedelta(0), _now)

    def _fleet_gitlab(self) -> GitLab:
        allowance = OwnAllowance(calls_per_minute=100_000, clock=_now)
        return GitLab(self.gitlab_url, self.gitlab_token, allowance=allowance)


def _now() -> datetime:
    return datetime.now(UTC)
