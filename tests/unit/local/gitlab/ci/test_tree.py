"""`include` with its inputs, `extends` and `!reference`, in GitLab's order."""

from __future__ import annotations

import pytest

from local.gitlab.ci.types import CiError
from tests.unit.local.gitlab.ci.ci_text import Changed, read, read_jobs, refusal

# --- include

FILES = {
    "ci/a.yml": "a: {script: x}",
    "ci/b.yml": "b: {script: x}",
    "ci/deep/c.yml": "c: {script: x}",
    "other/main.yml": "d: {script: x}",
    "nested.yml": "include: [{local: ci/a.yml}]",
    "wrong.yml": "\njob:\n  script: x\n  triggre: y\n",
    "list.yml": "[]",
    "empty.yml": " ",
    "self.yml": "include: self.yml",
    "a.txt": "job: {script: x}",
}


@pytest.mark.parametrize(
    ("include", "jobs"),
    [
        ("ci/a.yml", "a"),
        ("/ci/a.yml", "a"),
        ("{local: ci/a.yml}", "a"),
        ("[{local: ci/a.yml}, ci/b.yml]", "a b"),
        ("nested.yml", "a"),
        ("ci/*.yml", "a b"),
        ("/ci/**.yml", "a b c"),
        ("ci/**/*.yml", "c"),
        ("other/$CI_COMMIT_BRANCH$NOPE.yml", "d"),
        ("[{local: ci/a.yml, rules: [{if: $CI_COMMIT_BRANCH}]}]", "a"),
        ("[{local: ci/a.yml, rules: [{if: $CI_COMMIT_TAG}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{exists: [a.txt], when: never}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{changes: [src/*]}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{changes: [docs/*]}]}]", "a"),
    ],
)
def test_an_include_adds_the_jobs_of_its_files(include: str, jobs: str) -> None:
    text = f"include: {include}\njob: {{script: x}}"
    pipeline = read(text, files=FILES, paths=[*FILES], changes=Changed(["docs/x"]))
    assert [job.name for job in pipeline.jobs] == [*jobs.split(), "job"]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("no.yml", ".gitlab-ci.yml line 1: include: there is no file 'no.yml'"),
        ("[5]", ".gitlab-ci.yml line 1: include: must be a string; put 5 in quotes"),
        ("{}", "include: takes exactly one of local, remote"),
        ("a.txt", "'a.txt' must end in .yml or .yaml"),
        ("empty.yml", "'empty.yml' is empty"),
        ("self.yml", "'self.yml' includes itself"),
        ("list.yml", "list.yml line 1: the file must be a map"),
        ("wrong.yml", "wrong.yml line 4: jobs:job: unsupported key 'triggre'"),
        (f"[{'ci/a.yml, ' * 151}]", "include: 150 included files at most"),
    ],
)
def test_an_error_names_the_included_file(include: str, message: str) -> None:
    assert message in refusal(f"include: {include}", FILES)


@pytest.mark.parametrize(
    ("text", "jobs", "warning"),
    [
        ("sast: {variables: {A: b}}", ["job"], "jobs:sast: script is missing"),
        ("lint: {extends: .lint}", ["job"], "jobs:lint: extends unknown '.lint'"),
        ("lint: {script: !reference [.x, script]}", ["job"], "could not be found"),
        (".own: {extends: .x}\nlint: {extends: .own}", ["job"], "'.x'; 'lint' is left out"),
        ("lint: {script: x, stage: scan}", ["job"], "stage 'scan' does not exist"),
        ("lint: {script: x, needs: [sast]}", ["lint", "job"], "needs 'sast', but there is"),
    ],
)
def test_an_undefined_name_is_a_warning_only_beside_an_unfetched_include(
    text: str, jobs: list[str], warning: str
) -> None:
    text = f"{text}\njob: {{script: x}}"
    pipeline = read(f"include: {{template: X.yml}}\n{text}")
    assert [job.name for job in pipeline.jobs] == jobs
    (_, message) = pipeline.warnings
    assert warning in message
    assert "may be in an include that was not fetched" in message
    refusal(text)


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, "include:template 'X0'$"),
        (4, "include:template 'X0', include:template 'X1', include:template 'X2' and 1 more$"),
    ],
)
def test_an_error_names_the_unfetched_includes_when_no_job_remains(count: int, names: str) -> None:
    includes = ", ".join(f"{{template: X{n}}}" for n in range(count))
    with pytest.raises(CiError, match=f"there is no job in it; not fetched here: {names}"):
        read(f"include: [{includes}]")


# --- inputs

TOOL = """spec:
  inputs:
    name:
    tags: {type: array, default: [one, two]}
    loud: {type: boolean, default: false}
    count: {type: number, default: 2}
    size: {default: s, options: [s, l]}
    code: {default: a1, regex: "^[a-z][0-9]$"}
---
"$[[ inputs.name ]]-lint":
  script: ['SCRIPT']
  tags: $[[ inputs.tags ]]
  allow_failure: $[[ inputs.loud ]]
  parallel: PARALLEL
"""


def tool(
    inputs: str = "name: web", *, script: str = "x", parallel: str = "null"
) -> tuple[str, dict[str, str]]:
    """A file that includes `tool.yml` with these inputs, and the included file."""
    text = TOOL.replace("SCRIPT", script).replace("PARALLEL", parallel)
    return f"include: {{local: tool.yml, inputs: {{{inputs}}}}}", {"tool.yml": text}


def test_inputs_keep_their_types() -> None:
    inputs = "name: web, loud: true, count: '3', tags: '[\"a\"]'"
    text, files = tool(inputs, parallel="$[[ inputs.count ]]")
    jobs = read(text, files=files).jobs
    assert [job.name for job in jobs] == ["web-lint 1/3", "web-lint 2/3", "web-lint 3/3"]
    assert (jobs[0].tags, jobs[0].allow_failure) == (("a",), True)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("$[[ inputs.name ]]", "web"),
        ("<$[[ inputs.name | truncate(1,2) ]]>", "<eb>"),
        ("$[[ inputs.tags[1] ]]", "two"),
        ("$[[inputs.count]] of $[[ inputs.loud ]]", "2 of false"),
        ("echo $[[ inputs.tags ]]", 'echo ["one", "two"]'),
        ("$[[ inputs.size | expand_vars ]]", "s"),
        ("$[[ inputs.name | posix_escape | truncate(0,9) ]]", "web"),
        ("$[[ matrix.OS ]]", "$[[ matrix.OS ]]"),
        ("on $[[ matrix.OS ]]", "on $[[ matrix.OS ]]"),
    ],
)
def test_a_block_in_a_text_is_replaced(block: str, text: str) -> None:
    assert read_jobs(*tool(script=block))["web-lint"].script == (text,)


@pytest.mark.parametrize(
    ("inputs", "block", "message"),
    [
        ("", "", "tool.yml line 3: header:spec:inputs:name: `name` input: required value"),
        ("name: a, more: b", "", "the included file knows no input 'more'"),
        ("name: a, loud: 5", "", "`loud` input: the value is not a boolean"),
        ("name: a, tags: b", "", "`tags` input: the value is not an array"),
        ("name: a, count: true", "", "`count` input: the value is not a number"),
        ("name: a, size: m", "", "`size` input: 'm' is not among its options"),
        ("name: a, code: 1a", "", "`code` input: '1a' does not match"),
        ("name: a", "inputs.other", "unknown interpolation `inputs.other`; there are inputs.name"),
        ("name: a", "inputs.tags[2]", "`inputs.tags[2]`: there is no item 2"),
        ("name: a", "inputs.name[0]", "`inputs.name[0]`: there is no item 0"),
        ("name: a", "inputs.name | shout", "no function matching `shout`; there are truncate(a,b)"),
        ("name: a", "inputs.count | posix_escape", "posix_escape takes a string"),
        ("name: a", "inputs.name | a | b | c | d", "too many functions"),
    ],
)
def test_an_input_of_the_wrong_kind_and_a_wrong_block_are_refused(
    inputs: str, block: str, message: str
) -> None:
    assert message in refusal(*tool(inputs, script=f"$[[ {block or 'inputs.name'} ]]"))


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("{default: a, regex: '('}", "regex: invalid regular expression"),
        (f"{{default: a, options: [a{', b' * 50}]}}", "options: may have 50 options at most"),
        ("{default: a, type: map}", "type: must be one of array, boolean, number, string"),
    ],
)
def test_a_wrong_declaration_is_refused(declaration: str, message: str) -> None:
    text = f"spec: {{inputs: {{a: {declaration}}}}}\n---\njob: {{script: x}}"
    assert message in refusal(text)


def test_an_include_without_a_header_takes_no_inputs() -> None:
    text = "include: {local: ci/a.yml, inputs: {x: 1}}"
    assert "the included file has no `spec:inputs` header" in refusal(text, FILES)
