"""`runner-fleet local chaos`: faults on purpose, and a count of what they cost."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.consoles import cell, console as open_console, joined, ok_or_not
from cli.lines import say, say_json
from cli.machines import MachineForm, Machines, containers
from cli.options import AsJson
from cli.signals import cleaning_up
from local.chaos.faults.catalogue import FAULTS, fault_named
from local.chaos.faults.fault import Fault
from local.chaos.judge import ChaosResult
from local.chaos.suite import Plan, run_suite
from local.chaos.table import Line, by_fault

FaultName = Annotated[
    list[str] | None, typer.Option("--fault", help="Run this fault only; may be repeated.")
]
Seed = Annotated[
    list[int] | None, typer.Option(help="Run this seed only, to see a run again; may be repeated.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Run every fault with the seeds 1 to this.")]
AtOnce = Annotated[
    int,
    typer.Option(
        min=1, help="Runs at once, each on a laptop of its own; one per processor by default."
    ),
]
Data = Annotated[Path | None, typer.Option(help="Keep the files of the laptops below this folder.")]
Explain = Annotated[bool, typer.Option("--explain", help="Print the history of every job.")]
Names = Annotated[bool, typer.Option("--list", help="List the faults and end.")]
PROCESSORS = os.cpu_count() or 1


def chaos(  # noqa: PLR0913  # one parameter for each option
    fault: FaultName = None,
    seed: Seed = None,
    seeds: Seeds = 1,
    *,
    as_json: AsJson = False,
    data: Data = None,
    at_once: AtOnce = PROCESSORS,
    machines: Machines = MachineForm.PROCESSES,
    explain: Explain = False,
    names: Names = False,
) -> None:
    """Break the service on purpose and prove that no job and no machine is lost.

    Every fault runs on the whole service on this machine, with jobs drawn from the seed.

    Example: runner-fleet local chaos --fault lost-webhooks --seeds 3
    """
    console = open_console(as_json=as_json)
    if names:
        for known in FAULTS:
            say(f"{known.name:24} {known.about}")
        return
    chosen = _chosen(fault)
    wanted = seed or list(range(1, seeds + 1))
    plan = Plan(
        faults=chosen,
        seeds=wanted,
        at_once=at_once,
        containers=containers(machines),
        data=data,
    )
    rows = []
    with cleaning_up(), console.status("") as status:
        for row in run_suite(plan):
            rows.append(row)
            _show(console, row, trail=explain or not row.ok)
            status.update(f"{len(rows)} of {len(plan.runs())} runs")
    order = [(known.name, number) for known in chosen for number in wanted]
    rows.sort(key=lambda row: order.index((row.fault, row.seed)))
    if as_json:
        ok = all(row.ok for row in rows)
        say_json({"ok": ok, "faults": [row.to_json() for row in rows]}, indent=2)
    else:
        console.print(_table(by_fault(rows)))
    raise typer.Exit(0 if all(row.ok for row in rows) else 1)


def _chosen(names: list[str] | None) -> list[Fault]:
    """The faults of these names, or all. Exits with 2 for an unknown name."""
    chosen = []
    for name in names or []:
        fault = fault_named(name)
        if fault is None:
            known = ", ".join(fault.name for fault in FAULTS)
            say(f'Error: no fault is called "{name}": choose one of {known}', err=True)
            raise typer.Exit(2)
        chosen.append(fault)
    return chosen or list(FAULTS)


def _show(console: Console, row: ChaosResult, *, trail: bool) -> None:
    """One line for a run, one for each of its problems, and the history of its jobs if wanted."""
    numbers = cell(
        f"{'    ' if row.ok else ''} {row.fault:24} seed {row.seed:<4} "
        f"{row.finished}/{row.jobs} jobs, longest wait {row.longest_wait_s:5.1f} s, "
        f"{row.launched:2} machines, {row.seconds:5.1f} s"
        f"{'' if row.injected else ', the fault did not strike'}"
    )
    console.print(joined(ok_or_not(row.ok), numbers), soft_wrap=True)
    for line in (*row.problems, *(row.trail if trail else ())):
        console.print(f"       {line}", soft_wrap=True)


def _table(lines: tuple[Line, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("fault", no_wrap=True)
    for name in ("struck", "jobs", "finished", cell("longest", "wait"), "launched", "surplus"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("leaked", "stuck", cell("killed", "busy"), "seed"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        total = line.total
        table.add_row(
            total.fault,
            f"{line.struck}/{line.runs}",
            str(total.jobs),
            str(total.finished),
            f"{total.longest_wait_s:.1f} s",
            str(total.launched),
            f"{total.surplus_machine_s:.0f} s",
            *(_zero(count) for count in (total.leaked, total.stuck, total.killed_busy)),
            str(total.seed),
            style=None if total.ok else "red",
        )
    return table


def _zero(count: int) -> Text:
    return cell(count, style="bold red" if count else "")
