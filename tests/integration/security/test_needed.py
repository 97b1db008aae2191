"""Each right of the template is used by what the fleet does, with the role that has it."""

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import boto3
import pytest

from adapters.aws.bus import EventBus
from adapters.aws.clients import Clients, patient
from adapters.aws.secrets import SecretStore, pool_secret
from adapters.gitlab.hook_values import HookTarget
from adapters.ledger.fleet import FleetRows
from adapters.ledger.hooks import HookRow
from adapters.ledger.runners import RunnerRows
from adapters.machines.backend import Backend, LaunchOrder, LaunchResult
from adapters.machines.ec2 import Ec2Backend
from fleet.config.model import PoolConfig
from fleet.errors import Transient
from fleet.hook_scope import HookScope
from fleet.machine.mailbox import CacheBucket, MachineState, Report
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.steps import StepName
from fleet.webhook_secrets import WebhookSecrets, secret_id
from infra.permissions import rights
from local.aws.engine import CONFIG
from orchestrator.scale import scale
from tests.fakes import Clock
from tests.integration.security.conftest import Quiet
from tests.integration.security.scene import (
    TEXT,
    TOKEN_LIFETIME,
    RoleScene,
    decisions,
    forget_decisions,
    session,
)
from tests.unit.infra.documents import template
from tests.unit.orchestrator.scene import INSTANCE, PROJECT, described

# Their policies are those of the roles for 2gb.
SAME = {f"{kind}{size}Role" for kind in ("Runner", "ProtectedRunner") for size in ("4gb", "8gb")}
OF_ONE_PROJECT = (
    TEXT.replace("group:42", "project:7")
    + """
[pools.safe]
backend = "ec2"
tags = ["safe"]
instance_types = ["m7i.large"]
ceiling = 2
protected_only = true

[pools.safe-node]
backend = "lambda"
tags = ["safe-node"]
size = "2GB"
ceiling = 2
protected_only = true
"""
)
SHARED = TEXT.replace('"group:42"', '"group:42"\ncredentials = "shared"')
GONE = "EC2 Instance State-change Notification"
BLAMED: dict[str, Any] = {"failure_reason": "runner_system_failure"}
BOOT_S = 400.0
ENGINE = "the engine's services act without a role; tests/unit/infra/test_permissions.py shows it"
# What the engine cannot show, by the statement's `Sid`.
UNSEEN = {
    "CallOwnFunction": ENGINE,
    "CallSweep": ENGINE,
    "StartMachines": ENGINE,
    "WakeScale": ENGINE,
    "KeepFailedTimer": "the scheduler sends what it could not deliver",
    "DeliverLogs": "Step Functions delivers logs; the engine keeps none of them",
    "SeeSpotPrices": "the engine has no spot prices, and a launch goes on without one",
    "JoinNetwork": "Lambda itself joins a network, and the functions of these tests are in none",
    "NotByCode": "a denial",
    "WriteOwnLogs": "Lambda writes logs; the engine does it without the role",
    "PullOwnImage": "the registry checks it at each pull; the engine has no registry to pull from",
    "PushImages": "CodeBuild runs a build; the engine answers that it succeeded",
    "ReadImageSources": "CodeBuild runs a build; the engine answers that it succeeded",
    "LogInToPush": "CodeBuild runs a build; the engine answers that it succeeded",
    "PutFailures": "Lambda puts the event of a failed invocation; the engine does it by itself",
    "PassMachineRole": "EC2 and the scheduler check it when they are handed the role",
    "PassExpiryRole": "EC2 and the scheduler check it when they are handed the role",
    "MakeServiceRoles": "AWS makes the roles at an account's first fleet",
    "RunTagged": "CreateFleet calls RunInstances as its caller",
    "LaunchParts": "CreateFleet and RunInstances check each part of a launch",
    "TagLaunched": "CreateFleet tags what it makes as its caller",
    "ReadImageNames": "CreateFleet reads the parameter as its caller",
    "ListCache": "without it S3 answers 403 where there is no object, and a runner gives up",
}


@dataclass(slots=True)
class LateBackend:
    """EC2, during whose launch another process closes the first runner."""

    ec2: Ec2Backend
    scene: RoleScene
    name: str = "ec2"
    ends_alone: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ec2, name)

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        others = RunnerRows(self.scene.root, self.scene.mailboxes, INSTANCE)
        gone = others.find(order.runner_ids[0])
        assert gone is not None
        others.close(gone, Reason.LAUNCH_FAILED, at=self.scene.clock())
        return self.ec2.launch(pool, order)


@pytest.fixture(scope="module")
def scene(quiet: Quiet) -> RoleScene:
    """Every path of the fleet that needs a right, taken."""
    sqs = quiet.engine.client("sqs")
    for url in (quiet.stack.ec2_queue_url, quiet.stack.ec2_dead_letter_url):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    forget_decisions(quiet.engine)
    now = Clock(datetime.now(UTC))  # the engine drops what has expired
    scene = RoleScene(clock=now, engine=quiet.engine, stack=quiet.stack, arns=quiet.arns)
    machines_take_their_mail(scene)
    route_after_a_failure(scene)
    settle_gives_up(scene)
    settle_drains_what_ec2_takes_back(scene)
    settle_ends_what_said_goodbye(scene)
    sweep_gives_up(scene)
    scale_looks_at_letters(scene)
    scale_has_too_much_demand(scene)
    scale_ends_a_machine_that_is_too_late(scene)
    a_launch_fails(scene)
    scale_shares_credentials(scene)
    reconcile_retries_what_its_machine_failed(scene)
    reconcile_renews_secrets(scene)
    reconcile_finds_all_quiet(scene)
    the_webhook_publishes(scene)
    return scene


def cancel(scene: RoleScene, *job_ids: int) -> None:
    for job_id in job_ids:
        scene.gitlab.change(job_id, status="canceled")
        scene.settle(job_id, "canceled")


def reconcile_finds_all_quiet(scene: RoleScene) -> None:
    cancel(scene, *[job.id for job in scene.gitlab.jobs.values() if job.status == "pending"])
    scene.clock.go(3700)
    scene.sweep()
    scene.reconcile()


def route_after_a_failure(scene: RoleScene) -> None:
    for job_id in (1, 2):
        scene.push(job_id, pipeline_id=11)
    scene.gitlab.failing["pending_in_pipeline"] = Transient(status=503)
    with pytest.raises(Transient):
        scene.route(1, pipeline_id=11)
    del scene.gitlab.failing["pending_in_pipeline"]
    scene.route(1, pipeline_id=11)
    cancel(scene, 2)


def settle_gives_up(scene: RoleScene) -> None:
    """The machines of job 1 are lost one after the other."""
    for _ in range(2):
        assert scene.scale().launched == 1
        scene.settle_machine(GONE, scene.only_runner.machine_id or "")
    assert scene.job(1).given_up


def settle_drains_what_ec2_takes_back(scene: RoleScene) -> None:
    scene.waits(45, pipeline_id=45)
    assert scene.scale().launched == 1
    runner = scene.only_runner
    scene.reports(runner, MachineState.IDLE, StepName.CALLED_HOME)
    scene.settle_machine("EC2 Spot Instance Interruption Warning", runner.machine_id or "")
    assert scene.only_runner.state is RunnerState.DRAINING
    cancel(scene, 45)
    scene.settle_machine(GONE, runner.machine_id or "")
    assert not scene.runners


def settle_ends_what_said_goodbye(scene: RoleScene) -> None:
    """A machine that lives on after its goodbye; EC2 has no event of its end."""
    scene.waits(46, pipeline_id=46)
    assert scene.scale().launched == 1
    runner = scene.only_runner
    scene.hands_over(46, runner)
    scene.gitlab.change(46, status="success")
    scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=46)
    scene.settle(46, "success", runner_description=scene.world.description(runner.id))
    assert not scene.runners


def sweep_gives_up(scene: RoleScene) -> None:
    """The machines of job 3 never call."""
    scene.waits(3, pipeline_id=12)
    for _ in range(2):
        assert scene.scale().launched == 1
        scene.clock.go(BOOT_S)
        assert scene.sweep().closed == 1
    assert scene.job(3).given_up


def scale_looks_at_letters(scene: RoleScene) -> None:
    cancel(scene, 1, 3)
    for _ in range(2):
        scene.scale()
    assert scene.world.queues["ec2"].dead() == 0


def scale_has_too_much_demand(scene: RoleScene) -> None:
    scene.waits(*range(20, 24), pipeline_id=13)
    assert scene.scale().launched == 2
    scene.scale()
    assert scene.world.queues["ec2"].depth() == 2
    cancel(scene, *range(20, 24))
    scene.clock.go(BOOT_S)
    assert scene.sweep().closed == 2
    assert not scene.runners


def scale_ends_a_machine_that_is_too_late(scene: RoleScene) -> None:
    scene.waits(30, pipeline_id=14)
    world = scene.acts("scale")
    ec2 = world.backends["ec2"]
    assert isinstance(ec2, Ec2Backend)
    late = cast(Backend, LateBackend(ec2, scene))
    assert scale(replace(world, backends={**world.backends, "ec2": late})).launched == 0
    cancel(scene, 30)


def a_launch_fails(scene: RoleScene) -> None:
    scene.engine.client("lambda").delete_function(FunctionName=f"{scene.stack.name}-runner-8gb")
    scene.waits(40, pipeline_id=15, tags=("large",))
    assert scene.scale().launched == 0
    cancel(scene, 40)


def scale_shares_credentials(scene: RoleScene) -> None:
    scene.apply(SHARED)
    scene.waits(50, pipeline_id=16)
    assert scene.scale().launched == 1
    scene.settle_machine(GONE, scene.only_runner.machine_id or "")
    cancel(scene, 50)
    scene.apply(TEXT)


def reconcile_retries_what_its_machine_failed(scene: RoleScene) -> None:
    scene.world.fleet.watch(INSTANCE, PROJECT, "acme/demo", at=scene.clock())
    scene.push(60, pipeline_id=17)
    assert scene.reconcile().routed == 1
    runner = scene.runs(60)
    scene.gitlab.change(60, status="failed", **BLAMED)
    scene.clock.go(3600)
    scene.reconcile()
    assert "retry_job" in scene.gitlab.calls
    scene.settle(60, "failed", runner_description=described(runner), **BLAMED)


def reconcile_renews_secrets(scene: RoleScene) -> None:
    """Tokens of both trust levels, and a webhook's secret that GitLab uses no more."""
    scene.apply(OF_ONE_PROJECT)
    prefix = scene.stack.pool_secret_prefix
    names = [
        pool_secret(prefix, pool, is_protected=is_protected)
        for pool, is_protected in (("docker", False), ("safe", True))
    ]
    before = [scene.secrets.pool_token(name) for name in names]
    for _ in range(3):
        scene.clock.go(TOKEN_LIFETIME.total_seconds() / 3)
        scene.reconcile()
    for name, token in zip(names, before, strict=True):
        assert scene.secrets.pool_token(name) != token
    scene.apply(TEXT)
    drops_what_is_rotated_out(scene)


def drops_what_is_rotated_out(scene: RoleScene) -> None:
    scope, old, new = HookScope(kind="project", id=PROJECT), "0" * 43, "1" * 43
    target = HookTarget(scope=scope, url="https://fleet.example.com/webhook")
    both = {target.name: WebhookSecrets(tokens=(new, old))}
    scene.secrets.store_webhook_secrets(scene.stack.webhook_secret, both)
    row = HookRow(
        instance=INSTANCE,
        scope=scope,
        hook_id=5,
        url=target.url,
        verification="secret-token",
        name=target.name,
        secret_ids=(secret_id(new), secret_id(old)),
    )
    fleet = FleetRows(scene.root)
    fleet.record_hook(row)
    fleet.note_delivery(INSTANCE, target.name, secret_id(new), at=scene.clock())
    scene.reconcile()
    secrets = scene.secrets.newest_webhook_secrets(scene.stack.webhook_secret)
    assert secrets[target.name].tokens == (new,)
    fleet.forget_hook(INSTANCE, scope)
    scene.secrets.store_webhook_secrets(scene.stack.webhook_secret, {})


def machines_take_their_mail(scene: RoleScene) -> None:
    """What gitlab-runner does with the cache is done with the keys of the credential."""
    scene.apply(OF_ONE_PROJECT)
    scene.gitlab.protected["main"] = True
    roles = {
        "docker": "MachineRole",
        "node": "Runner2gbRole",
        "safe": "ProtectedMachineRole",
        "safe-node": "ProtectedRunner2gbRole",
    }
    jobs = dict(enumerate(roles, start=70))
    for job_id, tag in jobs.items():
        scene.waits(job_id, pipeline_id=job_id, tags=(tag,))
    assert scene.scale().launched == len(roles)
    for pool, role in roles.items():
        (runner,) = scene.world.runners.live(pool)
        name = runner.machine_id if runner.backend == "ec2" else "lambda"
        mailbox = scene.mailbox(role, name or "", runner.mailbox or "")
        credential = mailbox.try_take_credential()
        assert credential is not None
        report = Report(heartbeat_at=scene.clock(), state=MachineState.IDLE, runner_id=runner.id)
        assert runner.backend == "ec2" or mailbox.claim(report)
        mailbox.report(report)
        assert mailbox.order() is None
        use(credential.cache, scene)
        if runner.backend == "ec2":
            log_in(scene, role)
    cancel(scene, *jobs)
    scene.clock.go(4 * 3600)
    assert scene.sweep().closed == len(roles)
    scene.apply(TEXT)


def log_in(scene: RoleScene, role: str) -> None:
    """To the registry, as the user data does."""
    keys = session(scene.engine, scene.arns[role])
    with closing(keys.client("ecr", endpoint_url=scene.engine.url, config=CONFIG)) as registry:
        assert registry.get_authorization_token()["authorizationData"]


def use(cache: CacheBucket | None, scene: RoleScene) -> None:
    assert cache is not None
    keys = boto3.Session(cache.access_key, cache.secret_key, cache.session_token, cache.region)
    with closing(keys.client("s3", endpoint_url=scene.engine.url, config=CONFIG)) as files:
        key = f"{cache.prefix}/project/7/a"
        files.put_object(Bucket=cache.bucket, Key=key, Body=b"a")
        files.get_object(Bucket=cache.bucket, Key=key)["Body"].close()


def the_webhook_publishes(scene: RoleScene) -> None:
    role = Clients(session(scene.engine, scene.arns["WebhookRole"]), patient())
    secrets = SecretStore(role.secrets, timedelta(0), scene.clock)
    assert secrets.webhook_secrets(scene.stack.webhook_secret) == {}
    EventBus(role.events, scene.stack.bus).publish(scene.event(1, "pending"))


def test_every_right_is_used(scene: RoleScene, quiet: Quiet) -> None:
    used = {
        (role, right)
        for role, held in decisions(quiet.engine, quiet.arns, "allowed").items()
        for right in held
    }
    unused = [
        right
        for right in rights(template())
        if right.sid not in UNSEEN
        and (right.role, f"{right.sid} {right.action}") not in used
        and right.role not in SAME
    ]
    assert not unused


def test_nothing_that_the_fleet_does_is_refused(scene: RoleScene, quiet: Quiet) -> None:
    assert decisions(quiet.engine, quiet.arns, "refused") == {}


def test_what_the_engine_cannot_show_is_in_the_template() -> None:
    assert UNSEEN.keys() <= {right.sid for right in rights(template())}
