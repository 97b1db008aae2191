"""CI files as text, and the facts that tests read them with."""

from __future__ import annotations

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
TAG = {
    "CI_COMMIT_TAG": "v1",
    "CI_COMMIT_REF_NAME": "v1",
    "CI_PIPELINE_SOURCE": "push",
    "CI_PROJECT_PATH": "acme/demo",
}
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
    """The jobs of a file by name."""
    return {job.name: job for job in read(text, files=files).jobs}


def read_job(body: str, files: Mapping[str, str] | None = None) -> JobSpec:
    """The job with these entries of a flow map, beside a job named `other`."""
    return read(f"job: {{script: x, {body}}}\nother: {{script: x}}", files=files).jobs[0]


def refusal(text: str, files: Mapping[str, str] | None = None) -> str:
    """The message of the error that a file raises."""
    with pytest.raises(CiError) as caught:
        read(text, files=files)
    return str(caught.value)


def job(body: str) -> str:
    """A file with the job `other` in line 1 and a job whose `body` begins in line 4."""
    return f"other: {{script: x, stage: build}}\njob:\n  script: x\n  {body}\n"


def needing(count: int, stage: str = "build") -> str:
    """A file whose last job needs `count` others."""
    jobs = "".join(f"j{n}: {{script: x, stage: {stage}}}\n" for n in range(count))
    return f"{jobs}all: {{script: x, needs: [{', '.join(f'j{n}' for n in range(count))}]}}\n"
