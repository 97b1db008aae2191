"""Places in a TOML text: a table of texts, and every path that `tomllib` knows has a place."""

import tomllib
from textwrap import dedent

import pytest
from hypothesis import given, settings, strategies as st

from fleet.config.lines import Path, Position, toml_lines

TEXT = dedent('''\
    # a comment with = and [brackets]
    name = "one"   # first

    [gitlab]
    url = 'https://x'
    "quoted \\u0061 key" = 1
    nested.deep.key = 2

    [pools.docker]
    tags = [
        "ec2",  # comment, with a comma
        "docker",
    ]
    idle = { count = 1, schedule = [{ days = "mon" }, { days = "sun", count = 2 }] }
    text = """
    count = 5 "" and \\""" too"""""
    raw = \'\'\'
    [not.a.table]
    \'\'\'
    when = 1979-05-27 07:32:00

      [[pools.docker.more]]
      a = 1
      [[pools.docker.more]]
      a = 2
      [pools.docker.more.below]
      b = 3
    last = [[1, 2], []]
    ''')


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("name",), 2, 1),
        (("gitlab",), 4, 1),
        (("gitlab", "url"), 5, 1),
        (("gitlab", "quoted a key"), 6, 1),
        (("gitlab", "nested"), 7, 1),
        (("gitlab", "nested", "deep", "key"), 7, 1),
        (("pools",), 9, 1),
        (("pools", "docker"), 9, 1),
        (("pools", "docker", "tags"), 10, 1),
        (("pools", "docker", "tags", 0), 11, 5),
        (("pools", "docker", "tags", 1), 12, 5),
        (("pools", "docker", "idle", "count"), 14, 10),
        (("pools", "docker", "idle", "schedule", 0, "days"), 14, 35),
        (("pools", "docker", "idle", "schedule", 1), 14, 51),
        (("pools", "docker", "idle", "schedule", 1, "count"), 14, 67),
        (("pools", "docker", "text"), 15, 1),
        (("pools", "docker", "raw"), 17, 1),
        (("pools", "docker", "when"), 20, 1),
        (("pools", "docker", "more"), 22, 3),
        (("pools", "docker", "more", 0), 22, 3),
        (("pools", "docker", "more", 0, "a"), 23, 3),
        (("pools", "docker", "more", 1), 24, 3),
        (("pools", "docker", "more", 1, "below", "b"), 27, 3),
        (("pools", "docker", "more", 1, "below", "last", 0, 1), 28, 13),
        (("pools", "docker", "ceiling"), 9, 1),
        (("pools", "absent", "ceiling"), 9, 1),
        (("elsewhere",), 1, 1),
    ],
)
def test_place(path: Path, line: int, column: int) -> None:
    assert toml_lines(TEXT).position(path) == Position(line=line, column=column)


def test_windows_line_ends_count_once() -> None:
    assert toml_lines("a = 1\r\nb = [\r\n1,\r\n2]\r\n").position(("b", 1)) == Position(
        line=4, column=1
    )


@pytest.mark.parametrize(
    ("text", "path", "first", "again"),
    [
        pytest.param("a = 1\nb = 2\na = 3", ("a",), 1, 3, id="key"),
        pytest.param("[a]\nb = 1\n[c]\n[a]", ("a",), 1, 4, id="table"),
        pytest.param("[a]\nb = 1\n[a.c]\n[x]\n[a.c]", ("a", "c"), 3, 5, id="table below a table"),
        pytest.param("t = {a = 1, a = 2}", ("t", "a"), 1, 1, id="key of an inline table"),
        pytest.param("[[l]]\na = 1\n[[l]]\na = 1\na = 2", ("l", 1, "a"), 4, 5, id="in a list"),
    ],
)
def test_a_repeat_names_both_lines(text: str, path: Path, first: int, again: int) -> None:
    (repeat,) = toml_lines(text).repeats
    assert (repeat.path, repeat.first.line, repeat.again.line) == (path, first, again)


@pytest.mark.parametrize(
    "text",
    ["[a.b]\n[a]\nx = 1", "a.b = 1\na.c = 2", "[[a]]\nb = 1\n[[a]]\nb = 1", "[a]\n[b.a]\n[b]"],
)
def test_a_table_may_come_after_what_is_below_it(text: str) -> None:
    tomllib.loads(text)
    assert toml_lines(text).repeats == ()


@pytest.mark.parametrize(
    ("text", "unclosed"),
    [
        pytest.param(
            'a = 1\nb = [1,\n  {c = "x"\n', Position(line=3, column=3), id="the inner one"
        ),
        pytest.param(
            'b = ["x", "y"\nc = 3\n', Position(line=1, column=5), id="ran into the next key"
        ),
        pytest.param("b = {c = 1\n[d]\n", Position(line=1, column=5), id="inline table"),
        pytest.param("b = [1]\nc = \n", None, id="no bracket is open"),
        pytest.param('b = "no end', Position(line=1, column=5), id="a string without its end"),
        pytest.param('"\\q" = 1', None, id="a key that does not decode"),
        pytest.param("b = [1, 2]", None, id="closed"),
    ],
)
def test_an_unclosed_bracket_has_its_position(text: str, unclosed: Position | None) -> None:
    assert toml_lines(text).unclosed == unclosed


KEYS = st.sampled_from(["a", "b-1", '"c d"', "'e.f'", '"g\\"h"', "k.l"])
SCALARS = st.sampled_from(["1", '"x # ]}"', "'{'", "true", "1.5e3", '"""\n]"""', "07:32:00"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # c\n" + ",\n".join(items) + "\n]"),
        st.dictionaries(KEYS, inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4).map(
    lambda table: "".join(f"{k} = {v}\n" for k, v in table.items())
)
TEXTS = st.lists(
    st.tuples(st.sampled_from(["[t{}]", "[[list]]", "[u.v{}]"]), TABLES), max_size=4
).map(lambda parts: "\n".join(head.format(i) + "\n" + body for i, (head, body) in enumerate(parts)))


def paths_of(value: object, path: Path = ()) -> list[Path]:
    below: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list):
        below = list(enumerate(value))
    return [path, *(deeper for key, inner in below for deeper in paths_of(inner, (*path, key)))]


@settings(max_examples=40)
@given(TEXTS)
def test_everything_that_tomllib_reads_has_a_place(text: str) -> None:
    read = toml_lines(text)
    assert read.unclosed is None
    assert read.repeats == ()
    lines = text.split("\n")
    for path in paths_of(tomllib.loads(text))[1:]:
        place = read.positions[path]
        key = path[-1]
        if isinstance(key, str) and key in ("a", "b-1", "l"):
            assert key in lines[place.line - 1][place.column - 1 :]


@given(st.text(alphabet="ab=[]{}\"'.,\n #1\\", max_size=40))
def test_never_raises(text: str) -> None:
    assert toml_lines(text).position(()) == Position(line=1, column=1)
