"""`status` on a terminal: problems first, then what there is. Draws values, decides nothing."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from cli.consoles import NARROW, ByWidth, add, cell, fill, hanging, listing, machine_word
from fleet.rules.problems.kinds import Problem
from operations.durations import duration
from operations.fleet_view import FleetView, JobView, MachineView, PoolView, QueueView

COLOURS = {
    "success": "green",
    "failed": "red",
    "canceled": "yellow",
    "running": "cyan",
    "busy": "cyan",
    "idle": "green",
    "draining": "yellow",
}
# Their words stay whole; the others give way.
WHOLE = frozenset(
    {"job", "status", "waited", "ran", "runner", "machine", "state", "for", "heard"}
    | {"pool", "in use", "warm"}
)
STATES = ("requested", "in_flight", "booted", "idle", "busy", "draining", "done")


def render(view: FleetView) -> RenderableType:
    """The parts below each other, readable at 80 columns. Texts from outside are never markup."""
    head = f"{view.stack} · {view.gitlab} · fleet.toml {view.version} · {view.at:%F %T} UTC"
    return Group(
        cell(head, style="bold"),
        _problems(view.problems),
        *_orders(view),
        ByWidth(lambda width: _pools(view.pools, width)),
        _queues(view.queues),
        ByWidth(lambda width: _machines(view.machines, width))
        if view.machines
        else cell("no machine"),
        ByWidth(lambda width: _jobs(view.jobs, width)) if view.jobs else cell("no job yet"),
    )


def _problems(problems: Iterable[Problem]) -> RenderableType:
    lines = [
        line
        for problem in problems
        for line in (
            hanging(cell("! ", style="bold red"), cell(problem.what)),
            hanging(cell("  "), cell(problem.do, style="dim")),
        )
    ]
    return Group(*lines) if lines else cell("no problems", style="green")


def _orders(view: FleetView) -> list[RenderableType]:
    """What people ordered, and what is used of budgets."""
    lines: list[RenderableType] = []
    for order in view.controls:
        note = f": {order.note}" if order.note else ""
        words = f"{order.says}, by {order.who} at {order.since:%F %R} UTC{note}"
        lines.append(hanging(cell("= ", style="bold yellow"), cell(words)))
    for budget in view.budgets:
        of = "project" if budget.is_project else "pool"
        words = f"{of} {budget.name}: {budget.used_usd:.2f} of {budget.usd_per_day:.2f} USD today"
        lines.append(hanging(cell("= "), cell(words, style="dim")))
    return lines


def _word(word: str) -> Text:
    return cell(word, style=COLOURS.get(word, ""))


def _pools(pools: Iterable[PoolView], width: int) -> RenderableType:
    """Why each is as it is stands below the table."""
    rows: list[Sequence[object]] = []
    whys: list[RenderableType] = []
    for pool in pools:
        waiting = str(pool.backlog)
        if pool.backlog:
            waiting += f", {duration(pool.oldest_wait_s)}"
        states = [f"{pool.states[state]} {state}" for state in STATES if pool.states.get(state)]
        back_off = [f"{b.capacity}: {b.code}, {duration(b.for_s)} more" for b in pool.back_off]
        why = "leaving" if pool.is_leaving else pool.sentence
        rows.append(
            (
                pool.name,
                pool.backend,
                f"{pool.in_use}/{pool.ceiling}",
                ", ".join(states) or "-",
                pool.warm,
                waiting,
            )
        )
        words = filter(None, (why, *back_off))
        whys += [hanging(cell(f"  {pool.name}: ", style="dim"), cell(word)) for word in words]
    names = ("pool", "back end", "in use", "runners", "warm", "waiting")
    table = listing("Pools", *names, whole=WHOLE)
    fill(table, rows, width=width, drop=("back end", "warm"))
    return Group(table, *whys)


def _queues(queues: Iterable[QueueView]) -> RenderableType:
    table = listing("Queues", "queue", "messages", "dead letters")
    for queue in queues:
        dead = cell(queue.dead, style="red" if queue.dead else "")
        add(table, queue.name, queue.messages, dead)
    return table


def _machines(machines: Iterable[MachineView], width: int) -> RenderableType:
    names = ("runner", "state", "for", "heard", "job", "machine", "from")
    rows = [
        (
            machine.runner_id,
            _word(machine.state),
            duration(machine.for_s),
            f"{duration(machine.heard_s)} ago" if machine.heard_s is not None else "-",
            machine.job_id or "-",
            machine_word(machine.machine_id),
            machine.capacity or "-",
        )
        for machine in machines
    ]
    table = listing("Machines", *names, whole=WHOLE)
    fill(table, rows, width=width, drop=("from", "heard", "machine"))
    return table


def _jobs(jobs: Iterable[JobView], width: int) -> RenderableType:
    """Why a job waits or failed stands below the table."""
    jobs, is_wide = tuple(jobs), width >= NARROW
    names = ["job", "status", "waited", "ran", "runner", "name", "project"]
    names += ["tags", "pool"] if is_wide else []
    rows: list[Sequence[object]] = []
    for job in jobs:
        row: list[object] = [
            job.job_id,
            _word(job.status),
            duration(job.waited_s),
            duration(job.ran_s),
            job.runner_id or "-",
            job.name,
            job.project,
        ]
        row += [" ".join(job.tags), job.pool or "-"] if is_wide else []
        rows.append(row)
    table = listing("Jobs", *names, whole=WHOLE)
    fill(table, rows, width=width, drop=("tags", "project") if is_wide else ("project",))
    whys = [
        hanging(cell(f"  {job.job_id}: ", style="dim"), cell(job.sentence))
        for job in jobs
        if job.sentence
    ]
    return Group(table, *whys)
