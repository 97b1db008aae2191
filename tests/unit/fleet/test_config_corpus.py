"""A corpus of wrong configuration files, each with the exact lines that it is answered with."""

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from fleet.config.reading import ConfigError, read_config

PARTS = {
    # lines 1 to 3
    "{gitlab}": '[gitlab]\nurl = "https://gitlab.example.com"\nrunners_in = "group:42"',
    # five lines
    "{docker}": (
        '[pools.docker]\nbackend = "ec2"\ntags = ["ec2", "docker"]\n'
        'instance_types = ["m7i.large", "m7a.large"]\nceiling = 5'
    ),
    # four lines
    "{node}": '[pools.node]\nbackend = "lambda"\ntags = ["lambda"]\nceiling = 9',
}


def corpus() -> list[tuple[str, str, str]]:
    """Name, text and answer of each case in `bad_fleet_files.txt`."""
    written = Path(__file__).with_name("bad_fleet_files.txt").read_text(encoding="utf-8")
    cases = []
    for case in written.removeprefix("=== ").split("\n=== "):
        name, _, rest = case.partition("\n")
        text, answer = f"\n{rest}".split("\n---\n")
        for part, lines in PARTS.items():
            text = text.replace(part, lines)
        cases.append((name, text.removeprefix("\n"), answer.strip("\n")))
    return cases


CASES = corpus()


@pytest.mark.parametrize(("text", "answer"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_every_problem_is_told_with_its_line(text: str, answer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(text)
    assert str(caught.value) == answer


def test_the_corpus_is_large_and_names_no_case_twice() -> None:
    names = [name for name, _, _ in CASES]
    assert len(set(names)) == len(names) >= 80


GOOD = (Path(__file__).parents[3] / "fleet.toml").read_text(encoding="utf-8")
PIECES = [
    "",
    '"',
    "]",
    "{",
    "=",
    "\n",
    "#",
    "0",
    "true",
    "[x]",
    "[[pools]]",
    "é",
    "\r",
    "1.5",
    "\\",
]


@settings(max_examples=150)
@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.sampled_from(PIECES))
def test_a_damaged_file_is_read_or_answered_with_lines_that_exist(
    start: int, length: int, piece: str
) -> None:
    text = GOOD[:start] + piece + GOOD[start + length :]
    try:
        told = read_config(text).warnings
    except ConfigError as error:
        told = error.problems
    for problem in told:
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.column >= 1
