"""`include`, `extends` and `!reference`, in the order GitLab applies them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pytest

from local.gitlab.ci.file import JobSpec, read_pipeline
from local.gitlab.ci.types import CiError

BRANCH = {"CI_COMMIT_BRANCH": "main"}


def jobs(text: str, files: Mapping[str, str] | None = None) -> dict[str, JobSpec]:
    shown = {path: textwrap.dedent(content) for path, content in (files or {}).items()}
    read = read_pipeline(textwrap.dedent(text), variables=BRANCH, files=shown)
    return {job.name: job for job in read.jobs}


def refusal(text: str, files: Mapping[str, str] | None = None) -> str:
    with pytest.raises(CiError) as caught:
        jobs(text, files)
    return str(caught.value)


def test_extends_merges_maps_and_replaces_lists() -> None:
    read = jobs("""
        .base:
          script: [base]
          tags: [a, b]
          variables: {ONE: base, TWO: base}
          retry: {max: 1, when: always}
        job:
          extends: .base
          tags: [c]
          variables: {TWO: job}
          retry: {max: 2}
    """)["job"]
    assert read.script == ("base",)
    assert read.tags == ("c",)
    assert read.variables == {"ONE": "base", "TWO": "job"}
    assert (read.retry.max, read.retry.when) == (2, ("always",))


def test_of_several_parents_the_later_wins_and_chains_are_followed() -> None:
    read = jobs("""
        .root: {script: [root], tags: [root], image: root}
        .left: {extends: .root, tags: [left]}
        .right: {tags: [right]}
        job: {extends: [.left, .right]}
    """)["job"]
    assert (read.script, read.tags) == (("root",), ("right",))
    assert read.image is not None
    assert read.image.name == "root"


def test_a_visible_job_may_be_extended_too() -> None:
    read = jobs("first: {script: a, stage: build}\nsecond: {extends: first, script: b}")
    assert read["second"].stage == "build"
    assert (read["first"].script, read["second"].script) == (("a",), ("b",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job:\n  extends: .no", "line 2: jobs:job: extends unknown '.no'"),
        ("a: {extends: b}\nb: {extends: a}", "extends goes in a circle"),
        ("job: {extends: 5}", "extends must be a name or a list of names"),
        ("job: {extends: []}", "extends must be a name or a list of names"),
        (".x: 5\njob: {extends: .x}", "jobs:.x must be a map"),
    ],
)
def test_extends_that_leads_nowhere(text: str, said: str) -> None:
    assert said in refusal(text)


def test_eleven_levels_of_extends_are_too_deep() -> None:
    chain = "\n".join(f".l{n}: {{extends: .l{n + 1}}}" for n in range(11))
    assert "too deep" in refusal(f"{chain}\n.l11: {{script: x}}\njob: {{extends: .l0}}")


def test_a_reference_in_a_list_is_laid_flat() -> None:
    read = jobs("""
        .setup:
          script: [one, two]
          after_script: [gone]
        job:
          script:
            - !reference [.setup, script]
            - three
          after_script: !reference [.setup, after_script]
    """)["job"]
    assert read.script == ("one", "two", "three")
    assert read.after_script == ("gone",)


def test_references_reach_into_maps_and_through_each_other() -> None:
    read = jobs("""
        .a: {variables: {URL: "http://x"}, script: [deep]}
        .b: {script: [!reference [.a, script], shallow]}
        job:
          variables: {URL: !reference [.a, variables, URL]}
          script: !reference [.b, script]
          rules: [!reference [.rules, main]]
        .rules: {main: [{if: $CI_COMMIT_BRANCH}]}
    """)["job"]
    assert read.variables == {"URL": "http://x"}
    assert read.script == ("deep", "shallow")


def test_a_reference_sees_what_extends_brought() -> None:
    read = jobs("""
        .root: {script: [inherited]}
        .child: {extends: .root}
        job: {script: !reference [.child, script]}
    """)["job"]
    assert read.script == ("inherited",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("job:\n  script: !reference [.x, script]", "line 2: !reference [.x, script] could not"),
        (".x: {}\njob: {script: !reference [.x, script]}", "could not be found"),
        ("job: {script: !reference [job, script]}", "goes in a circle"),
    ],
)
def test_a_reference_that_leads_nowhere(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    "include",
    [
        pytest.param("include: ci/more.yml", id="a path"),
        pytest.param("include: /ci/more.yml", id="from the root"),
        pytest.param("include: {local: ci/more.yml}", id="a map"),
        pytest.param("include: [{local: ci/more.yml}]", id="a list"),
    ],
)
def test_a_local_file_is_included_and_the_main_file_wins(include: str) -> None:
    more = """
        variables: {FROM: more, ONLY: more}
        lint: {script: lint, tags: [more]}
    """
    text = f"{include}\nvariables: {{FROM: main}}\nlint: {{tags: [main]}}\nunit: {{script: unit}}"
    read = jobs(text, {"ci/more.yml": more})
    assert list(read) == ["lint", "unit"]
    assert (read["lint"].script, read["lint"].tags) == (("lint",), ("main",))
    assert read["lint"].variables == {"FROM": "main", "ONLY": "more"}


def test_included_files_include_others_and_errors_name_their_file() -> None:
    files = {"a.yml": "include: b.yml", "b.yml": "\njob:\n  script: x\n  triggre: y\n"}
    assert refusal("include: a.yml", files).startswith("b.yml line 4: jobs:job: unsupported key")


@pytest.mark.parametrize(
    ("text", "files", "said"),
    [
        ("include: no.yml", {}, "line 1: include: there is no file 'no.yml'"),
        ("include: [5]", {}, "include: must be a string; put 5 in quotes"),
        ("include: {}", {}, "include: takes exactly one of local, remote"),
        ("include: a.txt", {"a.txt": "job: {script: x}"}, "'a.txt' must end in .yml or .yaml"),
        ("include: a.yml", {"a.yml": " "}, "'a.yml' is empty"),
        ("include: a.yml", {"a.yml": "include: a.yml"}, "'a.yml' includes itself"),
        ("include: a.yml", {"a.yml": "[]"}, "a.yml line 1: the file must be a map"),
    ],
)
def test_an_include_that_is_not_to_be_had(text: str, files: dict[str, str], said: str) -> None:
    assert said in refusal(text, files)
