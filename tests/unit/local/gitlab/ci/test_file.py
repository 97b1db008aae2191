"""A whole `.gitlab-ci.yml`: stages, defaults, variables, workflow, and what is refused."""

from __future__ import annotations

import textwrap

import pytest

from local.gitlab.ci.file import CiError, JobSpec, PipelineSpec, read_pipeline

PUSH = {
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_REF_NAME": "main",
    "CI_PIPELINE_SOURCE": "push",
}


def pipeline(text: str, **variables: str) -> PipelineSpec:
    return read_pipeline(textwrap.dedent(text), variables={**PUSH, **variables})


def only_job(text: str, **variables: str) -> JobSpec:
    (job,) = pipeline(text, **variables).jobs
    return job


def refusal(text: str) -> str:
    with pytest.raises(CiError) as caught:
        pipeline(text)
    return str(caught.value)


def test_a_small_file_becomes_jobs_in_file_order() -> None:
    read = pipeline("""
        stages: [build, test]
        unit:
          stage: test
          script: make test
        compile:
          stage: build
          tags: [docker]
          script:
            - make
            - make install
    """)
    assert read.stages == (".pre", "build", "test", ".post")
    assert [job.name for job in read.jobs] == ["unit", "compile"]
    assert read.jobs[1].tags == ("docker",)
    assert read.jobs[1].script == ("make", "make install")


def test_without_stages_the_usual_ones_stand_and_a_job_is_in_test() -> None:
    read = pipeline("job: {script: x}")
    assert read.stages == (".pre", "build", "test", "deploy", ".post")
    assert read.jobs[0].stage == "test"


def test_the_edges_keep_their_places_even_when_written() -> None:
    read = pipeline("""
        stages: [.post, one, .pre]
        job: {stage: one, script: x}
    """)
    assert read.stages == (".pre", "one", ".post")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("job: {stage: .pre, script: x}", id="only before"),
        pytest.param("job: {script: x, rules: [{if: $NOPE}]}", id="rules leave nothing"),
        pytest.param(
            "workflow: {rules: [{if: $NOPE}]}\njob: {script: x}", id="workflow has no rule for it"
        ),
        pytest.param(
            "workflow: {rules: [{when: never}]}\njob: {script: x}", id="workflow says never"
        ),
    ],
)
def test_a_filtered_pipeline_has_no_jobs_and_is_no_error(text: str) -> None:
    assert pipeline(text).jobs == ()


def test_before_script_goes_in_front_as_gitlab_sends_it() -> None:
    job = only_job("""
        job:
          before_script: [a, [b]]
          script: c
          after_script: [d]
    """)
    assert job.script == ("a", "b", "c")
    assert job.after_script == ("d",)


def test_defaults_fill_what_a_job_does_not_say() -> None:
    text = """
        default:
          image: alpine:3
          tags: [docker]
          retry: 1
          timeout: 10m
          interruptible: true
          before_script: [setup]
        plain: {script: x}
        own:
          script: x
          image: {name: "node:20", entrypoint: [""]}
          tags: []
          before_script: []
          retry: 2
    """
    plain, own = pipeline(text).jobs
    assert plain.image is not None
    assert (plain.image.name, plain.tags, plain.retry.max) == ("alpine:3", ("docker",), 1)
    assert (plain.timeout_s, plain.interruptible, plain.script) == (600, True, ("setup", "x"))
    assert own.image is not None
    assert (own.image.name, own.image.entrypoint) == ("node:20", ("",))
    assert (own.tags, own.script, own.retry.max) == ((), ("x",), 2)


def test_a_null_in_a_job_says_nothing_so_the_default_holds() -> None:
    job = only_job("""
        default: {image: alpine, after_script: [a]}
        job: {script: x, image: null, after_script: ~}
    """)
    assert job.image is not None
    assert job.after_script == ("a",)


def test_the_older_top_level_defaults_still_work_beside_default() -> None:
    text = """
        services: [postgres]
        before_script: [first]
        default: {image: new}
        job: {script: x}
    """
    job = only_job(text)
    assert job.image is not None
    assert (job.image.name, job.script) == ("new", ("first", "x"))
    assert [service.name for service in job.services] == ["postgres"]


def test_variables_merge_job_over_file_and_are_text() -> None:
    text = """
        variables:
          SHARED: file
          NUMBER: 5
          RATIO: 1.5
          FLAG: true
          ASKED: {value: a, description: what to ask, options: [a, b]}
          RAW: {value: $SHARED, expand: false}
        job:
          variables: {SHARED: job, OWN: mine}
          script: x
    """
    read = pipeline(text)
    assert read.variables["SHARED"] == "file"
    (job,) = read.jobs
    assert job.variables == {
        "SHARED": "job",
        "NUMBER": "5",
        "RATIO": "1.5",
        "FLAG": "true",
        "ASKED": "a",
        "RAW": "$SHARED",
        "OWN": "mine",
    }
    assert job.raw_variables == frozenset({"RAW"})


def test_a_job_that_sets_a_raw_variable_anew_has_it_expanded() -> None:
    text = """
        variables: {V: {value: $A, expand: false}}
        job: {variables: {V: $B}, script: x}
    """
    assert only_job(text).raw_variables == frozenset()


@pytest.mark.parametrize(
    ("inherit", "image", "names"),
    [
        pytest.param("{}", True, {"A", "B"}, id="silent"),
        pytest.param("{default: false}", False, {"A", "B"}, id="no defaults"),
        pytest.param("{default: [image]}", True, {"A", "B"}, id="image alone"),
        pytest.param("{default: [tags]}", False, {"A", "B"}, id="tags alone"),
        pytest.param("{variables: false}", True, set(), id="no variables"),
        pytest.param("{variables: [B]}", True, {"B"}, id="one variable"),
        pytest.param("{default: true, variables: true}", True, {"A", "B"}, id="both said"),
    ],
)
def test_inherit_chooses(inherit: str, image: bool, names: set[str]) -> None:
    job = only_job(f"""
        default: {{image: alpine}}
        variables: {{A: 1, B: 2}}
        job: {{inherit: {inherit}, script: x}}
    """)
    assert (job.image is not None) is image
    assert set(job.variables) == names


def test_the_workflow_names_the_pipeline_and_adds_variables() -> None:
    text = """
        variables: {MODE: slow, COLOUR: red}
        workflow:
          name: "$MODE on $CI_COMMIT_BRANCH"
          rules:
            - if: $CI_COMMIT_BRANCH == "main"
              variables: {MODE: fast}
            - when: always
        job: {script: x}
    """
    read = pipeline(text)
    assert read.name == "fast on main"
    assert read.variables == {"MODE": "fast", "COLOUR": "red"}
    assert read.jobs[0].variables["MODE"] == "fast"
    other = pipeline(text, CI_COMMIT_BRANCH="dev")
    assert (other.name, len(other.jobs)) == ("slow on dev", 1)


def test_hidden_jobs_are_not_jobs() -> None:
    assert [job.name for job in pipeline(".x: {script: a}\nb: {script: c}").jobs] == ["b"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "line 1: there is no job in it", id="empty"),
        pytest.param(".hidden: {script: x}", "line 1: there is no job in it", id="hidden only"),
        pytest.param("[a]", "line 1: the file must be a map", id="not a map"),
        pytest.param(
            "job:\n  script: x\n  trigger: other/project",
            ".gitlab-ci.yml line 3: jobs:job:trigger: cannot stand beside script",
            id="trigger",
        ),
        pytest.param("x: 5\njob: {script: a}", "line 1: unsupported key 'x'", id="stray key"),
        pytest.param(
            "spec: {inputs: {}}\njob: {script: a}", "line 1: spec belongs in a header", id="spec"
        ),
        pytest.param(
            "default: {script: a}\njob: {script: a}",
            "line 1: default: unsupported key 'script'",
            id="no default of that name",
        ),
        pytest.param(
            "workflow: {cancel: {}}\njob: {script: a}",
            "workflow: unsupported key 'cancel'",
            id="workflow key",
        ),
        pytest.param("job: {stage: build}", "line 1: jobs:job: script is missing", id="no script"),
        pytest.param("job: {script: []}", "jobs:job: script is missing", id="empty script"),
        pytest.param(
            "job:\n  script:\n    - a: b", "line 3: jobs:job:script: must be a string", id="a map"
        ),
        pytest.param(
            "job:\n  stage: nope\n  script: x",
            "line 2: jobs:job:stage: stage 'nope' does not exist; there are .pre, build",
            id="unknown stage",
        ),
        pytest.param(
            "stages: build\njob: {script: x}", "line 1: stages: must be a list", id="stages a text"
        ),
        pytest.param(
            "variables: [A]\njob: {script: x}", "line 1: variables: must be a map", id="variables"
        ),
        pytest.param(
            "variables: {A: [1]}\njob: {script: x}",
            "variables:A: must be a string or a number",
            id="a list as variable",
        ),
        pytest.param(
            "job: {script: x, tags: docker}", "jobs:job:tags: must be a list", id="tags a text"
        ),
        pytest.param(
            "job: {script: x, interruptible: perhaps}",
            "jobs:job:interruptible: must be true or false",
            id="not a flag",
        ),
        pytest.param(
            "job: {script: x, when: sometimes}",
            "jobs:job:when: must be one of on_success, on_failure",
            id="unknown when",
        ),
        pytest.param(
            "job: {script: x, when: delayed}",
            "jobs:job:when: delayed takes start_in",
            id="delayed without a time",
        ),
        pytest.param(
            "job: {script: x, timeout: soon}",
            "jobs:job:timeout: must be a duration such as '1h 30m'",
            id="no duration",
        ),
        pytest.param(
            "job: {script: x, inherit: {tags: true}}",
            "jobs:job:inherit: unsupported key 'tags'",
            id="inherit key",
        ),
    ],
)
def test_a_file_gitlab_would_refuse_is_refused_with_key_and_line(text: str, said: str) -> None:
    assert said in refusal(text)


def test_a_job_that_rules_leave_out_is_checked_all_the_same() -> None:
    assert "timeout" in refusal(
        "job: {script: x, timeout: soon, rules: [{if: $NOPE}]}\nb: {script: x}"
    )


def test_an_error_is_a_value_error() -> None:
    assert issubclass(CiError, ValueError)


def test_files_may_be_included_and_make_cache_keys() -> None:
    text = "include: /more.yml\nunit:\n  script: x\n  cache: {key: {files: [lock]}, paths: [p]}\n"
    found = read_pipeline(
        text, variables=PUSH, files={"more.yml": "lint: {script: y}", "lock": "1"}
    )
    assert [job.name for job in found.jobs] == ["lint", "unit"]
    assert found.jobs[1].cache[0].key != "default"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{script: x, coverage: 5}", "jobs:unit:coverage: must be a string; put 5 in quotes"),
        ("{script: x, rules: [{when: always}], except: [main]}", "cannot stand beside rules"),
        ("{script: x, rules: [{when: always}], only: [main]}", "cannot stand beside rules"),
        ("{script: x, rules: [{exists: {paths: [a], compare_to: b}}]}", "'compare_to'"),
        ("{script: x, when: delayed}", "delayed takes start_in beside it"),
    ],
)
def test_what_a_job_may_not_say(body: str, why: str) -> None:
    assert why in refusal(f"unit: {body}")


def test_what_a_job_does_not_say() -> None:
    job = only_job("unit: {script: x}")
    assert (job.interruptible, job.start_in_s, job.timeout_s) == (False, None, None)
    assert (job.stage, job.when, job.retry.max) == ("test", "on_success", 0)
    assert (job.needs, job.dependencies) == (None, None)
