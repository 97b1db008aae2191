"""No `fleet.toml` makes the reader fail, hang or flood: few lines, soon, or a configuration."""

from pathlib import Path

import pytest

from cli.validate import read_text
from fleet.config.file_limits import LARGEST
from fleet.config.reading import PROBLEMS_AT_MOST, ConfigError, FleetConfig, read_config

HEAD = '[gitlab]\nurl = "https://gitlab.com"\nrunners_in = "group:1"\n'
POOL = """[pools.docker]
backend = "ec2"
tags = ["docker"]
ceiling = 3
instance_types = ["m7i.large"]
"""
BASE = HEAD + POOL
TYPES = frozenset({f"m{n}i.{size}large" for n in range(30) for size in ("", "x", "2x", "4x")})


def with_tags(items: str) -> str:
    """The file with these items as the pool's tags."""
    return BASE.replace('"docker"]', f"{items}]", 1)


def each(line: str, count: int) -> str:
    """So many lines, each with its number."""
    return "".join(line.replace("#", str(number)) for number in range(count))


UNKNOWN = str([f"m1i.y{number}" for number in range(250)])
ONE_LINE = {
    "20,000 pools": HEAD + each("[pools.p#]\n", 20_000),
    "20,000 pools in a table": HEAD + "[pools]\n" + each("p# = 1\n", 20_000),
    "pools of another table": HEAD + each("pools.p#.ceiling = 1\n", 13_000),
    "unknown keys": BASE + each("k#=1\n", 30_000),
    "unknown tables": BASE + each("[k#]\n", 30_000),
    "tags": with_tags(",".join(f'"t{n}"' for n in range(30_000))),
    "tags of numbers": with_tags(",".join("1" * 100_000)),
    "huge numbers": with_tags(",".join(["9" * 99] * 3_000)),
    "types": BASE.replace('"m7i.large"', ",".join(f'"m7i.lrge{n}"' for n in range(20_000))),
    "windows": BASE + "[[pools.docker.idle.schedule]]\n" * 10_000,
    "variables": BASE + "[pools.docker.env]\n" + each('K#="v"\n', 25_000),
    "lists of pools": HEAD + "[[pools]]\n" * 30_000,
    "deep list": BASE + "a=" + "[" * 100_000,
    "deep table": BASE + "a=" + "{a=" * 100_000,
    "deep key": BASE + "a" + ".a" * 150_000 + "=1",
    "huge integer": BASE + "a=" + "9" * 300_000,
    "huge hexadecimal": BASE.replace("= 3", "= 0x" + "f" * 300_000),
    "NUL": BASE + "\0",
    "circular": BASE + "[pools.docker.docker]\n[pools.docker]\n",
    "itself": BASE + 'overflow = "docker"\n',
    "no end": BASE + 'a="""' + "x\n" * 150_000,
    "quotes": BASE + '"' * 300_000,
    "equals": BASE + "a" + "=" * 300_000,
    "brackets": "[]" * 170_000,
    "unclosed": BASE + "a=[" + "1," * 150_000,
    "carriage returns": BASE.replace("\n", "\r"),
    "half a character": BASE + 'a="\ud800"',
    "long address": HEAD.replace("gitlab.com", "@" * 300_000) + POOL,
    "long tag": with_tags('"' + "é" * 150_000 + '"'),
    "long time": BASE + 'max_job_time = "' + "1h" * 100_000 + '"\n',
    "long number of a time": BASE + 'max_job_time = "' + "9" * 100_000 + 'h"\n',
    "long secret": BASE + '[pools.docker.env]\nA = "' + "glpat-" * 50_000 + '"\n',
    "long key": BASE + "k" * 300_000 + " = 1\n",
    "50 MB": "x" * 50_000_000,
}
MANY_LINES = {
    "bad pools": HEAD + each("[pools.p#]\nfoo=1\nbackend=3\ntags=[1,2]\n", 999),
    "ring of pools": HEAD
    + "".join(
        f'[pools.p{n}]\nbackend="lambda"\ntags=["a{n}"]\nceiling=3\noverflow="p{(n + 1) % 999}"\n'
        for n in range(999)
    ),
    "unknown types": HEAD
    + each(f'[pools.p#]\nbackend="ec2"\ntags=["a#"]\nceiling=3\ninstance_types={UNKNOWN}\n', 100),
    "secrets of many beginnings": HEAD
    + each(f'[pools.p#.env]\nA = "{"eyJ-" * 1000}"\nB = "{"a" * 4000}"\n', 40),
    "deep keys": HEAD + each(f"[{'.'.join(['a#'] * 31)}]\n", 900),
    "names that turn the order": HEAD + '[pools."\u202e\\n\\u001b[2J"]\n',
}


def problems(text: str) -> list[str]:
    """The problems of a file, few whatever it holds."""
    try:
        read_config(text, instance_types=TYPES)
    except ConfigError as error:
        lines = [str(problem) for problem in error.problems]
    else:
        lines = []
    assert sum(map(len, lines)) < 100_000
    return lines


@pytest.mark.parametrize("text", ONE_LINE.values(), ids=ONE_LINE)
def test_a_file_beyond_the_limits_has_one_problem(text: str) -> None:
    assert len(problems(text)) == 1


@pytest.mark.parametrize("text", MANY_LINES.values(), ids=MANY_LINES)
def test_a_file_of_many_problems_has_the_first_of_them(text: str) -> None:
    assert 1 <= len(problems(text)) <= PROBLEMS_AT_MOST + 1


@pytest.mark.parametrize("text", [f"\ufeff{BASE}", BASE.replace("\n", "\r\n")], ids=["BOM", "CRLF"])
def test_what_editors_on_windows_write_is_read(text: str) -> None:
    assert isinstance(read_config(text, instance_types=TYPES), FleetConfig)


def test_a_file_of_50_megabytes_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    assert len(read_text(path)) == 4 * LARGEST
