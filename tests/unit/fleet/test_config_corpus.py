"""A corpus of wrong configuration files, each with the exact lines that it is answered with."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fleet.config.reading import ConfigError, read_config

PARTS = {
    "gitlab": '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"',
    "project": '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "project:7"',
    "docker": '[pools.docker]\nbackend = "ec2"\ntags = ["ec2", "docker"]\n'
    'instance_types = ["m7i.large", "m7a.large"]\nceiling = 5',
    "node": '[pools.node]\nbackend = "lambda"\ntags = ["lambda"]\nceiling = 9',
}
WRITTEN = Path(__file__).with_name("bad_fleet_files.txt").read_text(encoding="utf-8")


def whole(text: str) -> str:
    """The file that a case stands for: `{docker}` is that part, also `with` another value."""

    def part(line: re.Match[str]) -> str:
        plain, change, key = PARTS[line[1]], line[2], line[3]
        return re.sub(rf"(?m)^{key} =.*", lambda _: change, plain) if change else plain

    return re.sub(r"(?m)^\{(\w+)(?: with ((\w+) = .*))?\}$", part, text)


def corpus() -> Iterator[tuple[str, str, str]]:
    """Name, text and answer of each case in `bad_fleet_files.txt`.

    `=== name` starts a whole file, `+++ name` lines after [gitlab] and [pools.docker]; the answer's
    lines start with `> ` for an error, `~ ` for a warning, and the number of their line.
    """
    for mark, name, text, answer in re.findall(
        r"(?ms)^(===|\+\+\+) ([^\n]+)\n(.*?)((?:^[>~] [^\n]*\n)+)", WRITTEN
    ):
        start = "{gitlab}\n{docker}\n" if mark == "+++" else ""
        yield name, whole(start + text.removesuffix("\n")), answer


CASES = list(corpus())


@pytest.mark.parametrize(("text", "answer"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_every_problem_has_its_line_and_its_sentence(text: str, answer: str) -> None:
    try:
        mark, problems = "~", read_config(text).warnings
    except ConfigError as error:
        mark, problems = ">", error.problems
    lines = [str(problem).removeprefix("fleet.toml line ") for problem in problems] or ["none"]
    assert "".join(f"{mark} {line}\n" for line in lines) == answer


def test_no_case_is_lost_on_the_way() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES)
    assert len(CASES) == len(re.findall(r"(?m)^(?:===|\+\+\+) ", WRITTEN))


GOOD = whole('{project}\n{docker}\nidle = { count = 1 }  # warm\n{node}\noverflow = "docker"')
PIECES = ["", *'"]{=\n#0é\r\\', "true", "[x]", "[[pools]]", "1.5"]


@settings(max_examples=150)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.sampled_from(PIECES))
def test_a_damaged_file_is_read_or_answered_with_lines_that_exist(
    start: int, length: int, piece: str
) -> None:
    text = GOOD[:start] + piece + GOOD[start + length :]
    try:
        problems = read_config(text).warnings
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.column >= 1
