"""The orchestrator's scene on the embedded engine: each function acts with its own role."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import boto3
import botocore.session
from botocore.loaders import create_loader

from adapters.aws.cipher import KmsCipher
from adapters.aws.clients import Clients, patient
from adapters.aws.secrets import SecretStore
from adapters.aws.settings import OrchestratorSettings
from adapters.ledger.fleet import FleetRows
from adapters.ledger.mailbox import Mailbox
from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.runners import RunnerRows
from adapters.ledger.table import Table
from adapters.ledger.trouble_watch import TroubleWatch
from fleet.machine.mailbox import MachineState, Report
from fleet.model import Runner
from fleet.steps import StepName, Undated
from local.aws.engine import REGION, Engine
from local.aws.stack import Stack
from local.aws.units import PATH
from operations.apply import apply_config
from orchestrator.reconcile import ReconcileResult
from orchestrator.route import RouteResult
from orchestrator.scale import ScaleResult
from orchestrator.settle import SettleResult
from orchestrator.sweep import SweepResult
from orchestrator.wiring import Wiring
from orchestrator.world import World
from tests.unit.orchestrator.scene import GITLAB, Scene, reported

POOLS = """
[pools.docker]
backend = "ec2"
tags = ["docker", "big"]
instance_types = ["m7i.large"]
ceiling = 2
attempts = 2
max_lifetime = "1h"
max_job_time = "20m"
infra_retry = true

[pools.node]
backend = "lambda"
tags = ["node"]
size = "2GB"
ceiling = 2
max_job_time = "14m"

[pools.large]
backend = "lambda"
tags = ["large"]
size = "8GB"
ceiling = 2
max_job_time = "14m"
"""
TEXT = GITLAB + POOLS
TOKEN_LIFETIME = timedelta(hours=12)
SERVICES = create_loader()  # reads the model of each service once, for all roles
FUNCTIONS = ("route", "scale", "settle", "reconcile", "sweep")


def role_arns(engine: Engine, stack: Stack) -> dict[str, str]:
    """Every role of a stack, by its logical id."""
    resources = engine.client("cloudformation").get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"]: engine.client("iam").get_role(
            RoleName=resource["PhysicalResourceId"]
        )["Role"]["Arn"]
        for page in resources.paginate(StackName=stack.name)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::IAM::Role"
    }


def session(engine: Engine, arn: str, name: str = "test") -> boto3.Session:
    keys = engine.role_environment(arn, name)
    core = botocore.session.Session()
    core.register_component("data_loader", SERVICES)
    return boto3.Session(
        botocore_session=core,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys["AWS_SESSION_TOKEN"],
        region_name=REGION,
    )


def forget_decisions(engine: Engine) -> None:
    """Count anew: other tests ask for what is refused."""
    urlopen(Request(engine.url + PATH, method="DELETE"), timeout=30).close()


def decisions(engine: Engine, arns: dict[str, str], kind: str) -> dict[str, set[str]]:
    """What policies `allowed` or `refused`, by the role's logical id."""
    with urlopen(engine.url + PATH, timeout=30) as answer:
        numbers = json.load(answer)
    names = {arn.rpartition("/")[2]: role for role, arn in arns.items()}
    return {
        names[principal.partition(" ")[2]]: set(counted)
        for principal, counted in numbers.items()
        if principal.partition(" ")[0] == kind and principal.partition(" ")[2] in names
    }


@dataclass
class RoleScene(Scene):
    """A scene whose ledger, queues, secrets and machines are the engine's."""

    engine: Engine = field(kw_only=True)
    stack: Stack = field(kw_only=True)
    arns: dict[str, str] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gitlab.token_lifetime = TOKEN_LIFETIME
        # What tests read and machines write, with the account's own rights.
        self.root = Table(self.engine.client("dynamodb"), self.stack.ledger_table)
        self.mailboxes = MailboxRows(
            Table(self.engine.client("dynamodb"), self.stack.mailbox_table)
        )
        self.secrets = SecretStore(
            self.engine.client("secretsmanager"), self.settings.cache_ttl, self.clock
        )
        self.secrets.store_gitlab_token(self.stack.gitlab_secret, "glpat-test")
        self.wirings = {name: self._wired(name) for name in FUNCTIONS}
        self.apply(TEXT)

    @property
    def settings(self) -> OrchestratorSettings:
        """The environment of the functions, from the stack's outputs."""
        fields: dict[str, Any] = {
            name: str(getattr(self.stack, name, "")) for name in OrchestratorSettings.model_fields
        }
        sweep = f"arn:aws:lambda:{REGION}:123456789012:function:{self.stack.name}-sweep"
        return OrchestratorSettings(
            **fields
            | {
                "stack": self.stack.name,
                "cache_ttl": 0,
                "tenant_isolation": True,
                "arm64_image": "resolve:ssm:/aws/service/arm64",
                "sweep_arn": sweep,
            }
        )

    def _wired(self, function: str) -> Wiring:
        role = session(self.engine, self.arns[f"{function.capitalize()}Role"])
        return Wiring(function, self.settings, Clients(role, patient()))

    def apply(self, text: str) -> None:
        """What the operator does, with the account's own rights."""
        fleet = FleetRows(self.root)
        apply_config(
            text,
            fleet=fleet,
            runners=RunnerRows(self.root, self.mailboxes, "gitlab.example.com"),
            secrets=self.secrets,
            gitlab=self.gitlab,
            pool_secret_prefix=self.stack.pool_secret_prefix,
            at=self.clock(),
        )

    def acts(self, function: str) -> World:
        """The world of a function's next invocation."""
        wired = self.wirings[function].world()
        self.world = replace(wired, gitlab=self.gitlab, clock=self.clock)
        # The real client of GitLab tells it of each call.
        TroubleWatch(self.world.fleet, self.clock).accepted("GET version")
        return self.world

    def reports(
        self,
        runner: Runner,
        state: MachineState,
        *steps: StepName | Undated,
        job_id: int | None = None,
        dated: datetime | None = None,
        **facts: Any,
    ) -> None:
        """A machine's report, with its role."""
        at = dated or self.clock()
        report = Report(
            heartbeat_at=at,
            state=state,
            runner_id=runner.id,
            job_id=job_id,
            steps=reported(steps, at, job_id),
            **facts,
        )
        assert runner.machine_id
        role = "MachineRole" if runner.backend == "ec2" else "Runner2gbRole"
        box = self.mailbox(role, runner.machine_id, runner.mailbox or "")
        if runner.backend == "lambda":  # an event may come twice, a machine boots once
            box.claim(report)
        box.report(report)

    def mailbox(self, role: str, session_name: str, mailbox_id: str) -> Mailbox:
        """A mailbox, with the rights of a machine."""
        keys = session(self.engine, self.arns[role], session_name)
        cipher = KmsCipher(keys.client("kms"), self.stack.mailbox_key)
        return Mailbox(keys.client("dynamodb"), self.stack.mailbox_table, mailbox_id, cipher)

    def route(self, job_id: int, **facts: Any) -> RouteResult:
        self.acts("route")
        return super().route(job_id, **facts)

    def scale(self) -> ScaleResult:
        self.acts("scale")
        return super().scale()

    def settle(self, job_id: int, status: str, *, round_: int = 0, **facts: Any) -> SettleResult:
        self.acts("settle")
        return super().settle(job_id, status, round_=round_, **facts)

    def settle_machine(self, kind: str, machine_id: str, *, round_: int = 0) -> SettleResult:
        self.acts("settle")
        return super().settle_machine(kind, machine_id, round_=round_)

    def reconcile(self, *time_left_s: float) -> ReconcileResult:
        self.acts("reconcile")
        return super().reconcile(*time_left_s)

    def sweep(self) -> SweepResult:
        self.acts("sweep")
        return super().sweep()
