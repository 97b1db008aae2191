r"""CI files and what GitLab says of them: `files.txt` has one in each line.

`job BODY` is a job whose body begins in line 4, beside the job `other`; `\n` ends a line, and
`(x#, )*9` stands for x0 to x8. After the arrow: the line and the reason of the error, or of the
only warning, or how many jobs there are.
Source: GitLab's `lib/gitlab/ci/config/entry` and `lib/gitlab/ci/yaml_processor.rb`.
"""

import re
from pathlib import Path

import pytest

from tests.unit.local.gitlab.ci.ci_text import expanded, read, refusal

LINES = Path(__file__).with_name("files.txt").read_text().splitlines()
CASES = [line for line in LINES if line and not line.startswith("#")]
JOB = "other: {script: x, stage: build}\\njob:\\n  script: x\\n  "


@pytest.mark.parametrize("case", CASES)
def test_a_file_has_its_jobs_a_warning_or_an_error(case: str) -> None:
    text, _, answer = case.partition(" -> ")
    text = re.sub("^job ", lambda _: JOB, expanded(text)).replace("\\n", "\n")
    first, _, rest = answer.partition(" ")
    if rest == "jobs":
        pipeline = read(text)
        assert (len(pipeline.jobs), pipeline.warnings) == (int(first), ())
        return
    if first == "warning":
        pipeline = read(text, files={})
        assert "job" in [job.name for job in pipeline.jobs]
        (message,) = pipeline.warnings
        first, _, rest = rest.partition(" ")
    else:
        message = refusal(text)
    assert message.startswith(f".gitlab-ci.yml line {first}: ")
    assert rest in message


def test_an_empty_file_and_a_deep_chain_of_extends_are_refused() -> None:
    assert "there is no job in it" in refusal("")
    chain = "".join(f".l{n}: {{extends: .l{n + 1}}}\n" for n in range(11))
    message = refusal(f"{chain}.l11: {{script: x}}\njob: {{extends: .l0}}")
    assert message.startswith(".gitlab-ci.yml line 11: ")
    assert "too deep" in message
