"""`rules`, `only` and `except`: the pipelines that have a job, and the keys a rule replaces."""

import textwrap
from collections.abc import Collection, Mapping

import pytest

from local.gitlab.ci.types import JobSpec
from tests.unit.local.gitlab.ci.ci_text import (
    BRANCH,
    MERGE,
    TAG,
    Changed,
    read,
    read_jobs,
)

PIPELINES = {
    "branch": BRANCH,
    "tag": TAG,
    "merge": MERGE,
    "schedule": {**BRANCH, "CI_PIPELINE_SOURCE": "schedule"},
}


def job(
    body: str, variables: Mapping[str, str] = BRANCH, paths: Collection[str] | None = None
) -> JobSpec | None:
    text = "job:\n  script: x\n" + textwrap.indent(textwrap.dedent(body), "  ")
    return next(iter(read(text, variables=variables, paths=paths).jobs), None)


def selecting(body: str) -> str:
    """The pipelines that have a job with this body."""
    return " ".join(name for name, variables in PIPELINES.items() if job(body, variables))


@pytest.mark.parametrize(
    ("branch", "when"), [("main", "always"), ("dev", "manual"), ("other", None)]
)
def test_the_first_rule_that_holds_decides(branch: str, when: str | None) -> None:
    body = """
        rules:
          - {if: $CI_COMMIT_BRANCH == "dev", when: manual}
          - {if: $CI_COMMIT_BRANCH == "main", when: always}
          - when: never
    """
    spec = job(body, {"CI_COMMIT_BRANCH": branch})
    assert (spec and spec.when) == when


def test_a_rule_replaces_keys_of_the_job() -> None:
    spec = read_jobs("""
        build: {script: x}
        other: {script: x}
        job:
          script: x
          when: manual
          allow_failure: false
          variables: {A: job, B: job}
          interruptible: false
          needs: [build]
          rules:
            - if: $CI_COMMIT_BRANCH
              when: delayed
              start_in: 5 minutes
              allow_failure: true
              interruptible: true
              variables: {B: rule}
              needs: [other]
    """)["job"]
    assert (spec.when, spec.start_in_s) == ("delayed", 300)
    assert (spec.allow_failure, spec.interruptible) == (True, True)
    assert spec.variables == {"A": "job", "B": "rule"}
    assert [need.job for need in spec.needs or ()] == ["other"]


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        ("when: manual", True),
        ("when: manual\nallow_failure: false", False),
        ("when: manual\nrules: [{if: $CI_COMMIT_BRANCH}]", False),
        ("rules: [{when: manual}]", False),
        ("rules: [{when: manual, allow_failure: true}]", True),
    ],
)
def test_a_manual_job_may_fail_unless_it_has_rules(body: str, is_allowed: bool) -> None:
    spec = job(body)
    assert spec is not None
    assert (spec.when, spec.allow_failure) == ("manual", is_allowed)


@pytest.mark.parametrize(
    ("rule", "is_selected"),
    [
        ("{changes: [src/**/*]}", True),
        ("{changes: {paths: [a], compare_to: main}}", True),
        ("{if: $NOPE, changes: [a]}", False),
        ("{exists: [whatever]}", True),
    ],
)
def test_a_condition_about_unknown_files_holds(rule: str, is_selected: bool) -> None:
    assert (job(f"rules: [{rule}]") is not None) is is_selected


@pytest.mark.parametrize(
    "body",
    [
        "rules: [{changes: ['GLOB']}]",
        "rules: [{exists: ['GLOB']}]",
        "rules: [{exists: {paths: ['GLOB']}}]",
        "only: {changes: ['GLOB']}",
        "except: {changes: ['GLOB']}",
    ],
)
def test_conditions_about_files_match_globs(body: str) -> None:
    def is_selected(glob: str) -> bool:
        text = f"always: {{script: x}}\njob:\n  script: x\n  {body.replace('GLOB', glob)}\n"
        return len(read(text, changes=Changed(["main/a/f"]), paths=["main/a/f"]).jobs) == 2

    assert is_selected("main/**/f") is ("except" not in body)
    assert is_selected("main/*") is ("except" in body)
    if "rules" in body:
        assert is_selected("$CI_COMMIT_BRANCH/a/*")


@pytest.mark.parametrize(
    ("ref", "names"), [("trunk", ["a"]), ("main", ["a", "job"]), ("gone", None)]
)
def test_changes_are_compared_with_the_ref_of_the_rule(ref: str, names: list[str] | None) -> None:
    text = f"""
        variables: {{B: {ref}}}
        a: {{script: x}}
        job: {{script: x, rules: [{{changes: {{paths: [f], compare_to: $B}}}}]}}
        early: {{script: x, rules: [{{when: never}}, {{changes: {{paths: [f], compare_to: z}}}}]}}
    """
    changes = Changed(["f"], {"trunk": ["g"], "main": ["f"]})
    if names is None:
        with pytest.raises(ValueError, match="line 4: jobs:job:rules:changes:compare_to: 'gone'"):
            read(text, changes=changes)
    else:
        assert [job.name for job in read(text, changes=changes).jobs] == names


@pytest.mark.parametrize(
    ("body", "pipelines"),
    [
        ("", "branch tag schedule"),
        ("only: [branches]\nexcept: [schedules]", "branch"),
        ("only: ['/^MAIN$/i', tags]", "branch tag schedule"),
        ("only: {variables: [$CI_COMMIT_TAG]}", "tag"),
        ("only: {refs: [main], variables: [$NOPE, $CI_COMMIT_BRANCH]}", "branch schedule"),
        ("only: {refs: [main], variables: [$NOPE]}", ""),
        ("except: {refs: [main], variables: [$CI_COMMIT_TAG]}", ""),
        ("only: {changes: [a]}", "branch tag schedule"),
        ("rules: [{when: on_success}]", "branch tag merge schedule"),
    ],
)
def test_conditions_select_pipelines(body: str, pipelines: str) -> None:
    assert selecting(body) == pipelines


@pytest.mark.parametrize(
    ("ref", "pipelines"),
    [
        ("branches", "branch schedule"),
        ("tags", "tag"),
        ("main", "branch schedule"),
        ("topic", ""),
        ("/^MAIN$/", ""),
        ("/^v\\d/", "tag"),
        ("push", "branch tag"),
        ("pushes", "branch tag"),
        ("schedules", "schedule"),
        ("merge_request", "merge"),
        ("merge_requests", "merge"),
        ("web", ""),
        ("main@acme/demo", "branch schedule"),
        ("main@acme/other", ""),
        ("/^ma/@acme/demo", "branch schedule"),
        ("branches@acme/demo", "branch schedule"),
    ],
)
def test_a_ref_selects_pipelines_in_only_and_excludes_them_in_except(
    ref: str, pipelines: str
) -> None:
    assert selecting(f"only: ['{ref}']") == pipelines
    rest = [name for name in PIPELINES if name not in pipelines.split()]
    assert selecting(f"only: [/./, merge_requests]\nexcept: ['{ref}']") == " ".join(rest)


@pytest.mark.parametrize("name", ["CI_COMMIT_REF_NAME", "CI_COMMIT_TAG", "CI_COMMIT_BRANCH"])
def test_the_ref_is_that_of_any_variable_and_the_source_a_push(name: str) -> None:
    for only, is_selected in (("v1", True), ("v2", False), ("/^v/", True), ("pushes", True)):
        assert (job(f"only: [{only}]", {name: "v1"}) is not None) is is_selected
    assert job("only: [schedules]", {name: "v1"}) is None


def test_workflow_rules_replace_the_default_of_only() -> None:
    text = "job: {script: x}"
    assert not read(text, variables=MERGE).jobs
    assert read(f"workflow: {{rules: [{{when: always}}]}}\n{text}", variables=MERGE).jobs
