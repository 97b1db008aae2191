"""`status` on a terminal: problems first, then what there is. Draws values, decides nothing."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.rules.problems import Problem
from operations.durations import duration
from operations.status_view import FleetView, JobView, MachineView, PoolView, QueueView

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
    """Everything below one another. Texts from outside are drawn as they are, never as markup."""
    head = f"{view.stack} · {view.gitlab} · fleet.toml {view.version} · {view.at:%F %T} UTC"
    return Group(
        Text(head, style="bold"),
        _problems(view.problems),
        _pools(view.pools),
        _queues(view.queues),
        _machines(view.machines) if view.machines else Text("no machine"),
        _jobs(view.jobs) if view.jobs else Text("no job yet"),
    )


def cell(value: object, style: str = "") -> Text:
    """Text from outside as it is: no markup, and no codes that a terminal would obey."""
    shown = "".join(one for one in str(value) if one.isprintable() or one == "\n")
    return Text(shown, style=style, no_wrap=False, overflow="fold")


def _problems(problems: Iterable[Problem]) -> RenderableType:
    lines = [
        Text.assemble(("! ", "bold red"), cell(one.what), (f"\n  {one.do}", "dim"))
        for one in problems
    ]
    return Group(*lines) if lines else Text("no problems", style="green")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False, box=None)
    for name in columns:
        table.add_column(name, header_style="dim", overflow="fold", no_wrap=name in WHOLE)
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(one if isinstance(one, Text) else cell(one) for one in cells))


def _word(word: str) -> Text:
    return cell(word, COLOURS.get(word, ""))


def _pools(pools: Iterable[PoolView]) -> Table:
    table = _table("Pools", "pool", "back end", "in use", "runners", "warm", "waiting", "why")
    for one in pools:
        waiting = str(one.backlog)
        if one.backlog:
            waiting += f", {duration(one.oldest_wait_s)}"
        states = [f"{one.states[state]} {state}" for state in STATES if one.states.get(state)]
        back_off = [f"{b.place}: {b.code}, {duration(b.for_s)} more" for b in one.back_off]
        why = "leaving" if one.is_leaving else one.sentence
        _row(
            table,
            one.name,
            one.backend,
            f"{one.in_use}/{one.ceiling}",
            ", ".join(states) or "-",
            one.warm,
            waiting,
            "\n".join([why, *back_off]),
        )
    return table


def _queues(queues: Iterable[QueueView]) -> Table:
    table = _table("Queues", "queue", "messages", "dead letters")
    for one in queues:
        _row(table, one.name, one.messages, Text(str(one.dead), style="red" if one.dead else ""))
    return table


def _machines(machines: Iterable[MachineView]) -> Table:
    names = ("runner", "machine", "state", "for", "heard", "job", "from")
    table = _table("Machines", *names)
    for one in machines:
        heard = f"{duration(one.heard_s)} ago" if one.heard_s is not None else "-"
        _row(
            table,
            one.runner_id,
            one.machine_id or "-",
            _word(one.state),
            duration(one.for_s),
            heard,
            one.job_id or "-",
            one.capacity or "-",
        )
    return table


def _jobs(jobs: Iterable[JobView]) -> Table:
    names = ("job", "name", "project", "tags", "pool", "status", "waited", "ran", "runner or why")
    table = _table("Jobs", *names)
    for one in jobs:
        _row(
            table,
            one.job_id,
            one.name,
            one.project,
            " ".join(one.tags),
            one.pool or "-",
            _word(one.status),
            duration(one.waited_s),
            duration(one.ran_s),
            "\n".join(filter(None, (one.runner_id, one.sentence))) or "-",
        )
    return table
