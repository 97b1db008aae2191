"""Texts from GitLab, jobs, machines and AWS cannot forge a line, steer a terminal or be markup."""

import ast
import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rich.console import RenderableType

from cli import consoles
from cli.explain import draw
from cli.failures import error_lines
from cli.lines import say, say_json, say_log
from cli.status_render import render
from fleet.errors import Refused
from fleet.events import DeliveryIgnored, emit
from fleet.rules.costs import By, CostLine
from fleet.rules.problems.kinds import Problem, ProblemKind
from operations.cost import CostView
from operations.fleet_view import BackOffView
from operations.trail import Hop, Trail
from tests.unit.cli.fleet_at_work import AT
from tests.unit.cli.test_status import JOB, MACHINE, POOL, VIEW

ROOT = Path(__file__).parents[2]

HOSTILE = {
    "newline": "x\n→ it ended well",
    "carriage return": "x\r→ it ended well",
    "form feed": "x\x0c\x0b\x1c\x1d\x1e\x1f→ it ended well",
    "next line": "x\x85→ it ended well",
    "line separators": "x\u2028\u2029→ it ended well",
    "colour": "x\x1b[31mred\x1b[0m",
    "erase": "x\x1b[2J\x1b[1;1H",
    "C1 codes": "x\x9b31m\x9d0;title\x9c",
    "title": "x\x1b]0;title\x07",
    "link": "x\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "backspace": "x\b\b\b\x7f",
    "NUL": "x\x00y",
    "right to left": "x\u202egnitset\u2066\u2067\u2068\u2069\u200f\u061c",
    "invisible": "x\u200b\u2060\ufeff\U000e0041",
    "half a character": "x\ud800y",
    "markup": "x[bold]y[/bold][link=https://evil.example]z[/link][/]",
    "emoji": "x:skull:",
}
PLAIN = "x"


def views(text: str) -> Iterator[RenderableType]:
    """What `explain` and `status` draw, with this text wherever one comes from outside."""
    hop = Hop(at=AT, step="waits", label=text, after_s=1.0, reason=None, sentence=text)
    yield draw(
        Trail(
            job_id=1,
            name=text,
            project=text,
            tags=(text, text),
            status=text,
            pool=text,
            attempt=1,
            runner_id=text,
            machine=text,
            waited_s=None,
            ran_s=None,
            hops=(hop, hop),
            standing="waiting",
            verdict=text,
            do=text,
        )
    )
    back_off = (BackOffView(capacity=text, code=text, for_s=60.0),)
    yield render(
        replace(
            VIEW,
            stack=text,
            gitlab=text,
            problems=(Problem(kind=ProblemKind.SILENT, what=text, do=text),),
            pools=(replace(POOL, name=text, sentence=text, back_off=back_off),),
            machines=(
                replace(MACHINE, runner_id=text, machine_id=text, state=text, capacity=text),
            ),
            jobs=(replace(JOB, name=text, project=text, tags=(text,), sentence=text, status=text),),
        )
    )


def printed(*drawn: Any, width: int = 4000) -> list[str]:
    """The lines of a terminal without colours."""
    out = io.StringIO()
    with redirect_stdout(out):
        console = consoles.console()
        console.width = width
        for each in drawn:
            console.print(each)
    assert all(item.isprintable() or item == "\n" for item in out.getvalue())
    return out.getvalue().split("\n")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_makes_a_line_or_an_order_in_a_view(text: str) -> None:
    for plain, view in zip(views(PLAIN), views(text), strict=True):
        assert len(printed(view)) == len(printed(plain))


@pytest.mark.parametrize("name", ["markup", "emoji"])
def test_markup_is_printed_as_it_is(name: str) -> None:
    for view in views(HOSTILE[name]):
        assert HOSTILE[name] in "\n".join(printed(view))


@settings(max_examples=15, deadline=None)
@given(text=st.text(st.characters(), min_size=1, max_size=40))
def test_any_text_stays_in_its_line(text: str) -> None:
    for plain, view in zip(views(PLAIN), views(text), strict=True):
        assert len(printed(view)) == len(printed(plain))


LONG = ("y" * 1_000_000, "y " * 200 + "→ it ended well", " " * 300 + "→ it ended well")


@pytest.mark.parametrize("text", LONG, ids=["one word", "words", "spaces"])
@pytest.mark.parametrize("field", ["name", "project", "verdict", "do"])
def test_long_text_begins_no_line_of_its_own(field: str, text: str) -> None:
    values = {each.name: getattr(TRAIL, each.name) for each in fields(Trail)}
    lines = printed(draw(Trail(**values | {field: text})), width=80)
    assert len([line for line in lines if line.startswith("→")]) == 1
    assert len(lines) < 30


TRAIL = Trail(
    job_id=1,
    name="unit",
    project="a/b",
    tags=(),
    status="pending",
    pool=None,
    attempt=1,
    runner_id=None,
    machine=None,
    waited_s=None,
    ran_s=None,
    hops=(),
    standing="waiting",
    verdict="it waits",
    do="",
)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_strings_that_are_drawn_are_cells(text: str) -> None:
    assert len(printed(text)) == 2


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "print_it",
    [
        lambda text: say(text, text),
        lambda text: say(text, err=True),
        lambda text: _fail(Refused(text, words=text)),
        lambda text: _fail(OSError(2, text, text)),
        lambda text: say_json({text: text}),
        lambda text: emit(DeliveryIgnored(reason=text, about=text)),
    ],
    ids=["line", "error line", "failure", "system error", "JSON", "log"],
)
def test_every_line_is_one_line(
    print_it: Callable[[str], object], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_it(text)
    captured = capsys.readouterr()
    whole = captured.out + captured.err
    assert whole.count("\n") == 1
    assert all(item.isprintable() for item in whole[:-1].replace("\t", ""))


def _fail(error: Exception) -> None:
    with pytest.raises(Exception, match="1"), error_lines():  # typer's Exit
        raise error


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_keeps_the_true_value(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"name": text})
    assert json.loads(capsys.readouterr().out) == {"name": text}


def test_a_job_log_steers_no_terminal_unless_it_is_raw(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(HOSTILE.values())
    say_log(f"{text}\tend\n", raw=False)
    assert all(item.isprintable() or item in "\n\t" for item in capsys.readouterr().out)


FORMULAS = [
    *(
        "=1+1",
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\u3000=1",
        "\uff1d1",
        "\ufe621",
    ),
    *("a;=1", "a\t=1", 'a",=1', "a\n=1,2", "\x1b]0;x\x07", "\u202e1+1=", "|x", "\ud800"),
]


@pytest.mark.parametrize("name", [*FORMULAS, *HOSTILE.values()])
def test_a_name_is_one_cell_of_text_in_csv(name: str) -> None:
    line = CostLine(name=name, **dict.fromkeys(NUMBERS, 1))  # type: ignore[arg-type]
    view = CostView(
        since=AT, until=AT, by=By.JOB, lines=(line,), usd=Decimal(1), machines=1, prices_as_of=""
    )
    text = view.to_csv()
    text.encode()
    assert text.count("\n") == 2
    assert all(character.isprintable() for character in text.replace("\n", ""))
    (_, (cell, *numbers)) = csv.reader(text.splitlines())
    assert (len(numbers), ";" in text) == (len(NUMBERS), False)
    assert unicodedata.normalize("NFKC", cell).strip()[0] not in "=+-@"


NUMBERS = [field.name for field in fields(CostLine) if field.name != "name"]

PRINTS = {"typer.echo", "typer.secho", "print", "Text", "Console", "sys.stdout.write"}


def test_commands_print_through_one_place_only() -> None:
    wrong = []
    for path in sorted((ROOT / "cli").glob("*.py")):
        if path.name in {"consoles.py", "lines.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in PRINTS or name.startswith("Text."):
                wrong.append(f"{path.name}:{node.lineno}")  # type: ignore[attr-defined]
    assert wrong == []
