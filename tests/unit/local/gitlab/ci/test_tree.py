"""`include` with its inputs, `extends` and `!reference`, in GitLab's order."""

from pathlib import Path

import pytest

from local.gitlab.ci.types import CiError
from tests.unit.local.gitlab.ci.ci_text import Changed, expanded, read, refusal

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


CASES = Path(__file__).with_name("includes.txt").read_text().splitlines()


@pytest.mark.parametrize("case", [line for line in CASES if line and not line.startswith("#")])
def test_an_include_its_inputs_and_their_blocks(case: str) -> None:
    """A line of `includes.txt`: what it gives after `->`, or after `=>` the error."""
    kind, _, rest = expanded(case).partition(" ")
    source, is_error, expected = rest.partition("=> ")
    if not is_error:
        source, _, expected = rest.partition(" -> ")
    source = source.strip()
    text, files = {
        "include": lambda: (f"include: {source}\njob: {{script: x}}", FILES),
        "input": lambda: tool(source),
        "block": lambda: tool(script=source),
        "declare": lambda: (f"spec: {{inputs: {{a: {source}}}}}\n---\njob: {{script: x}}", FILES),
    }[kind]()
    if is_error:
        assert expected in refusal(text, files)
        return
    pipeline = read(text, files=files, paths=[*files], changes=Changed(["docs/x"]))
    (*names, last) = pipeline.jobs
    if kind == "block":
        assert last.script == (expected,)
    else:
        assert " ".join(job.name for job in names) == expected


def test_an_include_without_a_header_takes_no_inputs() -> None:
    text = "include: {local: ci/a.yml, inputs: {x: 1}}"
    assert "the included file has no `spec:inputs` header" in refusal(text, FILES)
