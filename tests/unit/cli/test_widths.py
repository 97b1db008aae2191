"""Every screen at 80 and at 200 columns, and in a pipe: no id is broken, no line too long."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, RenderableType

from adapters.ledger.history import HistoryRows
from cli import cost, demo, explain, jobs, runners, waits
from cli.status_render import render
from fleet.machine.mailbox import MachineState
from fleet.rules.costs import By
from fleet.steps import Step, StepName
from local.demo.run import DemoJob
from operations.controls import end_runner
from operations.cost import cost as cost_of
from operations.explain import explain_job, read_reference
from operations.fleet_handle import Deployed
from operations.jobs import JobQuery, list_jobs
from operations.periods import read_period
from operations.runners import list_runners
from operations.status import gather
from operations.trail import Trail
from operations.waits import waits as waits_of
from tests.unit.cli.fleet_at_work import AT, FLEET, AtWork, ago
from tests.unit.cli.test_history import past

POOL = "integration-tests-with-docker-x"  # as long as a name may be
RUNNER = f"rf-{POOL}-{1:012x}"
JOB = 9876543210
MACHINE = "i-0123456789abcdef0"
FUNCTION = "runner-fleet-runner-protected-8gb/rf-node-80720bd3737a"
PROJECT = "acme/platform/payments-api"


def at_work() -> AtWork:
    """A fleet whose ids are as long as they get."""
    stack = AtWork().configure(FLEET.replace("pools.docker", f"pools.{POOL}"))
    runner = stack.runner(1, pool=POOL)
    row = stack.table.items[f"pool#{POOL}", f"runner#{runner.id}"]
    row |= {"machine_id": MACHINE, "capacity": "m7i.2xlarge/subnet-0a1b2c3d4e5f60718/on-demand"}
    stack.reports(runner, MachineState.BUSY, job_id=JOB)
    facts = {"project_path": PROJECT, "name": "build-image: [linux, arm64]", "pool": POOL}
    job = stack.job(JOB, waits_s=120, tags=("docker", "arm64"), **facts)
    stack.advance(job, "running", at=ago(60), started_at=ago(60), runner_id=RUNNER)
    step = Step(
        at=ago(90),
        name=StepName.LAUNCHED,
        runner=RUNNER,
        machine=FUNCTION,
        pool=POOL,
    )
    stack.jobs.extend(job.key, [step])
    stack.job(JOB + 1, waits_s=90, **facts)
    rows = HistoryRows(stack.table)
    rows.write(past(JOB - 1, ended_s=-60, machine=MACHINE, project=PROJECT, pool=POOL))
    end_runner(stack.deployed, RUNNER, note="stuck")
    return stack


def _explained(deployed: Deployed, width: int) -> RenderableType:
    answer = explain_job(deployed, read_reference(str(JOB)), lambda: None)
    assert isinstance(answer, Trail)
    return explain.draw(answer)


WEEK = read_period("7d", AT)
# Each screen, with the ids that must stand in it at any width.
SCREENS: dict[str, tuple[Callable[[Deployed, int], RenderableType], tuple[str, ...]]] = {
    "status": (lambda d, _: render(gather(d, jobs=9)), (RUNNER, str(JOB), str(JOB + 1))),
    "jobs": (
        lambda d, width: jobs.draw(list_jobs(d, JobQuery(period=WEEK)), width=width),
        (str(JOB), str(JOB + 1), str(JOB - 1)),
    ),
    "runners": (
        lambda d, width: runners.draw(list_runners(d, ended_in=WEEK), width=width),
        (RUNNER, str(JOB - 1)),
    ),
    "cost": (
        lambda d, width: cost.draw(cost_of(d, WEEK, By.JOB), width=width),
        (f"{PROJECT}#{JOB - 1}",),
    ),
    "waits": (
        lambda d, width: waits.draw(waits_of(d, WEEK, over_s=60), width=width),
        (POOL, str(JOB - 1)),
    ),
    "explain": (_explained, (str(JOB), RUNNER, FUNCTION)),
}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", SCREENS)
def test_no_id_is_broken_and_no_line_is_too_long(name: str, width: int) -> None:
    draw, ids = SCREENS[name]
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, highlight=False, _environ={})
    console.print(draw(at_work().deployed, width))
    text = out.getvalue()
    assert [name for name in ids if name not in text] == [], text
    assert max(map(len, text.splitlines())) <= width, text


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        *((command, RUNNER) for command in ("status", "runners", f"explain {JOB}", "pool acts")),
        ("jobs", PROJECT),
        ("cost --by job", f"{PROJECT}#{JOB - 1}"),
        ("waits", str(JOB - 1)),
    ],
)
def test_a_pipe_has_no_colour_and_whole_ids_however_wide_the_terminal_is(
    command: str, wanted: str
) -> None:
    result = at_work().run(*command.split(), env={"COLUMNS": "40"})
    assert "\x1b" not in result.stdout
    assert wanted in result.stdout


def test_a_demo_is_read_whole_on_a_small_terminal() -> None:
    job = DemoJob(
        id=1,
        name="cancelled-by-a-person",
        tags=("ec2",),
        pool="docker",
        backend="ec2",
        machine="i-2e7a2ff717f62f271",
        status="canceled",
        waited_s=19.3,
        ran_s=8.0,
        torn_down=True,
        reason="covered",
    )
    gone: dict[str, Any] = {
        "machine": "runner-fleet-runner-2gb/rf-node-dd5f3054c4f7",
        "pool": "node",
    }
    failed = replace(job, name="fails", status="failed", reason="script_failure", **gone)
    unserved = replace(job, name="served-by-nobody", pool=None, machine=None, reason="no_pool")
    out = StringIO()
    Console(file=out, width=80, color_system=None).print(demo.drawn((job, failed, unserved), 80))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for whole in ("i-2e7a2ff717f62f271", "canceled", "its script failed", "no pool of fleet.toml"):
        assert whole in text
    assert "booting or idle" not in text  # that job got its machine
