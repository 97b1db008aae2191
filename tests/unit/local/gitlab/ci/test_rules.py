"""`rules`, `only` and `except`: which jobs a pipeline has, and how rules change them."""

from __future__ import annotations

import textwrap
from collections.abc import Collection

import pytest

from local.gitlab.ci.file import CiError, JobSpec, read_pipeline

BRANCH = {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main", "CI_PIPELINE_SOURCE": "push"}
TAG = {"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1", "CI_PIPELINE_SOURCE": "push"}
MERGE = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_REF_NAME": "topic"}
SCHEDULE = {**BRANCH, "CI_PIPELINE_SOURCE": "schedule"}


def job(
    body: str, variables: dict[str, str] | None = None, paths: Collection[str] | None = None
) -> JobSpec | None:
    text = "job:\n  script: x\n" + textwrap.indent(textwrap.dedent(body), "  ")
    read = read_pipeline(text, variables=BRANCH if variables is None else variables, paths=paths)
    return read.jobs[0] if read.jobs else None


def test_the_first_rule_that_applies_decides() -> None:
    body = """
        rules:
          - if: $CI_COMMIT_BRANCH == "dev"
            when: manual
          - if: $CI_COMMIT_BRANCH == "main"
            when: always
          - when: never
    """
    found = job(body)
    assert found is not None
    assert found.when == "always"
    assert job(body, {"CI_COMMIT_BRANCH": "other"}) is None


def test_a_rule_lays_its_words_over_the_job() -> None:
    found = job("""
        when: manual
        allow_failure: false
        variables: {A: job, B: job}
        interruptible: false
        rules:
          - if: $CI_COMMIT_BRANCH
            when: delayed
            start_in: 5 minutes
            allow_failure: true
            interruptible: true
            variables: {B: rule}
    """)
    assert found is not None
    assert (found.when, found.start_in_s) == ("delayed", 300)
    assert (found.allow_failure, found.interruptible) == (True, True)
    assert found.variables == {"A": "job", "B": "rule"}


def test_a_rule_may_give_other_needs() -> None:
    text = textwrap.dedent("""
        build: {script: x}
        other: {script: x}
        job:
          needs: [build]
          script: x
          rules: [{if: $CI_COMMIT_BRANCH, needs: [other]}]
    """)
    read = read_pipeline(text, variables=BRANCH)
    assert [need.job for need in read.jobs[2].needs or ()] == ["other"]


def test_a_rule_that_says_nothing_keeps_what_the_job_says() -> None:
    found = job("when: manual\nrules: [{if: $CI_COMMIT_BRANCH}]")
    assert found is not None
    assert found.when == "manual"


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        pytest.param("when: manual", True, id="manual jobs may fail"),
        pytest.param("when: manual\nallow_failure: false", False, id="unless said"),
        pytest.param("rules: [{when: manual}]", False, id="in rules they block"),
        pytest.param("rules: [{when: manual, allow_failure: true}]", True, id="unless said there"),
    ],
)
def test_whether_a_manual_job_may_fail(body: str, allowed: bool) -> None:
    found = job(body)
    assert found is not None
    assert found.allow_failure is allowed


def test_rules_see_the_jobs_own_variables_but_given_ones_win() -> None:
    body = "variables: {MODE: full, CI_COMMIT_BRANCH: fake}\nrules: [{if: $MODE == 'full'}]"
    assert job(body) is not None
    assert job(body, {**BRANCH, "MODE": "quick"}) is None
    assert (
        job("variables: {CI_COMMIT_BRANCH: fake}\nrules: [{if: $CI_COMMIT_BRANCH == 'fake'}]")
        is None
    )


def test_changes_count_as_true_where_they_are_not_known() -> None:
    assert job("rules: [{changes: [src/**/*]}]") is not None
    assert job("rules: [{changes: {paths: [a], compare_to: main}}]") is not None
    assert job("rules: [{if: $NOPE, changes: [a]}]") is None


@pytest.mark.parametrize(
    ("glob", "paths", "found"),
    [
        ("Dockerfile", ["Dockerfile"], True),
        ("/Dockerfile", ["Dockerfile"], False),
        ("docs/", ["docs/x/y"], True),
        ("doc/", ["docs/x"], False),
        ("Dockerfile", ["sub/Dockerfile"], False),
        ("*.md", ["docs/a.md"], False),
        ("**/*.md", ["docs/a.md"], True),
        ("**/*.md", ["a.md"], True),
        ("docs/**", ["docs/x/y"], False),
        ("docs/**/*", ["docs/x/y"], True),
        ("a?.txt", ["ab.txt"], True),
        ("a.txt", ["abtxt"], False),
    ],
)
def test_exists_is_looked_up_in_the_files_given(glob: str, paths: list[str], found: bool) -> None:
    assert (job(f"rules: [{{exists: ['{glob}']}}]", paths=paths) is not None) is found
    assert (job(f"rules: [{{exists: {{paths: ['{glob}']}}}}]", paths=paths) is not None) is found


def test_exists_counts_as_true_when_the_files_are_not_known() -> None:
    assert job("rules: [{exists: [whatever]}]") is not None


@pytest.mark.parametrize(
    ("body", "ran_for"),
    [
        pytest.param("", "branch tag schedule", id="nothing said"),
        pytest.param("only: [branches]", "branch schedule", id="branches"),
        pytest.param("only: [tags]", "tag", id="tags"),
        pytest.param("only: [merge_requests]", "merge", id="merge requests"),
        pytest.param("only: [schedules]", "schedule", id="a source"),
        pytest.param("only: [main]", "branch schedule", id="a name"),
        pytest.param("only: ['/^v\\d/']", "tag", id="a pattern"),
        pytest.param("only: ['/^MAIN$/i', tags]", "branch tag schedule", id="either"),
        pytest.param("except: [tags]", "branch schedule", id="except tags"),
        pytest.param("except: [main]", "tag", id="except a name"),
        pytest.param("only: [branches]\nexcept: [schedules]", "branch", id="both"),
        pytest.param("only: {variables: [$CI_COMMIT_TAG]}", "tag", id="variables"),
        pytest.param(
            "only: {refs: [main], variables: [$NOPE, $CI_COMMIT_BRANCH]}",
            "branch schedule",
            id="refs and variables",
        ),
        pytest.param("only: {refs: [main], variables: [$NOPE]}", "", id="one does not hold"),
        pytest.param("except: {refs: [main], variables: [$CI_COMMIT_TAG]}", "", id="except either"),
        pytest.param("only: {changes: [a]}", "branch tag schedule", id="changes hold"),
        pytest.param("rules: [{when: on_success}]", "branch tag merge schedule", id="rules"),
    ],
)
def test_which_pipelines_have_the_job(body: str, ran_for: str) -> None:
    kinds = {"branch": BRANCH, "tag": TAG, "merge": MERGE, "schedule": SCHEDULE}
    found = [kind for kind, variables in kinds.items() if job(body, variables) is not None]
    assert found == ran_for.split()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "rules:\n  - if: $A ==",
            "line 4: jobs:job:rules:if: invalid expression: it ends too early",
        ),
        ("rules: [{unless: x}]", "jobs:job:rules: unsupported key 'unless'"),
        ("rules: {if: $A}", "jobs:job:rules: must be a list"),
        ("rules: [{exists: {}}]", "paths is missing"),
        ("rules: [{when: sometimes}]", "jobs:job:rules:when: must be one of"),
        ("rules: [{when: always}]\nonly: [main]", "jobs:job:only: cannot stand beside rules"),
        ("only: ['/(/']", "jobs:job:only: '/(/' is not a pattern"),
        ("only: {variables: ['$A =']}", "jobs:job:only:variables: invalid expression"),
        ("only: main", "jobs:job:only: must be a list of refs or a map"),
    ],
)
def test_rules_that_gitlab_would_refuse(body: str, said: str) -> None:
    with pytest.raises(CiError) as caught:
        job(body)
    assert said in str(caught.value)


def test_a_rule_behind_the_one_that_applies_is_checked_all_the_same() -> None:
    with pytest.raises(CiError, match="invalid expression"):
        job("rules: [{when: always}, {if: '$A =='}]")


@pytest.mark.parametrize("known", ["CI_COMMIT_REF_NAME", "CI_COMMIT_TAG", "CI_COMMIT_BRANCH"])
def test_a_ref_is_known_by_whichever_name_there_is(known: str) -> None:
    assert job("only: [v1]", {known: "v1"}) is not None
    assert job("only: [v2]", {known: "v1"}) is None
    assert job("only: [/^v/]", {known: "v1"}) is not None


def test_without_a_source_it_was_a_push() -> None:
    assert job("only: [pushes]", {"CI_COMMIT_BRANCH": "main"}) is not None
    assert job("only: [schedules]", {"CI_COMMIT_BRANCH": "main"}) is None
