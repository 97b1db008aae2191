"""Keywords and includes without effect in the simulator: warnings, and jobs that are left out."""

from __future__ import annotations

import pytest

from local.gitlab.ci.types import CiError
from tests.unit.local.gitlab.ci.ci_text import job, needing, read, refusal

ON_STOP = "stop: {script: x, environment: {name: y, action: stop}}\njob:\n  script: x\n"
UNFETCHED = "include: {template: X.yml}\n"
NEVER = "workflow: {rules: [{when: never}]}\n"


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        (needing(50).replace("stage: build", "stage: test"), 51),
        (job(f"tags: [{', '.join(f't{n}' for n in range(49))}]"), 2),
        (f"{'n' * 255}: {{script: x}}", 1),
        (job("when: delayed\n  start_in: 1 week"), 2),
        (job("timeout: 1 month"), 2),
        (job("timeout: 3h 30m"), 2),
        ("variables:\n  A: {value: '', options: ['', b]}\njob: {script: x}", 1),
        (job("needs: [{job: ghost, optional: true}]"), 2),
        (job("needs: {job: other}"), 2),
        (".needs: &none [null]\n" + job("needs: [*none, [[other]]]"), 2),
        (job("services: [null, redis]"), 2),
        (job("variables: {A: }"), 2),
        ("variables: {A: }\njob: {script: x}", 1),
        (job("parallel: null"), 2),
        (job("parallel: {matrix: [{A: [x, y], B: 1}]}"), 3),
        (job("only: {kubernetes: active}"), 1),
        (job("except: {kubernetes: active}"), 2),
        (job("artifacts: {paths: [a], expire_in: NEVER}"), 2),
        (job("image: {name: a, entrypoint: ['']}"), 2),
        (job("rules: [[{if: $NOPE}], [{when: on_success}]]"), 2),
        (job("rules: [{if: null, when: on_success}]"), 2),
        (job("inherit: {default: [image, tags], variables: [A]}"), 2),
        ("include: []\njob: {script: x}", 1),
        ("stages:\nworkflow:\nvariables:\nimage:\njob: {script: x}", 1),
        (".a: &a {tags: [x]}\njob:\n  <<: *a\n  tags: [y]\n  script: x", 1),
        ("workflow: {rules: [{auto_cancel: {on_job_failure: all}}]}\njob: {script: x}", 1),
        (
            "spec: {inputs: {n: {default: 2, type: number}}}\n---\n"
            "job: {script: x, parallel: '$[[ inputs.n ]]'}",
            2,
        ),
        (job("cache: [{key: a}, {key: b}, {key: c}, {key: d}]"), 2),
        (f"job: {{script: x, parallel: {{matrix: [{{N: {list(range(200))}}}]}}}}", 200),
        (job("pages: false"), 2),
    ],
)
def test_a_file_that_gitlab_accepts_has_no_warning(text: str, jobs: int) -> None:
    pipeline = read(text)
    assert (len(pipeline.jobs), pipeline.warnings) == (jobs, ())


@pytest.mark.parametrize(
    ("text", "line", "warning"),
    [
        (job("coverage: /x/"), 4, "jobs:job:coverage: coverage is not read"),
        (job("id_tokens: {T: {aud: https://a.example.com}}"), 4, "jobs:job:id_tokens: no token"),
        (job("secrets: {S: {vault: a/b@c}}"), 4, "jobs:job:secrets: no secret is fetched"),
        (job("release: {tag_name: v1, description: d}"), 4, "jobs:job:release: no release"),
        (job("pages: {path_prefix: x}"), 4, "jobs:job:pages: nothing is published"),
        (job("manual_confirmation: sure?"), 4, "jobs:job:manual_confirmation"),
        (job("inputs: {a: {default: b}}"), 4, "jobs:job:inputs"),
        (job("dast_configuration: {site_profile: a}"), 4, "jobs:job:dast_configuration"),
        (job("artifacts:\n    paths: [a]\n    expose_as: page"), 6, "jobs:job:artifacts:expose_as"),
        (job("artifacts:\n    paths: [a]\n    public: no"), 6, "jobs:job:artifacts:public"),
        (job("artifacts: {paths: [a], access: none}"), 4, "jobs:job:artifacts:access"),
        (job("artifacts:\n    reports:\n      junit: a.xml"), 6, "artifacts:reports:junit"),
        (job("environment: {name: x, auto_stop_in: 1 day}"), 4, "environment:auto_stop_in"),
        (f"{ON_STOP}  environment: {{name: y, on_stop: stop}}", 4, "environment:on_stop"),
        (
            job("needs:\n    - other\n    - {pipeline: $P, job: y}"),
            6,
            "jobs:job:needs: other pipelines",
        ),
        (job("needs: [{project: a/b, job: y, ref: z}]"), 4, "jobs:job:needs: other pipelines"),
        (job("rules: [{exists: {project: a, paths: [b]}}, {when: always}]"), 4, "rules:exists"),
        (job("image: {name: a, kubernetes: {user: 1001}}"), 4, "jobs:job:image:kubernetes"),
        ("job: {script: x}\nchild:\n  trigger: {include: ci/a.yml}", 3, "the job is left out"),
        ("job: {script: x, needs: [child]}\nchild: {trigger: a/b}", 2, "the job is left out"),
        ("job: {script: x}\nmirror: {needs: [{pipeline: a/b}]}", 2, "other pipelines"),
        ("include: 'ci/*.yml'\njob: {script: x}", 1, "no file matches 'ci/*.yml'"),
        ("include: [{template: X.yml}]\njob: {script: x}", 1, "include:template 'X.yml' cannot be"),
        ("include: https://x/y.yml\njob: {script: x}", 1, "include:remote 'https://x/y.yml'"),
        ("include: {project: a/b, file: y.yml}\njob: {script: x}", 1, "include:project 'a/b'"),
        ("include: {component: h/a/b@1}\njob: {script: x}", 1, "include:component 'h/a/b@1'"),
        ("job: {script: y}\njob: {script: x}", 2, "'job' is given twice"),
        ("job:\n  tags: [a]\n  script: x\n  tags: [b]", 4, "'tags' is given twice"),
        ("job: {script: x}\n---\nmore: {script: y}", 3, "this document is left out"),
    ],
)
def test_a_keyword_without_effect_is_one_warning(text: str, line: int, warning: str) -> None:
    pipeline = read(text, files={})
    assert "job" in [job.name for job in pipeline.jobs]
    (message,) = pipeline.warnings
    assert message.startswith(f".gitlab-ci.yml line {line}: ")
    assert warning in message


@pytest.mark.parametrize(
    ("text", "jobs", "warning"),
    [
        ("sast: {variables: {A: b}}", ["job"], "jobs:sast: script is missing"),
        ("lint: {extends: .lint}", ["job"], "jobs:lint: extends unknown '.lint'"),
        ("lint: {script: !reference [.x, script]}", ["job"], "could not be found"),
        (
            ".own: {extends: .x}\nlint: {extends: .own}",
            ["job"],
            "extends unknown '.x'; 'lint' is left out",
        ),
        ("lint: {script: x, stage: scan}", ["job"], "stage 'scan' does not exist"),
        ("lint: {script: x, needs: [sast]}", ["lint", "job"], "needs 'sast', but there is"),
    ],
)
def test_an_undefined_name_is_a_warning_only_beside_an_unfetched_include(
    text: str, jobs: list[str], warning: str
) -> None:
    text = f"{text}\njob: {{script: x}}"
    pipeline = read(UNFETCHED + text)
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
