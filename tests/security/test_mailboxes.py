"""Attacks through what a machine writes, and rows that cannot be read: nothing else changes."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from adapters.ledger.controls import Act
from adapters.ledger.hooks import HookRow
from adapters.ledger.retries import Intent
from adapters.ledger.table import Change
from fleet.config.reading import read_config
from fleet.errors import Refused
from fleet.holds import Hold, HoldKind
from fleet.hook_scope import HookScope
from fleet.machine.mailbox import STEPS_READ, MachineState
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.controls import Control, ControlKind
from fleet.rules.hook_reach import ProjectGroups
from fleet.rules.problems.decide import decide_problems
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import ProblemKind
from fleet.steps import LONGEST, Step, StepName
from fleet.trouble import Trouble
from tests.unit.infra.documents import properties, statements
from tests.unit.orchestrator.scene import AT, FLEET, INSTANCE, POOL, PROJECT, Scene, described, key

LONG = "x" * 390_000
BUDGETS = '[budgets]\nprojects = { "7" = 50.0 }\n'
TWO_POOLS = FLEET + POOL.replace("docker", "second") + BUDGETS
JOB = {"instance": INSTANCE, "job_id": 1, "project_id": PROJECT, "status": 1, "attempt": 1}
WAITING = {**JOB, "job_id": 66, "name": "x", "tags": ["docker"], "project_path": "a/b"}
# What a machine plants in its own mailbox: the attributes by which the ledger's indexes find rows.
PLANTED: dict[str, dict[str, Any]] = {
    "retry": {**JOB, "kind": "retry", "changed_at": "2020-01-01", "failure_reason": None},
    "job": {**WAITING, "kind": "job", "changed_at": AT.isoformat()},
    "waits": {**WAITING, "open_pk": "pool#docker", "open_sk": "0", "pending_at": AT.isoformat()},
    "look": {**JOB, "open_pk": f"look#{INSTANCE}", "open_sk": "0"},
    "unreadable": {"open_pk": "pool#docker", "open_sk": "0", "kind": "job", "changed_at": "0"},
    "hook": {"kind": "hook", "changed_at": "0", "instance": INSTANCE, "scope": "group:-"},
    "project": {"kind": "project", "changed_at": "0", "instance": INSTANCE, "project_id": "x"},
    "runner": {"kind": "runner", "changed_at": "9"},
    "owner": {"runner_id": "rf-docker-000000000000", "pool": "docker"},
    "pool": {"in_use": 0, "version": 0, "back_off": "x"},
    "credential": {"token": "glrt-mine"},
    "order": {"order": "drain", "reason": 7},
}


def an_hour(plant: Callable[[Scene, Runner], None]) -> Scene:
    """One job runs and one waits while the fleet's passes go on; a machine plants something."""
    scene = Scene()
    scene.world.fleet.watch(INSTANCE, PROJECT, "acme/demo", at=AT)
    runner = scene.runs(1)
    plant(scene, runner)
    scene.waits(2)
    for _ in range(3):
        scene.reconcile()
        scene.scale()
        scene.sweep()
        scene.clock.go(60)
        scene.reports(runner, MachineState.BUSY, job_id=1)
    return scene


def effects(scene: Scene) -> dict[str, Any]:
    """All that the fleet did and knows."""
    return {
        "ledger": scene.table.items,
        "orders": scene.backend.orders,
        "ended": scene.backend.ended,
        "jobs": scene.gitlab.jobs,
        "records": scene.gitlab.records,
        "demands": scene.queue.demands,
        "buried": scene.queue.buried,
    }


@pytest.mark.parametrize("name", PLANTED)
def test_an_item_planted_in_a_mailbox_changes_nothing_of_the_fleet(name: str) -> None:
    def plant(scene: Scene, runner: Runner) -> None:
        box = runner.mailbox or ""
        scene.table.mail.items[box, name] = {"pk": box, "sk": name, **PLANTED[name]}

    assert effects(an_hour(plant)) == effects(an_hour(lambda scene, runner: None))


def test_attributes_planted_in_the_report_itself_change_nothing_of_the_fleet() -> None:
    def plant(scene: Scene, runner: Runner) -> None:
        report = scene.table.mail.items[runner.mailbox or "", "report"]
        for planted in PLANTED.values():
            report |= {name: value for name, value in planted.items() if name not in report}

    assert effects(an_hour(plant)) == effects(an_hour(lambda scene, runner: None))


@pytest.mark.parametrize("role", ["MachineRole", "Runner2gbRole", "Runner4gbRole", "Runner8gbRole"])
def test_a_machine_s_role_names_nothing_of_the_ledger(role: str) -> None:
    assert "Ledger" not in json.dumps(statements(role))


def test_the_mailboxes_have_no_index_and_no_recovery_and_forget() -> None:
    table = properties("Mailboxes")
    assert "GlobalSecondaryIndexes" not in table
    assert "LocalSecondaryIndexes" not in table
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    recovery = table["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": False}


def test_all_that_the_fleet_leaves_in_a_mailbox_is_forgotten() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.world.runners.drain(runner, Reason.SURPLUS, at=AT)
    scene.reports(runner, MachineState.IDLE)
    mail = scene.table.mail.items
    assert {sk for _, sk in mail} == {"credential", "order", "report"}
    assert all(isinstance(item["ttl"], int) for item in mail.values())


def test_a_report_as_long_as_an_item_may_be_costs_its_own_job_s_history_little() -> None:
    scene = Scene()
    runner = scene.runs(1)
    step = {"at": AT.isoformat(), "step": "stopped", "detail": LONG}
    report = scene.table.mail.items[runner.mailbox or "", "report"]
    report |= {"steps": [step] * 500, "detail": LONG, "runner_id": LONG, "more": LONG}
    assert scene.closes(runner, Reason.FINISHED)
    assert len(scene.row(1).steps) < STEPS_READ + 20
    assert len(json.dumps(scene.table.items["job#" + str(key(1)), "job"])) < (
        2 * STEPS_READ * LONGEST
    )


NONSENSE: tuple[Any, ...] = (["x"], {"a": {"b": 1}}, -(10**30), "x" * 300, b"x", {"x"}, True)


def full_scene() -> Scene:
    """A fleet with a row of every kind, and a job that waits in another pool than the others."""
    scene = Scene(text=TWO_POOLS)
    fleet = scene.world.fleet
    fleet.watch(INSTANCE, PROJECT, "acme/demo", at=AT)
    fleet.note_listed(INSTANCE, at=AT)
    fleet.note_token_life(None, at=AT)
    fleet.record_hook(
        HookRow(
            instance=INSTANCE,
            scope=HookScope(kind="project", id=PROJECT),
            hook_id=1,
            url="https://hook.example.com",
            verification="signing-token",
            name="project:7",
        )
    )
    fleet.note_hold(Hold(kind=HoldKind.PACE, since=AT, ask_at=AT, words="slow down", pool="docker"))
    fleet.note_trouble(Trouble(kind="token", since=AT, call="GET /x", words="401"))
    raised = Control(kind=ControlKind.CEILING, about="docker", at=AT, who="ann", ceiling=9)
    fleet.order(raised, Act(at=AT, who="ann", what="ceiling docker 9"))
    scene.gitlab.groups_by_project[PROJECT] = (42,)
    fleet.note_groups(INSTANCE, PROJECT, ProjectGroups(ids=(42,), asked_at=AT))
    for name in ("pool#docker", f"project#{PROJECT}"):
        scene.table.write(Change(pk=f"spend#{AT:%Y-%m-%d}", sk=name, add={"nano": 1}))
    (gone,) = scene.launched(3)
    scene.gitlab.change(3, status="canceled")
    scene.settle(3, "canceled")
    assert scene.closes(gone, Reason.WENT_UNSERVED)
    runner = scene.runs(1)
    scene.reports(runner, MachineState.BUSY, job_id=1)
    scene.waits(2)
    scene.world.jobs.fits.note(scene.job(2), at=AT)
    scene.world.jobs.retries.claim(Intent(job=key(2), failure_reason=None), at=AT)
    scene.clock.go(20)
    scene.waits(9, tags=("second",))
    return scene


def spoiled(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An item with each of its attributes missing, or as something else; index keys are text."""
    protected = {"pk", "sk", "kind", "open_pk", "recent_pk"}
    for count, name in enumerate(sorted(item.keys() - protected)):
        if name not in {"changed_at", "open_sk"}:
            yield {other: value for other, value in item.items() if other != name}
            yield {**item, name: NONSENSE[count % len(NONSENSE)]}
        else:
            yield {**item, name: "!"}
    yield {
        name: value for name, value in item.items() if name in {*protected, "changed_at", "open_sk"}
    }


GROUP_HOOK = "group:42@00000000"


def as_runner(runner: Runner, job_id: int) -> dict[str, Any]:
    """What GitLab says of the runner of job 1."""
    if job_id != 1:
        return {}
    return {"runner_id": runner.gitlab_runner_id, "runner_description": described(runner)}


ROWS = sorted(full_scene().table.items)


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_row_that_cannot_be_read_stops_no_pass_and_no_other_pool(
    row: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    item = full_scene().table.items[row]
    mine = row[0] in {f"job#{key(9)}", "pool#second"}
    for bad in spoiled(item):
        scene = full_scene()
        scene.table.items[row] = bad
        scene.reconcile()
        with suppress(Refused):  # of the pool whose own row it is, when the others are served
            scene.scale()
        scene.sweep()
        served = {entry.for_job for entry in scene.world.runners.live("second")}
        assert mine or key(9) in served, bad
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_a_row_that_cannot_be_read_stops_no_event_and_keeps_no_runner_open(
    row: tuple[str, str],
) -> None:
    """Job 1 ends, whose runner is then closed; jobs 10 and 11 come and are taken."""
    item = full_scene().table.items[row]
    its_own = row[0] == "pool#docker"  # the pool's row, and its runners'
    for bad in spoiled(item):
        scene = full_scene()
        runner = next(candidate for candidate in scene.runners if candidate.job == key(1))
        scene.table.items[row] = bad
        scene.push(10)
        scene.route(10, hook=GROUP_HOOK)
        scene.gitlab.change(1, status="success")
        for job_id, status in ((1, "success"), (11, "running"), (11, "failed")):
            scene.settle(job_id, status, hook=GROUP_HOOK, **as_runner(runner, job_id))
        scene.settle_machine("EC2 Instance State-change Notification", "m-0")
        scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=1)
        scene.backend.die(runner.machine_id or "")
        for _ in range(2):
            scene.clock.go(400)
            scene.reconcile()  # has job 10 where its pipeline's row says that another reads it
            scene.sweep()
        assert scene.job(10).pool == "docker", bad
        assert its_own or runner.id not in {live.id for live in scene.runners}, bad


@pytest.mark.parametrize(("pk", "sk"), [("pool#docker", "pool"), ("spend#d", "pool#docker")])
def test_a_counter_that_is_no_number_keeps_no_runner_open(pk: str, sk: str) -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    name = {"pool": "in_use"}.get(sk, "nano")
    counters = {("pool#docker", "pool"): "in_use", ("spend#d", "pool#docker"): "nano"}
    scene.table.items.setdefault((pk, sk), {"pk": pk, "sk": sk})[name] = "many"
    spent = Change(pk="spend#d", sk="pool#docker", add={"nano": 5})
    assert scene.world.runners.close(runner, Reason.FINISHED, at=AT, also=[spent])
    assert scene.world.runners.live("docker") == ()
    counts = {key: scene.table.items[key][counters[key]] for key in counters}
    sound = {("pool#docker", "pool"): 0, ("spend#d", "pool#docker"): 5}
    assert counts == {**sound, (pk, sk): "many"}
    assert scene.table.unreadable == {f"{pk} {sk}"}


def test_a_row_that_cannot_be_read_is_counted_and_is_a_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene = full_scene()
    for job_id in (2, 9):
        scene.table.items[f"job#{key(job_id)}", "job"] |= {"project_id": ["x"]}
    capsys.readouterr()
    assert scene.world.jobs.waiting_in("second") == ()
    line = json.loads(capsys.readouterr().out)
    logged = {name: line[name] for name in ("event", "level", "table", "rows", "error")}
    assert logged == {
        "event": "RowsUnreadable",
        "level": "WARNING",
        "table": "ledger",
        "rows": 1,
        "error": "project_id",
    }
    facts = FleetFacts(
        at=AT,
        config=read_config(TWO_POOLS, backends=("tests",)),
        applied_at=AT - timedelta(hours=1),
        unreadable=tuple(scene.table.unreadable),
    )
    (problem,) = [item for item in decide_problems(facts) if item.kind is ProblemKind.UNREADABLE]
    assert (problem.count, problem.example) == (1, f"job#{key(9)} job")


def test_a_machine_whose_row_cannot_be_read_is_no_stray() -> None:
    scene = full_scene()
    (runner,) = scene.world.runners.live("docker")
    scene.table.items["pool#docker", f"runner#{runner.id}"] |= {"launched_at": "never"}
    scene.reports(runner, MachineState.IDLE)
    scene.clock.go(3600)
    scene.sweep()
    assert runner.machine_id not in scene.backend.ended
    assert runner.gitlab_runner_id in scene.gitlab.records


def test_steps_of_the_fleet_make_a_report_unreadable() -> None:
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.reports(runner, MachineState.IDLE)
    report = scene.table.mail.items[runner.mailbox or "", "report"]
    report["steps"] = [Step(at=AT, name=StepName.GIVEN_UP).item()]
    assert scene.world.runners.report(runner.mailbox or "") is None
