"""What a push changes, and what the pusher is told."""

from __future__ import annotations

import pytest

from local.gitlab.model import NO_SHA
from local.gitlab.trigger import RefChange, changed_refs, push_report
from tests.unit.local.gitlab.small_gitlab import SmallGitLab, job_spec

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {"refs/heads/main": A}, [("main", NO_SHA, A)], id="a new branch"),
        pytest.param(
            {"refs/heads/main": A}, {"refs/heads/main": B}, [("main", A, B)], id="a moved branch"
        ),
        pytest.param({"refs/heads/main": A}, {"refs/heads/main": A}, [], id="nothing moved"),
        pytest.param({"refs/heads/main": A}, {}, [], id="a deleted branch starts nothing"),
        pytest.param({}, {"refs/tags/v1": A}, [("v1", NO_SHA, A)], id="a new tag"),
        pytest.param({}, {"refs/pipelines/1": A}, [], id="our own refs are no push"),
        pytest.param(
            {"refs/heads/a": A},
            {"refs/heads/a": B, "refs/heads/b/c": B},
            [("a", A, B), ("b/c", NO_SHA, B)],
            id="several at once",
        ),
    ],
)
def test_changed_refs(
    before: dict[str, str], after: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    found = [(c.short_name, c.old, c.new) for c in changed_refs(before, after)]
    assert found == expected


@pytest.mark.parametrize(("name", "is_tag"), [("refs/heads/v1", False), ("refs/tags/v1", True)])
def test_tags_are_told_from_branches(name: str, is_tag: bool) -> None:
    change = RefChange(name=name, old=NO_SHA, new=A)
    assert (change.short_name, change.is_tag) == ("v1", is_tag)


def test_the_pusher_hears_where_the_pipeline_is() -> None:
    site = SmallGitLab()
    pipeline = site.start(job_spec("a"), job_spec("b"))
    text = "\n".join(push_report(pipeline, "http://127.0.0.1:1"))
    assert "Pipeline 1 for main: 2 jobs" in text
    assert "http://127.0.0.1:1/acme/demo/-/pipelines/1" in text


def test_the_pusher_hears_what_is_wrong_with_the_ci_file() -> None:
    site = SmallGitLab()
    pipeline = site.engine.add_broken_pipeline(site.request(), "line 3: unknown key 'scirpt'")
    assert "  line 3: unknown key 'scirpt'" in push_report(pipeline, "http://127.0.0.1:1")
