"""Every declared event of the log is emitted by what it is about; none is only declared."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.aws.cache_keys import CacheScope
from adapters.machines.backend import Machine
from fleet import events
from fleet.errors import FleetError, Transient
from fleet.machine.mailbox import CacheBucket
from fleet.reasons import Reason
from fleet.rules.controls import ControlKind
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, Scene, described
from tests.unit.orchestrator.test_controls import orders
from tests.unit.orchestrator.test_hooks import hook

TESTS = Path(__file__).parents[1]
DECLARED = {
    name
    for name, event in vars(events).items()
    if isinstance(event, type) and event.__module__ == events.__name__
    if hasattr(event, "__dataclass_fields__")
}


def waiting_job() -> Scene:
    scene = Scene()
    scene.push(1)
    scene.route(1)
    return scene


def warm_machine_fails() -> None:
    scene = Scene(FLEET.replace("attempts = 2", "attempts = 2\nidle = { count = 1 }"))
    scene.scale()
    scene.closes(scene.only_runner, Reason.BOOT_DEADLINE)
    scene.scale()


def person_ends_a_runner() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    orders(scene, ControlKind.END, runner.id)
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


# Tests that read these in the log, with what they say.
READ_IN = {
    "unit/webhook/test_app": (
        "DeliveryAccepted DeliveryIgnored DeliveryRefused DeliveryNotPublished"
    ),
    "unit/adapters/machines/test_ec2": "MachinesUnguarded",
    "unit/adapters/ledger/test_runners": "RowsUnreadable",
    "unit/adapters/ledger/test_trouble_watch": "GitLabUnusable GitLabUsable",
    "unit/orchestrator/test_measure": "JobServed PoolMeasured FleetMeasured",
    "unit/orchestrator/test_placing": "MachinesUnplaced LaunchShort",
    "unit/orchestrator/test_pool_failures": "PoolFailed",
    "unit/orchestrator/test_warm": "WarmLaunchesStopped",
    "security/test_hook_reach": "DeliveryOutside",
}
HAPPENS: dict[type, Callable[[], object]] = {
    events.JobRouted: waiting_job,
    events.ScaleDecided: lambda: Scene().launched(1),
    events.WarmMachineFailed: warm_machine_fails,
    events.RunnersLaunched: lambda: Scene().launched(1),
    events.RunnerNotEquipped: no_credential,
    events.CacheNotGiven: no_cache_keys,
    events.RunnerEndOrdered: person_ends_a_runner,
    events.RunnerClosed: runner_closes,
    events.MachinePaid: ec2_machine_ends,
    events.RunnerNotClosed: lambda: runner_closes(failing=Transient()),
    events.JobNotRelaunched: demand_is_not_sent,
    events.SweepSkipped: lambda: lost_before_its_job().sweep(),
    events.JobGivenUp: last_attempt,
    events.JobRetried: machine_fails_job,
    events.Reconciled: webhook_is_lost,
    events.Swept: stray_machine,
    events.HookUnhealthy: hook_is_deleted,
    events.WorkPutOff: records_are_not_listed,
}


@pytest.mark.parametrize("event", HAPPENS, ids=lambda event: event.__name__)
def test_each_event_is_emitted(event: type, capsys: pytest.CaptureFixture[str]) -> None:
    HAPPENS[event]()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fields = set(event.__dataclass_fields__)  # type: ignore[attr-defined]
    emitted = [line for line in lines if line["event"] == event.__name__]
    assert emitted
    assert all(fields <= set(line) for line in emitted)


def test_each_declared_event_is_read_by_a_test() -> None:
    read = [(name, path) for path, names in READ_IN.items() for name in names.split()]
    for name, path in read:
        assert f'"{name}"' in (TESTS / f"{path}.py").read_text(), path
    assert {event.__name__ for event in HAPPENS} | {name for name, _ in read} == DECLARED
