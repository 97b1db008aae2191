"""Every declared event of the log is emitted by what it is about; none is only declared."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from adapters.aws.cache_keys import CacheScope
from adapters.ledger.trouble_watch import TroubleWatch
from adapters.machines.backend import Machine
from fleet import events
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import CacheBucket
from fleet.reasons import Reason
from fleet.rules.controls import ControlKind
from fleet.trouble import TOKEN
from tests.unit.adapters.ec2_cloud import ec2_cloud, pool
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, Scene, described
from tests.unit.orchestrator.test_controls import orders
from tests.unit.orchestrator.test_placing import late
from tests.unit.orchestrator.test_watch import hook
from tests.unit.webhook.deliveries import with_token
from tests.unit.webhook.test_app import Bus, Client, world

DECLARED = [
    event
    for event in vars(events).values()
    if isinstance(event, type) and event.__module__ == events.__name__
    if hasattr(event, "__dataclass_fields__")
]


def delivers(*, bus: Bus | None = None, **changed: str) -> None:
    given = {name.replace("_", "-"): value for name, value in changed.items()}
    Client(world(bus=bus or Bus())).post(headers=with_token() | given)


def waiting_job() -> Scene:
    scene = Scene()
    scene.push(1)
    scene.route(1)
    return scene


def pool_fails() -> None:
    scene = waiting_job()
    scene.backend.failing = Refused("no such thing")
    with suppress(FleetError):
        scene.scale()


def warm_machine_fails(*, attempts: int = 2) -> None:
    scene = Scene(FLEET.replace("attempts = 2", f"attempts = {attempts}\nidle = {{ count = 1 }}"))
    scene.scale()
    scene.closes(scene.only_runner, Reason.BOOT_DEADLINE)
    scene.scale()


def person_ends_a_runner() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    orders(scene, ControlKind.END, runner.id)
    scene.scale()


def timer_is_refused() -> None:
    with ec2_cloud() as cloud:
        cloud.gives("i-1")
        cloud.scheduler.add_client_error("create_schedule", "ServiceQuotaExceededException")
        cloud.backend.launch(pool(), cloud.order("rf-linux-1"))


def machine_comes_late() -> None:
    late().scale()


def cloud_has_none() -> None:
    scene = waiting_job()
    scene.backend.room = 0
    scene.scale()


def no_credential() -> None:
    scene = waiting_job()
    scene.gitlab.failing["create_runner"] = Transient()
    scene.scale()


def no_cache_keys() -> None:
    def refuse(_scope: CacheScope) -> CacheBucket:
        raise Transient

    scene = Scene(FLEET.replace("group:42", "project"))
    scene.world = replace(scene.world, cache=refuse)
    scene.launched(1)


def runner_closes(*, failing: FleetError | None = None) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.backend.failing = failing
    scene.closes(runner, Reason.FINISHED)


def lost_before_its_job() -> Scene:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.world = replace(scene.world, backends={"tests": scene.backend, "ec2": scene.backend})
    scene.backend.die(runner.machine_id or "")
    scene.clock.go(121)
    scene.queue.failing = Transient()
    return scene


def demand_is_not_sent() -> None:
    scene = lost_before_its_job()
    machine_id = scene.only_runner.machine_id or ""
    scene.settle_machine("EC2 Instance State-change Notification", machine_id)


def nonsense_report() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    box = runner.mailbox or ""
    scene.table.mail.items[box, "report"] = {"pk": box, "sk": "report", "state": "hacked"}
    assert len(scene.runners) == 1


def last_attempt() -> None:
    scene = Scene(text=FLEET.replace("attempts = 2", "attempts = 1"))
    (runner,) = scene.launched(1)
    scene.loses(runner, Reason.BOOT_DEADLINE)


def machine_fails_job() -> None:
    scene = Scene()
    runner = scene.runs(1)
    reason = "runner_system_failure"
    scene.gitlab.change(1, status="failed", failure_reason=reason)
    scene.settle(1, "failed", failure_reason=reason, runner_description=described(runner))


def webhook_is_lost() -> None:
    scene = Scene()
    scene.world.fleet.watch(INSTANCE, 7, "acme/demo", at=AT)
    scene.push(1)
    scene.reconcile()


def stray_machine() -> None:
    scene = Scene()
    lost = Machine(machine_id="m", alive=True, launched_at=AT, launch_id="gone", pool="docker")
    scene.backend.shown["m"] = lost
    scene.clock.go(121)
    scene.sweep()


def hook_is_deleted() -> None:
    scene = Scene()
    scene.world.fleet.record_hook(hook())
    scene.reconcile()


def token_is_refused(*, cured: bool = False) -> None:
    scene = Scene()
    watch = TroubleWatch(scene.world.fleet, scene.clock)
    watch.failed("GET /version", "revoked", kind=TOKEN)
    if cured:
        watch.accepted("GET /version")


def group_has_no_such_project() -> None:
    scene = Scene()
    scene.route(1, hook="group:5@0a0a0a0a")


def ec2_machine_ends() -> None:
    scene = Scene()
    runner = scene.runs(1)
    place = replace(runner, capacity="m7i.large/subnet-1/spot")
    scene.clock.go(600)
    scene.closes(place, Reason.FINISHED)


def records_are_not_listed() -> None:
    scene = Scene()
    scene.gitlab.failing["runners_described"] = Transient(status=500)
    scene.sweep()


HAPPENS: dict[type, Callable[[], object]] = {
    events.DeliveryAccepted: delivers,
    events.DeliveryIgnored: lambda: delivers(x_gitlab_event="Push Hook"),
    events.DeliveryRefused: lambda: delivers(x_gitlab_token="wrong"),
    events.DeliveryNotPublished: lambda: delivers(bus=Bus(error=Transient())),
    events.DeliveryOutside: group_has_no_such_project,
    events.JobRouted: waiting_job,
    events.ScaleDecided: lambda: Scene().launched(1),
    events.PoolFailed: pool_fails,
    events.WarmMachineFailed: warm_machine_fails,
    events.WarmLaunchesStopped: lambda: warm_machine_fails(attempts=1),
    events.MachinesUnguarded: timer_is_refused,
    events.MachinesUnplaced: machine_comes_late,
    events.RunnersLaunched: lambda: Scene().launched(1),
    events.LaunchShort: cloud_has_none,
    events.RunnerNotEquipped: no_credential,
    events.CacheNotGiven: no_cache_keys,
    events.RunnerEndOrdered: person_ends_a_runner,
    events.RunnerClosed: runner_closes,
    events.MachinePaid: ec2_machine_ends,
    events.JobServed: runner_closes,
    events.PoolMeasured: lambda: waiting_job().reconcile(),
    events.FleetMeasured: lambda: waiting_job().reconcile(),
    events.RunnerNotClosed: lambda: runner_closes(failing=Transient()),
    events.NotRelaunched: demand_is_not_sent,
    events.RowsUnreadable: nonsense_report,
    events.SweepSkipped: lambda: lost_before_its_job().sweep(),
    events.JobGivenUp: last_attempt,
    events.JobRetried: machine_fails_job,
    events.Reconciled: webhook_is_lost,
    events.Swept: stray_machine,
    events.HookUnhealthy: hook_is_deleted,
    events.GitLabUnusable: token_is_refused,
    events.GitLabUsable: lambda: token_is_refused(cured=True),
    events.GitLabRefused: records_are_not_listed,
}


@pytest.mark.parametrize("event", DECLARED, ids=lambda event: event.__name__)
def test_each_declared_event_is_emitted(event: type, capsys: pytest.CaptureFixture[str]) -> None:
    assert event in HAPPENS, "say here what makes it happen"
    capsys.readouterr()
    HAPPENS[event]()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fields = set(event.__dataclass_fields__)  # type: ignore[attr-defined]
    emitted = [line for line in lines if line["event"] == event.__name__]
    assert emitted
    assert all(fields <= set(line) for line in emitted)
