"""`status` on a terminal: problems first, then what there is. Draws values, decides nothing."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.consoles import beside, cell
from fleet.rules.problems import Problem
from operations.durations import duration
from operations.status import FleetView, JobView, MachineView, PoolView, QueueView

COLOURS = {
    "success": "green",
    "failed": "red",
    "canceled": "yellow",
    "running": "cyan",
    "busy": "cyan",
    "idle": "green",
    "draining": "yellow",
}
# Short ones, whose words stay whole as long as the others can give way.
WHOLE = frozenset({"job", "status", "waited", "ran", "state", "for", "heard", "in use", "warm"})
STATES = ("requested", "in_flight", "booted", "idle", "busy", "draining", "done")


def render(view: FleetView) -> RenderableType:
    """The parts below each other. Texts from outside are never markup."""
    head = f"{view.stack} · {view.gitlab} · fleet.toml {view.version} · {view.at:%F %T} UTC"
    return Group(
        cell(head, style="bold"),
        _problems(view.problems),
        *_orders(view),
        _pools(view.pools),
        _queues(view.queues),
        _machines(view.machines) if view.machines else cell("no machine"),
        _jobs(view.jobs) if view.jobs else cell("no job yet"),
    )


def _problems(problems: Iterable[Problem]) -> RenderableType:
    lines = [
        line
        for problem in problems
        for line in (
            beside(cell("! ", style="bold red"), cell(problem.what)),
            beside(cell("  "), cell(problem.do, style="dim")),
        )
    ]
    return Group(*lines) if lines else cell("no problems", style="green")


def _orders(view: FleetView) -> list[RenderableType]:
    """What people ordered, and what is used of budgets."""
    lines: list[RenderableType] = []
    for order in view.controls:
        note = f": {order.note}" if order.note else ""
        words = f"{order.says}, by {order.who} at {order.since:%F %R} UTC{note}"
        lines.append(beside(cell("= ", style="bold yellow"), cell(words)))
    for budget in view.budgets:
        of = "project" if budget.is_project else "pool"
        words = f"{of} {budget.name}: {budget.used_usd:.2f} of {budget.usd_per_day:.2f} USD today"
        lines.append(beside(cell("= "), cell(words, style="dim")))
    return lines


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    for name in columns:
        table.add_column(name, header_style="dim", overflow="fold", no_wrap=name in WHOLE)
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(value if isinstance(value, Text) else cell(value) for value in cells))


def _word(word: str) -> Text:
    return cell(word, style=COLOURS.get(word, ""))


def _pools(pools: Iterable[PoolView]) -> Table:
    table = _table("Pools", "pool", "back end", "in use", "runners", "warm", "waiting", "why")
    for pool in pools:
        waiting = str(pool.backlog)
        if pool.backlog:
            waiting += f", {duration(pool.oldest_wait_s)}"
        states = [f"{pool.states[state]} {state}" for state in STATES if pool.states.get(state)]
        back_off = [f"{b.place}: {b.code}, {duration(b.for_s)} more" for b in pool.back_off]
        why = "leaving" if pool.is_leaving else pool.sentence
        _row(
            table,
            pool.name,
            pool.backend,
            f"{pool.in_use}/{pool.ceiling}",
            ", ".join(states) or "-",
            pool.warm,
            waiting,
            cell(why, *back_off),
        )
    return table


def _queues(queues: Iterable[QueueView]) -> Table:
    table = _table("Queues", "queue", "messages", "dead letters")
    for queue in queues:
        _row(
            table,
            queue.name,
            queue.messages,
            cell(queue.dead, style="red" if queue.dead else ""),
        )
    return table


def _machines(machines: Iterable[MachineView]) -> Table:
    names = ("runner", "machine", "state", "for", "heard", "job", "from")
    table = _table("Machines", *names)
    for machine in machines:
        heard = f"{duration(machine.heard_s)} ago" if machine.heard_s is not None else "-"
        _row(
            table,
            machine.runner_id,
            machine.machine_id or "-",
            _word(machine.state),
            duration(machine.for_s),
            heard,
            machine.job_id or "-",
            machine.capacity or "-",
        )
    return table


def _jobs(jobs: Iterable[JobView]) -> Table:
    names = ("job", "name", "project", "tags", "pool", "status", "waited", "ran", "runner or why")
    table = _table("Jobs", *names)
    for job in jobs:
        _row(
            table,
            job.job_id,
            job.name,
            job.project,
            " ".join(job.tags),
            job.pool or "-",
            _word(job.status),
            duration(job.waited_s),
            duration(job.ran_s),
            cell(*(filter(None, (job.runner_id, job.sentence))))
            if job.runner_id or job.sentence
            else "-",
        )
    return table
