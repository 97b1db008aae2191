"""Where commands draw: wide enough in a pipe, and out of the way of JSON.

Every string that is drawn is a cell: no markup, nothing that a terminal obeys, no line of its own.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cli.lines import LONGEST, cut
from operations.printable import escaped

PIPE_WIDTH = 4 * LONGEST  # columns where no terminal says how wide it is: nothing is folded
NARROW = 110  # columns; below that some parts of a screen are left out
GAP = 2  # between columns


def cell(*lines: object, style: str = "") -> Text:
    """Text without markup; a line of its own for each argument and for nothing else."""
    shown = "\n".join(cut(escaped(line)) for line in lines)
    return Text(shown, style=style, no_wrap=False, overflow="fold")


def hanging(first: Text, rest: RenderableType) -> RenderableType:
    """A text after `first`, with a hanging indent: further lines begin where it begins."""
    table = Table.grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(first, rest)
    return table


def joined(*cells: Text) -> Text:
    """Cells in a row, without a space between."""
    return Text.assemble(*cells, no_wrap=False, overflow="fold")


def ok_or_not(ok: bool) -> Text:
    """Whether a run went well."""
    return cell("ok", style="green") if ok else cell("not ok", style="red")


class _Console(Console):
    """Strings are cells, and no segment holds a control character."""

    def render_str(self, text: str, *, style: Any = "", **options: Any) -> Text:
        """The text as a cell, not as markup."""
        shown = cell(text)
        shown.style = style
        shown.justify = options.get("justify")
        return shown

    def render(self, *args: Any, **options: Any) -> Any:
        """The segments, escaped once more: a last guard for what is no cell."""
        for segment in super().render(*args, **options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(escaped(segment.text, keep="\n"), segment.style)


def console(*, as_json: bool = False) -> Console:
    """Standard output; under `as_json` only progress is drawn, for a person at a terminal.

    Standard output then has the JSON object alone.
    """
    stream = sys.stderr if as_json else sys.stdout
    return _Console(
        stderr=as_json,
        quiet=as_json and not stream.isatty(),
        width=None if stream.isatty() else PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


def listing(
    title: str, *columns: str, whole: Collection[str] = (), right: Collection[str] = ()
) -> Table:
    """An empty table. The words of `whole` columns stay whole: ids, numbers, lengths of time.

    Other columns give way to them, and end with an ellipsis where they are too long.
    """
    table = Table(
        title=title or None, title_justify="left", title_style="bold", pad_edge=False, box=None
    )
    for name in columns:
        is_whole = name in whole
        table.add_column(
            name,
            header_style="dim",
            overflow="fold" if is_whole else "ellipsis",
            no_wrap=is_whole,
            justify="right" if name in right else "left",
        )
    return table


def add(table: Table, *cells: object) -> None:
    """Add a row of cells to a listing, one line high."""
    row = [value if isinstance(value, Text) else cell(value) for value in cells]
    for text, column in zip(row, table.columns, strict=True):
        text.no_wrap, text.overflow = True, column.overflow
        if column.no_wrap:
            column.min_width = max(column.min_width or 0, text.cell_len)
    table.add_row(*row)


def fill(
    table: Table, rows: Sequence[Sequence[object]], *, width: int, drop: Sequence[str]
) -> None:
    """Add the rows. Columns of `drop` are left out, the first of them first, until ids fit."""
    names = [str(column.header) for column in table.columns]
    cells = [[value if isinstance(value, Text) else cell(value) for value in row] for row in rows]

    def needed(index: int) -> int:
        if not table.columns[index].no_wrap:
            return len(names[index])
        return max([len(names[index]), *(row[index].cell_len for row in cells)])

    shown = list(range(len(names)))
    for name in drop:
        if sum(map(needed, shown)) + GAP * (len(shown) - 1) <= width:
            break
        shown.remove(names.index(name))
    table.columns = [table.columns[index] for index in shown]
    for row in cells:
        add(table, *(row[index] for index in shown))


def machine_word(machine: str | None) -> str:
    """A machine's id; of a Lambda runner no more: its id is long, and has the runner's again."""
    return "Lambda" if "/" in (machine or "") else machine or "-"


class ByWidth:
    """What is drawn as wide as the console is."""

    def __init__(self, draw: Callable[[int], RenderableType]) -> None:
        self._draw = draw

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield self._draw(options.max_width)


def usd(amount: float | Decimal | None) -> str:
    """An amount as people read it: cents where it is dollars, else three digits that count."""
    if amount is None:
        return "-"
    if amount >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if amount else "0.00"
