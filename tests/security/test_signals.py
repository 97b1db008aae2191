"""Forged events, reports and rows end no machine and hide no job: two signals are needed."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.ledger.table import Change
from fleet.machine.mailbox import MachineState
from fleet.model import JobStatus, Runner, RunnerState
from fleet.reasons import Reason
from fleet.rules.reap import Fate
from fleet.steps import StepName
from orchestrator.settle import SettleResult, settle
from orchestrator.sweep import close_launch, end_launch
from tests.fakes import FakeBackend
from tests.security.ends import ENDS, OF_POOLS, SETTLE, SWEEP
from tests.unit.fleet.rules import test_reap, test_settle
from tests.unit.orchestrator.scene import FLEET, RETRYING, SHARED, Scene, described, key

GONE = "EC2 Instance State-change Notification"
SPOT = "EC2 Spot Instance Interruption Warning"
FAILED = "Lambda Function Invocation Result - Failure"
ROOT = Path(__file__).parents[2]
PARTS = ("orchestrator", "operations", "webhook", "lambda_runner", "ec2_runner", "cli", "adapters")
ENDING = frozenset(
    {"end_machine", "close_runner", "end", "delete_runner", "terminate_instances", "close"}
)
# What ends other things: text matches, threads, processes in a machine; and the clients themselves.
ELSEWHERE = (
    "ec2_runner.",
    "lambda_runner.",
    "adapters.guest.",
    "adapters.gitlab.",
    "adapters.machines.",
    "adapters.aws.",
    "cli.image.",
    "cli.commands.as_called",
    "cli.commands.written",
)


# The table


def called(node: ast.AST) -> Iterator[str]:
    """The names of the functions that a function calls."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            function = call.func
            if isinstance(function, ast.Name):
                yield function.id
            elif isinstance(function, ast.Attribute):
                yield function.attr


def enders() -> set[str]:
    """Every function of the product that ends a machine, closes a row or deletes a record."""
    defined = set()
    for path in (path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and ENDING & set(called(node)):
                defined.add(f"{module}.{node.name}")
    return {
        name
        for name in defined
        if not name.startswith(ELSEWHERE) and name.rpartition(".")[0] not in OF_POOLS
    }


def test_every_path_that_ends_a_machine_is_known() -> None:
    assert enders() == {end.of for end in ENDS}


def test_every_reason_to_end_a_machine_is_known() -> None:
    settled = {plan.reason.value for _, plan in test_settle.plans() if plan.close}
    ended = {Fate.CLOSE, Fate.RELAUNCH}
    swept = {plan.reason.value for *_, plan in test_reap.plans() if plan.fate in ended}
    assert settled == {why for end in ENDS if end.of == SETTLE for why in end.why}
    assert swept == {why for end in ENDS if end.of == SWEEP for why in end.why}


def test_every_path_has_two_signals_and_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for end in ENDS:
        assert len(end.signals) == 2
        for name in end.shown_by:
            assert f"def {name}(" in tests, name


# Events


def on_ec2(scene: Scene) -> FakeBackend:
    scene.world = replace(scene.world, backends={**scene.world.backends, "ec2": scene.backend})
    return scene.backend


def fails(scene: Scene, runner_id: str, *, round_: int = 0) -> SettleResult:
    """An event on the bus says that a runner's invocation failed."""
    detail = {"requestPayload": {"runner_id": runner_id}}
    return settle(scene.world, {"detail-type": FAILED, "detail": detail}, round_=round_)


@pytest.mark.parametrize("kind", [GONE, SPOT])
@pytest.mark.parametrize("alive", [True, None], ids=["its cloud shows it", "EC2 is behind"])
def test_a_forged_event_of_a_machine_ends_nothing(kind: str, alive: bool | None) -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    backend = on_ec2(scene)
    if alive is None:
        backend.shown.clear()
    scene.settle_machine(kind, runner.machine_id or "")
    assert backend.ended == []
    assert (scene.only_runner.state, scene.gitlab.jobs[1].status) == (RunnerState.BUSY, "running")


def test_a_rewritten_owner_row_leads_to_no_other_machine() -> None:
    scene = Scene(text=RETRYING)
    victim = scene.runs(1)
    (own,) = scene.launched(2)
    backend = on_ec2(scene)
    scene.table.write(Change(pk=f"owner#{own.mailbox}", sk="owner", put={"runner_id": victim.id}))
    backend.die(own.machine_id or "")
    backend.die(victim.machine_id or "")  # even then: the event is of another machine
    for kind in (GONE, SPOT):
        assert scene.settle_machine(kind, own.machine_id or "").reason is Reason.NO_RECORD
    assert backend.ended == []
    assert victim.id in {runner.id for runner in scene.runners}
    assert scene.gitlab.jobs[1].status == "running"


def test_an_event_of_a_machine_that_a_runner_had_before_is_nothing() -> None:
    scene = Scene()
    runner = scene.runs(1)
    backend = on_ec2(scene)
    row = Change(pk=f"pool#{runner.pool}", sk=f"runner#{runner.id}", put={"machine_id": "m-new"})
    scene.table.write(row)
    backend.die(runner.machine_id or "")
    assert scene.settle_machine(GONE, runner.machine_id or "").reason is Reason.NO_RECORD
    assert backend.ended == []


@pytest.mark.parametrize("name", ["an EC2 runner", "a sandbox", "unknown", ""])
def test_a_forged_failure_of_an_invocation_ends_nothing(name: str) -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.backend.shows_machines = name != "a sandbox"
    runner_id = name if name in {"unknown", ""} else runner.id
    first = fails(scene, runner_id)
    scene.clock.go(first.wait_s or 45)
    scene.reports(runner, MachineState.BUSY, job_id=1)
    second = fails(scene, runner_id, round_=1)
    known = name in {"an EC2 runner", "a sandbox"}
    assert second.reason is (Reason.UNCONFIRMED if known else Reason.NO_RECORD)
    assert (first.wait_s is not None) is (name == "a sandbox")
    assert not scene.only_runner.machine_lost
    assert scene.backend.ended == []
    assert scene.sweep().closed == 0
    assert scene.gitlab.jobs[1].status == "running"


@pytest.mark.parametrize("skew", [timedelta(days=-2), timedelta(), timedelta(days=2)])
def test_a_heartbeat_counts_whatever_the_machines_clock_says(skew: timedelta) -> None:
    scene = Scene()
    runner = scene.runs(1)
    scene.backend.shows_machines = False
    scene.reports(runner, MachineState.BUSY, job_id=1, dated=scene.clock() + skew)
    fails(scene, runner.id)
    scene.clock.go(45)
    scene.reports(runner, MachineState.BUSY, job_id=1, dated=scene.clock() + skew)
    assert fails(scene, runner.id, round_=1).reason is Reason.UNCONFIRMED
    assert len(scene.runners) == 1


@pytest.mark.parametrize(
    "forged", ["a job of its own", "the runner's job", "a job that does not exist"]
)
def test_a_forged_end_of_a_job_ends_no_machine(forged: str) -> None:
    """A holder of a webhook's secret can sign any job event."""
    scene = Scene()
    runner = scene.runs(1) if forged == "the runner's job" else scene.launched(1)[0]
    job_id = 1 if forged == "the runner's job" else 99
    if forged == "a job of its own":
        scene.push(99, status="success", runner_id=4711)
    for round_ in range(4):
        scene.settle(
            job_id,
            "success",
            round_=round_,
            runner_id=runner.gitlab_runner_id,
            runner_description=described(runner),
        )
    assert scene.backend.ended == []
    assert [item.id for item in scene.runners] == [runner.id]
    assert runner.gitlab_runner_id in scene.gitlab.records


def test_a_name_on_another_record_is_not_the_runner() -> None:
    """Anyone may describe a runner of their own like one of ours."""
    scene = Scene()
    (runner,) = scene.launched(1)
    scene.push(2, status="running", runner_id=4711, runner_description=described(runner))
    scene.settle(2, "running", runner_id=4711, runner_description=described(runner))
    assert scene.only_runner.state is RunnerState.IN_FLIGHT
    assert scene.job(2).runner_id is None


def test_a_forged_timer_ends_no_launch_before_its_time() -> None:
    scene = Scene()
    runner = scene.runs(1)
    backends = scene.world.backends.values()
    scene.clock.at = runner.expires_at - timedelta(minutes=1)
    assert end_launch(backends, runner.launch_id, at=scene.clock()) == 0
    assert close_launch(scene.world, runner.launch_id) == 0
    assert scene.backend.ended == []


# Reports


@pytest.mark.parametrize("ends_alone", [False, True])
def test_a_forged_goodbye_ends_no_machine_at_work(ends_alone: bool) -> None:
    scene = Scene(text=RETRYING)
    runner = scene.runs(1)
    scene.backend.shows_machines = not ends_alone
    scene.reports(runner, MachineState.DONE, StepName.ENDED, job_id=1)
    for _ in range(3):
        scene.clock.go(60)
        assert scene.sweep().closed == 0
    assert scene.backend.ended == []
    assert runner.gitlab_runner_id in scene.gitlab.records
    assert scene.gitlab.jobs[1].status == "running"


def claims(scene: Scene, runner: Runner, job_id: int) -> None:
    """A machine, or a job on it, says that it has a job."""
    scene.reports(runner, MachineState.BUSY, StepName.JOB_TAKEN, job_id=job_id)


def test_a_claim_takes_no_job_out_of_the_backlog() -> None:
    scene = Scene()
    (liar,) = scene.launched(1)
    scene.waits(2)
    claims(scene, liar, 2)
    assert scene.scale().launched == 1  # the liar is worth one job, as before
    scene.gitlab.change(1, status="running", runner_id=liar.gitlab_runner_id)
    scene.settle(1, "running", runner_id=liar.gitlab_runner_id, runner_description=described(liar))
    assert scene.job(2).status is JobStatus.PENDING
    assert scene.job(2).runner_id is None
    (other,) = (runner for runner in scene.runners if runner.id != liar.id)
    assert other.covers
    assert scene.world.jobs.waiting_in("docker")[0].key == key(2)


@pytest.mark.parametrize("text", [FLEET, SHARED])
def test_a_claim_hides_nothing_for_longer_than_a_minute(text: str) -> None:
    """Also where GitLab shows no machines, and the liar goes on with other claims."""
    scene = Scene(text=text)
    (liar,) = scene.launched(1)
    scene.gitlab.change(1, status="running", runner_id=1)
    scene.settle(1, "running", runner_id=1)  # taken, and GitLab names the pool's record only
    scene.waits(2)
    claims(scene, liar, 2)
    launched = scene.scale().launched
    for _ in range(3):
        scene.clock.go(30)
        claims(scene, liar, 2)
        launched += scene.scale().launched
    assert launched == 1


@pytest.mark.parametrize("text", [RETRYING, SHARED + "infra_retry = true\n"])
@pytest.mark.parametrize("has_webhook", [False, True], ids=["no webhook", "webhook"])
def test_a_claim_has_no_other_machines_job_cancelled(text: str, has_webhook: bool) -> None:
    scene = Scene(text=text)
    victim, liar = scene.launched(1, 2)
    record = victim.gitlab_runner_id or 1
    claims(scene, liar, 1)
    scene.gitlab.change(1, status="running", runner_id=record)
    if has_webhook:
        scene.settle(1, "running", runner_id=record)
    scene.backend.die(liar.machine_id or "")
    scene.clock.go(200)
    scene.reports(victim, MachineState.BUSY, job_id=1)
    scene.sweep()
    assert [runner.id for runner in scene.runners] == [victim.id]
    assert scene.gitlab.jobs[1].status == "running"
    assert "retry_job" not in scene.gitlab.calls


def test_a_claim_on_a_shared_record_frees_no_silent_machine() -> None:
    scene = Scene(text=SHARED)
    victim, liar = scene.launched(1, 2)
    claims(scene, victim, 1)
    claims(scene, liar, 1)
    scene.gitlab.change(1, status="running", runner_id=1)
    scene.gitlab.change(2, status="success", runner_id=1)
    scene.settle(1, "running", runner_id=1)
    for _ in range(8):
        scene.clock.go(60)
        claims(scene, liar, 1)
        scene.sweep()
    assert victim.machine_id not in scene.backend.ended


NAMED: list[object] = [7, [], {}, "", "rf-", "x" * 5000, "rf-\x00#\u202e"]


@pytest.mark.parametrize(
    "detail",
    [
        *(None, [], 7, "x", {}, {"requestPayload": None}, {"requestPayload": ["rf"]}),
        *({"requestPayload": {"runner_id": named}} for named in NAMED),
    ],
    ids=str,
)
def test_a_failure_that_names_no_runner_is_no_failure_of_settle(detail: object) -> None:
    scene = Scene()
    scene.launched(1)
    before = dict(scene.table.items)
    event = {"detail-type": "Lambda Function Invocation Result - Failure", "detail": detail}
    assert settle(scene.world, event, round_=0).wait_s is None
    assert scene.table.items == before
