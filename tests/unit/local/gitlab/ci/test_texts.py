"""The texts in a CI file: YAML with lines, durations in words, variables, and globs."""

import pytest

from local.gitlab.ci.globs import any_exists, matching
from local.gitlab.ci.types import CiError
from local.gitlab.ci.values import expand, read_duration_s
from local.gitlab.ci.yaml import Reference, read_yaml


@pytest.mark.parametrize(
    ("text", "scalar"),
    [
        ("text", "text"),
        ("5", 5),
        ("1.5", 1.5),
        ("true", True),
        ("~", None),
        ("'5'", "5"),
        ("=", "="),
        ("0b_", "0b_"),
        ("!reference [.x, script]", Reference(path=(".x", "script"))),
    ],
)
def test_a_scalar_has_its_yaml_type(text: str, scalar: object) -> None:
    (node,), _ = read_yaml(f"k: {text}", file="ci.yml")
    assert isinstance(node.value, dict)
    assert node.value["k"].value == scalar


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [1\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: *nope\n", 2, "not valid YAML"),
        ("a: 1\nb: 2024-05-01", 2, "put the date 2024-05-01 in quotes"),
        ("a: \x00", 1, "not valid YAML"),
        ("a: &x [*x]", 1, "an anchor contains itself"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key must be plain text"),
        ("a: !foo 1", 1, "unsupported YAML tag '!foo'"),
        ("a: !reference [[b]]", 1, "!reference takes a list of names"),
        ("a: !!binary aGk=", 1, "unsupported YAML tag"),
        ("{a: " * 2000, 1, "not valid YAML"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_an_error_names_file_line_and_reason(text: str, line: int, reason: str) -> None:
    with pytest.raises(CiError, match=rf"^ci\.yml line {line}: {reason}"):
        read_yaml(text, file="ci.yml")


DURATIONS = """3600=3600|1 sec=1|2 secs=2|90s=90|90 seconds=90|3 min=180|1h30m=5400|1h 1h=7200
1.5 h=5400|2 hrs 20 min=8400|1 hour, 1 minute=3660|3 hours and 15 minutes=11700|1d=86400|1 day=86400
2w=1209600|1 Week=604800|1 mo=2592000|1 month=2592000|1y=31536000|2 yrs=63072000
=|soon=|5 parsecs=|1h tomorrow=|h=|-5 minutes=|-5="""


@pytest.mark.parametrize("case", DURATIONS.replace("\n", "|").split("|"))
def test_a_duration_is_read_in_seconds(case: str) -> None:
    text, _, seconds = case.partition("=")
    assert read_duration_s(text) == (int(seconds) if seconds else None)


def test_unknown_variables_stay_as_written() -> None:
    known = {"A": "1", "B_2": "two"}
    assert expand("$A-${B_2}-$C-${C}-$", known) == "1-two-$C-${C}-$"


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("a/**/*", "a/f a/b/c/f", "b/a/f"),
        ("**/*.py", "x.py a/.hidden/x.py", "x.pyc"),
        ("*.py", "x.py", "a/x.py"),
        ("a/*", "a/.f", "a/b/f"),
        ("a", "a", "a/f b/a"),
        ("a/**", "a/f", "a/b/f"),
        ("A/f", "A/f", "a/f"),
        ("{a,b/{c,d}}/f", "a/f b/d/f", "b/f"),
        ("{a,b}/f", "b/f", "c/f"),
        ("a/[fg].txt", "a/g.txt", "a/h.txt"),
        ("a/[!f].txt", "a/g.txt", "a/f.txt"),
        ("a?f", "abf", "a/f"),
        ("a.f", "a.f", "axf"),
        (r"a\*f", "a*f", "abf"),
        ("/a/f", "/a/f", "a/f"),
    ],
)
def test_globs_are_rubys(glob: str, matches: str, others: str) -> None:
    assert matching([glob], [*matches.split(), *others.split()]) == sorted(matches.split())


@pytest.mark.parametrize(
    ("glob", "exists"), [("docs/", True), ("docs/x/y", True), ("doc/", False), ("d*/", False)]
)
def test_a_glob_that_ends_in_a_slash_is_a_folder(glob: str, exists: bool) -> None:
    assert any_exists([glob], ["docs/x/y"]) is exists
