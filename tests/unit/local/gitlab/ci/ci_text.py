"""CI files as text, and the facts that tests read them with."""

import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pytest

from local.gitlab.ci.file import read_pipeline
from local.gitlab.ci.types import CiError, JobSpec, PipelineSpec

BRANCH = {
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_REF_NAME": "main",
    "CI_PIPELINE_SOURCE": "push",
    "CI_PROJECT_PATH": "acme/demo",
}
TAG = {**BRANCH, "CI_COMMIT_BRANCH": "", "CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1"}
MERGE = {"CI_COMMIT_REF_NAME": "topic", "CI_PIPELINE_SOURCE": "merge_request_event"}


@dataclass(frozen=True)
class Changed:
    """The changes of a commit, by the push and since each ref."""

    paths: Collection[str] | None
    by_ref: dict[str, Collection[str]] = field(default_factory=dict)

    def pushed(self) -> Collection[str] | None:
        return self.paths

    def since(self, ref: str) -> Collection[str] | None:
        return self.by_ref.get(ref)


_REPEATED = re.compile(r"\(([^()]+)\)\*(\d+)")


def expanded(text: str) -> str:
    """The text with nine times `x`, from 0 on for each `#` in it, for `(x)*9`."""
    return _REPEATED.sub(
        lambda m: "".join(m[1].replace("#", str(n)) for n in range(int(m[2]))), text
    )


def read(
    text: str,
    *,
    variables: Mapping[str, str] = BRANCH,
    files: Mapping[str, str] | None = None,
    paths: Collection[str] | None = None,
    changes: Changed | None = None,
) -> PipelineSpec:
    """The pipeline of a file, on the branch `main` unless `variables` differ."""
    return read_pipeline(
        textwrap.dedent(text), variables=variables, files=files, paths=paths, changes=changes
    )


def read_jobs(text: str, files: Mapping[str, str] | None = None) -> dict[str, JobSpec]:
    return {job.name: job for job in read(text, files=files).jobs}


def read_job(body: str, files: Mapping[str, str] | None = None) -> JobSpec:
    """The job with these entries of a flow map, beside a job named `other`."""
    return read(f"job: {{script: x, {body}}}\nother: {{script: x}}", files=files).jobs[0]


def refusal(text: str, files: Mapping[str, str] | None = None) -> str:
    """The message of the error that a file raises."""
    with pytest.raises(CiError) as caught:
        read(text, files=files)
    return str(caught.value)
