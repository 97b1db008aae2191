"""Tables are whole in a pipe, and JSON stays alone on standard output."""

import contextlib
import io

import pytest

from cli.consoles import console
from cli.lines import LONGEST


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    line = "x" * LONGEST
    console().print(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_nothing_stands_beside_the_json_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console(as_json=True).print("3 of 440 runs")
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_a_person_sees_progress_beside_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Two hours of silence would look like a hang."""
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal):
        console(as_json=True).print("3 of 440 runs")
    assert "3 of 440 runs" in terminal.getvalue()
    assert capsys.readouterr().out == ""
