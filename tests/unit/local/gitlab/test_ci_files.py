"""Whole CI files: what GitLab refuses, with line and key, and what it takes, with warnings.

Each rule is from GitLab's `lib/gitlab/ci/config/entry` and `lib/gitlab/ci/yaml_processor.rb`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from local.gitlab.ci.file import CiError, PipelineSpec, read_pipeline

BRANCH = {
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_REF_NAME": "main",
    "CI_PIPELINE_SOURCE": "push",
    "CI_PROJECT_PATH": "acme/demo",
}
MERGE = {"CI_COMMIT_REF_NAME": "topic", "CI_PIPELINE_SOURCE": "merge_request_event"}
TAG = {"CI_COMMIT_TAG": "v1", "CI_COMMIT_REF_NAME": "v1", "CI_PIPELINE_SOURCE": "push"}


@dataclass(frozen=True)
class Changed:
    """A commit that changed these files, and those since a ref."""

    paths: Collection[str] | None
    by_ref: dict[str, Collection[str]] = field(default_factory=dict)

    def pushed(self) -> Collection[str] | None:
        return self.paths

    def since(self, ref: str) -> Collection[str] | None:
        return self.by_ref.get(ref)


def read(
    text: str, *, files: dict[str, str] | None = None, changes: Changed | None = None
) -> PipelineSpec:
    return read_pipeline(
        text, variables=BRANCH, files=files or {}, paths=[*(files or {})], changes=changes
    )


def needing(count: int) -> str:
    jobs = "".join(f"j{n}: {{script: x, stage: build}}\n" for n in range(count))
    return f"{jobs}all: {{script: x, needs: [{', '.join(f'j{n}' for n in range(count))}]}}\n"


def job(body: str) -> str:
    return f"other: {{script: x, stage: build}}\njob:\n  script: x\n  {body}\n"


LATER = "stages: [a, b]\nlate: {stage: b, script: x}\nearly:\n  stage: a\n  script: x\n"
ON_STOP = "stop: {script: x, environment: {name: y, action: stop}}\njob:\n  script: x\n"
DEEP = "[" * 12 + "x" + "]" * 12


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        # links: a job waits for its own stage and earlier ones only
        (f"{LATER}  needs: [late]", 6, "jobs:early:needs: job 'late' is in stage 'b', which is"),
        (f"{LATER}  dependencies: [late]", 6, "jobs:early:dependencies: job 'late' is in stage"),
        (f"{LATER}  needs:\n    - job: late\n      optional: true", 7, "jobs:early:needs: job"),
        (f"{LATER}  rules:\n    - needs:\n        - late", 8, "early:rules:needs: job 'late'"),
        (f"{LATER}  rules: [{{when: never}}]\n  needs: [late]", 7, "is in stage 'b'"),
        (job("needs: [other, ghost]"), 4, "jobs:job:needs: needs 'ghost', but there is no such"),
        (job("needs:\n    - other\n    - ghost"), 6, "jobs:job:needs: needs 'ghost'"),
        (job("needs: [other, other]"), 4, "jobs:job:needs: needs 'other' twice"),
        (job("needs: [other]\n  dependencies: [job]"), 5, "'job' should be part of needs"),
        (job("needs: {pipeline: x, job: y, ref: z}"), 4, "unsupported key 'ref'"),
        (job("needs: [{job: other, parallel: 3}]"), 4, "needs take `parallel: matrix`"),
        (
            "a: {script: x, needs: [b], rules: [{if: $NOPE}]}\nb: {script: x, needs: [a]}",
            1,
            "jobs:a:needs: go in a circle: a -> b -> a",
        ),
        (needing(51), 52, "jobs:all:needs: may need 50 jobs at most, not 51"),
        (
            "job: {script: x, needs: [child]}\nchild: {trigger: a/b, stage: deploy}",
            1,
            "is in stage",
        ),
        # environments
        (f"{ON_STOP}  environment: {{name: y, on_stop: ghost}}", 4, "there is no job 'ghost'"),
        (f"{ON_STOP}  environment: {{name: z, on_stop: stop}}", 4, "has another environment"),
        (f"{ON_STOP}  environment: {{name: y, on_stop: job}}", 4, "must say `action: stop`"),
        (job("environment: {name: y, on_stop: other}"), 4, "job 'other' has no environment"),
        (job("environment: /x"), 4, "jobs:job:environment: can contain only letters"),
        (job(f"environment: {{name: y, url: {'u' * 256}}}"), 4, "url: may have 255 characters"),
        (job("environment: {name: y, action: begin}"), 4, "action: must be one of start, stop"),
        (job("environment: {name: y, deployment_tier: moon}"), 4, "must be one of production"),
        # limits
        (job(f"tags: [{', '.join(f't{n}' for n in range(50))}]"), 4, "fewer than 50 tags, not 50"),
        (f"{'n' * 256}: {{script: x}}", 1, "name may have 255 characters, not 256"),
        ("' ': {script: x}", 1, "a job's name can't be blank"),
        (job("when: delayed\n  start_in: 8 days"), 5, "jobs:job:start_in: must be 1 week at most"),
        (job("start_in: 1 day"), 4, "start_in goes with `when: delayed` only"),
        (job("rules: [{when: delayed}]"), 4, "delayed takes start_in beside it"),
        (job("rules: [{when: delayed, start_in: 9 days}]"), 4, "rules:start_in: must be 1 week"),
        (job("rules: [{start_in: 1 day}]"), 4, "start_in goes with `when: delayed` only"),
        (job("timeout: 2 months"), 4, "jobs:job:timeout: must be 1 month at most"),
        (job("timeout: 3600"), 4, "jobs:job:timeout: must be a string; put 3600 in quotes"),
        (job(f"rules: [{{changes: [{', '.join('x' * 51)}]}}]"), 4, "may have 50 entries at most"),
        (job(f"rules: [{{exists: [{', '.join('x' * 51)}]}}]"), 4, "may have 50 entries at most"),
        (job(f"after_script: {DEEP}"), 4, "lists inside lists go 10 deep at most"),
        (f"workflow: {{name: {'n' * 256}}}\njob: {{script: x}}", 1, "name: may have 255"),
        (job("parallel: 201"), 4, "must be a whole number from 1 to 200"),
        (job("parallel: {matrix: [{A: [1.5]}]}"), 4, "jobs:job:parallel:matrix:A: must be a"),
        (job("parallel: {matrix: [{A: true}]}"), 4, "jobs:job:parallel:matrix:A: must be a"),
        # variables
        (
            "variables:\n  A:\n    value: c\n    options: [a, b]\njob: {script: x}",
            3,
            "variables:A:value: must be among its options a, b",
        ),
        ("variables:\n  A: {options: [a]}\njob: {script: x}", 2, "A: must be among its options a"),
        (job("variables: {A: {value: x, description: d}}"), 4, "unsupported key 'description'"),
        (job("rules: [{variables: {A: {value: x}}}]"), 4, "must be a string or a number"),
        (job("rules: [{variables: {A: }}]"), 4, "rules:variables:A: must be a string or a number"),
        (job("variables:\n    OK: x\n    A: 2024-05-01"), 6, "put the date 2024-05-01 in quotes"),
        # lists: the item's own line
        ("job:\n  script:\n    - echo one\n    - echo 'a'\n    - echo a: b", 5, "jobs:job:script"),
        ("job:\n  script:\n    - x\n    - 5", 4, "jobs:job:script: must be a string; put 5 in"),
        (job("before_script:\n    - a\n    -"), 6, "jobs:job:before_script: must be a string"),
        (job("artifacts:\n    paths:\n      - a\n      - 5"), 7, "jobs:job:artifacts:paths: must"),
        (job("tags:\n    - a\n    - [b, {c: d}]"), 6, "jobs:job:tags: must be a string"),
        (job("only:\n    - main\n    - /(/"), 6, "jobs:job:only: '/(/' is not a pattern"),
        (job("retry:\n    when:\n      - always\n      - bad"), 7, "retry:when: must be one of"),
        (job("retry: {exit_codes:\n    [1,\n    x]}"), 6, "retry:exit_codes: must be a whole"),
        (job("rules:\n    - if: $A\n    - {}"), 6, "jobs:job:rules: a rule must say something"),
        (job("services:\n    - a\n    - {alias: b}"), 6, "jobs:job:services: name is missing"),
        (job("image: {name: x, pull_policy:\n    [always,\n    no]}"), 6, "pull_policy: must be"),
        ("stages:\n  - a\n  - 5\njob: {script: x}", 3, "stages: must be a string; put 5 in"),
        # shapes
        (job("rules: []"), 4, "jobs:job:rules: must have a rule in it"),
        (job("rules: [{when: always}]\n  start_in: 1 day"), 5, "cannot stand beside rules"),
        (job("rules: [{allow_failure: {exit_codes: 1}}]"), 4, "must be true or false"),
        (job("rules: [{interruptible: maybe}]"), 4, "rules:interruptible: must be true or false"),
        (job("rules: [{exists: {paths: [a], ref: b}}]"), 4, "ref goes with project only"),
        ("workflow: {rules: [{when: manual}]}\njob: {script: x}", 1, "one of always, never"),
        (job("when: never"), 4, "jobs:job:when: must be one of on_success"),
        (job("only: {kubernetes: passive}"), 4, "only:kubernetes: must be one of active"),
        (job("except: {}"), 4, "jobs:job:except: must not be empty"),
        (job("coverage: '12%'"), 4, "jobs:job:coverage: must be a pattern between slashes"),
        (job("inherit: {default: [script]}"), 4, "inherit:default: must be one of after_script"),
        (job("cache: {key: a/b}"), 4, 'cache:key: cannot contain the "/" character'),
        (job("cache: {key: a%2Fb}"), 4, 'cache:key: cannot contain the "/" character'),
        (job("cache: {key: ..}"), 4, 'cache:key: cannot be "." or ".."'),
        (job("cache: {key: {files: [a, b, c]}}"), 4, "files: must be 1 or 2 files, not 3"),
        (job("cache: {key: {files: [a], files_commits: [b]}}"), 4, "exactly one of files"),
        (job("cache: {fallback_keys: [a, b, c, d, e, f]}"), 4, "may have 5 entries at most"),
        (job("artifacts: {public: true, access: all}"), 4, "access: cannot stand beside public"),
        (job("artifacts: {expose_as: x}"), 4, "expose_as: takes paths beside it"),
        (job("artifacts: {expose_as: x, paths: ['*']}"), 4, "can't contain '*'"),
        (job("artifacts: {reports: {cobertura: x}}"), 4, "unsupported key 'cobertura'"),
        (job("artifacts: {expire_in: 30}"), 4, "expire_in: must be a string; put 30 in quotes"),
        (job("release: {tag_name: x}"), 4, "jobs:job:release: description is missing"),
        (job("id_tokens: {T: {}}"), 4, "jobs:job:id_tokens:T: aud is missing"),
        (job("publish: x"), 4, "publish: can only be used within a `pages` job"),
        (job("hooks: {post: [x]}"), 4, "jobs:job:hooks: unsupported key 'post'"),
        ("child: {trigger: {include: a.yml}, tags: [x]}", 1, "unsupported key 'tags'"),
        ("child: {trigger: {branch: x}}", 1, "trigger: takes project or include"),
        ("child: {trigger: a/b, when: delayed}", 1, "jobs:child:when: must be one of on_success"),
        ("a: {script: x}\nb: {run: [{name: y, script: z}]}", 2, "jobs:b:run: CI steps are not"),
        ("image: a\ndefault: {image: b}\njob: {script: x}", 2, "default:image: is defined at the"),
        ("types: [a]\njob: {script: x}", 1, "unsupported key 'types'"),
        # headers and includes
        ("spec: {inputs: {}}\njob: {script: x}", 1, "spec belongs in a header of its own"),
        ("spec:\n  inputs:\n    a:\n---\njob: {script: x}", 3, "required value has not been"),
        (
            "spec: {inputs: {a: {default: c, options: [a, b]}}}\n---\njob: {script: x}",
            1,
            "`a` input: 'c' is not among its options",
        ),
        ("spec: {inputs: {a: {default: 1}}}\n---\njob: {script: '$[[ inputs.b ]]'}", 3, "unknown"),
        (
            "include: {local: a.yml, inputs: {x: 1}}\njob: {script: x}",
            1,
            "there is no file 'a.yml'",
        ),
        ("include: {local: a.yml, rules: [{when: perhaps}]}\njob: {script: x}", 1, "one of always"),
    ],
)
def test_what_gitlab_refuses(text: str, line: int, said: str) -> None:
    with pytest.raises(CiError) as caught:
        read(text)
    assert str(caught.value).startswith(f".gitlab-ci.yml line {line}: "), str(caught.value)
    assert said in str(caught.value)


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
    ],
)
def test_what_gitlab_takes_without_a_word(text: str, jobs: int) -> None:
    found = read(text)
    assert (len(found.jobs), found.warnings) == (jobs, ())


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (job("coverage: /x/"), 4, "jobs:job:coverage: no percentage is read"),
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
        (job("needs:\n    - other\n    - {pipeline: $P, job: y}"), 6, "jobs:job:needs: what lies"),
        (job("needs: [{project: a/b, job: y, ref: z}]"), 4, "jobs:job:needs: what lies in other"),
        (job("rules: [{exists: {project: a, paths: [b]}}, {when: always}]"), 4, "rules:exists"),
        (job("image: {name: a, kubernetes: {user: 1001}}"), 4, "jobs:job:image:kubernetes"),
        ("job: {script: x}\nchild:\n  trigger: {include: ci/a.yml}", 3, "the job is left out"),
        ("job: {script: x, needs: [child]}\nchild: {trigger: a/b}", 2, "the job is left out"),
        ("job: {script: x}\nmirror: {needs: [{pipeline: a/b}]}", 2, "what lies in other"),
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
def test_what_has_no_effect_here_is_a_warning(text: str, line: int, said: str) -> None:
    found = read(text)
    assert "job" in [job.name for job in found.jobs]
    (warning,) = found.warnings
    assert warning.startswith(f".gitlab-ci.yml line {line}: "), warning
    assert said in warning


@pytest.mark.parametrize(
    ("text", "jobs", "warned"),
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
def test_what_may_be_in_an_include_that_was_not_fetched(
    text: str, jobs: list[str], warned: str
) -> None:
    included = f"include: {{template: X.yml}}\n{text}\njob: {{script: x}}"
    found = read(included)
    assert [job.name for job in found.jobs] == jobs
    assert len(found.warnings) == 2
    assert warned in found.warnings[1]
    assert "may be in an include that was not fetched" in found.warnings[1]
    with pytest.raises(CiError):
        read(f"{text}\njob: {{script: x}}")


def test_when_nothing_remains_the_includes_are_named() -> None:
    with pytest.raises(CiError, match="there is no job in it; not fetched here: include:template"):
        read("include: {template: X.yml}")


def test_a_job_may_replace_what_its_parent_lacks() -> None:
    found = read(
        "include: {template: X.yml}\n"
        ".parent: {tags: [x], before_script: [!reference [.elsewhere, script]]}\n"
        "job: {extends: .parent, before_script: [mine], script: x}\n"
        "also: {script: x, tags: !reference [.parent, tags]}\n"
    )
    assert [(one.name, one.tags) for one in found.jobs] == [("job", ("x",)), ("also", ("x",))]


@pytest.mark.parametrize(
    ("text", "is_left_out"),
    [
        ("job: {extends: .elsewhere}\nother: {script: x, rules: [{when: never}]}", True),
        ("job: {script: x, stage: elsewhere}", True),
        ("job: {extends: .elsewhere}\nworkflow: {rules: [{when: never}]}\nx: {script: x}", False),
        ("other: {script: x, rules: [{when: never}]}", False),
    ],
)
def test_a_file_without_a_job_that_can_run(text: str, is_left_out: bool) -> None:
    found = read(f"include: {{template: X.yml}}\n{text}")
    assert (found.jobs, found.is_left_out) == ((), is_left_out)


def test_a_file_of_triggers_alone_is_left_out() -> None:
    found = read("child: {trigger: a/b}")
    assert (found.jobs, found.is_left_out) == ((), True)
    assert not read("child: {trigger: a/b, rules: [{if: $NOPE}]}").is_left_out


FILES = {
    "ci/a.yml": "a: {script: x}",
    "ci/b.yml": "b: {script: x}",
    "ci/deep/c.yml": "c: {script: x}",
    "other/main.yml": "d: {script: x}",
    "tool.yml": (
        "spec:\n  inputs:\n    name:\n    tags: {type: array, default: [one, two]}\n"
        "    loud: {type: boolean, default: false}\n---\n"
        '"$[[ inputs.name ]]-lint":\n'
        '  script: ["lint $[[ inputs.name | truncate(0,2) ]] $[[ inputs.tags[1] ]]"]\n'
        "  tags: $[[ inputs.tags ]]\n  allow_failure: $[[ inputs.loud ]]\n"
    ),
}


@pytest.mark.parametrize(
    ("include", "jobs"),
    [
        ("ci/*.yml", "a b"),
        ("/ci/**.yml", "a b c"),
        ("ci/**/*.yml", "c"),
        ("other/$CI_COMMIT_BRANCH$NOPE.yml", "d"),
        ("[{local: ci/a.yml, rules: [{if: $CI_COMMIT_BRANCH}]}]", "a"),
        ("[{local: ci/a.yml, rules: [{if: $CI_COMMIT_TAG}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{exists: [tool.yml], when: never}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{changes: [src/*]}]}, ci/b.yml]", "b"),
        ("[{local: ci/a.yml, rules: [{changes: [docs/*]}]}]", "a"),
    ],
)
def test_what_is_included(include: str, jobs: str) -> None:
    text = f"include: {include}\njob: {{script: x}}"
    found = read(text, files=FILES, changes=Changed(["docs/x"]))
    assert [job.name for job in found.jobs] == [*jobs.split(), "job"]


def test_inputs_are_put_in() -> None:
    include = "{local: tool.yml, inputs: {name: web, loud: true}}"
    (found,) = read(f"include: {include}", files=FILES).jobs
    assert (found.name, found.script) == ("web-lint", ("lint we two",))
    assert (found.tags, found.allow_failure) == (("one", "two"), True)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            "{}",
            "tool.yml line 3: header:spec:inputs:name: `name` input: required value",
        ),
        ("{name: a, more: b}", "the included file knows no input 'more'"),
        ("{name: a, loud: 5}", "`loud` input: the value is not a boolean"),
        ("{name: a, tags: b}", "`tags` input: the value is not an array"),
    ],
)
def test_inputs_that_do_not_fit(inputs: str, said: str) -> None:
    with pytest.raises(CiError) as caught:
        read(f"include: {{local: tool.yml, inputs: {inputs}}}", files=FILES)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("a/**/*", "a/f", True),
        ("a/**/*", "a/b/c/f", True),
        ("a/**/*", "b/a/f", False),
        ("**/*.py", "x.py", True),
        ("**/*.py", "a/.hidden/x.py", True),
        ("*.py", "a/x.py", False),
        ("a/*", "a/.f", True),
        ("a", "a/f", False),
        ("a/**", "a/b/f", False),
        ("a/**", "a/f", True),
        ("A/f", "a/f", False),
        ("{a,b/{c,d}}/f", "b/d/f", True),
        ("{a,b}/f", "c/f", False),
        ("a/[fg].txt", "a/g.txt", True),
        ("a/[!f].txt", "a/f.txt", False),
        ("a?f", "a/f", False),
        ("a.f", "axf", False),
        (r"a\*f", "a*f", True),
        ("$CI_COMMIT_BRANCH/*", "main/f", True),
        ("/a/f", "a/f", False),
    ],
)
def test_which_changed_files_a_glob_means(glob: str, path: str, fits: bool) -> None:
    text = f"always: {{script: x}}\njob:\n  script: x\n  rules:\n    - changes: ['{glob}']\n"
    assert (len(read(text, changes=Changed([path])).jobs) == 2) is fits
    older = text.replace("rules:\n    - changes:", "only:\n    changes:")
    if "$" not in glob:
        assert (len(read(older, changes=Changed([path])).jobs) == 2) is fits
        assert (
            len(read(older.replace("only", "except"), changes=Changed([path])).jobs) == 1
        ) is fits


def test_changes_are_compared_with_what_the_rule_names() -> None:
    text = "a: {script: x}\njob:\n  script: x\n  rules: [{changes: {paths: [f], compare_to: $B}}]"
    text = f"variables: {{B: trunk}}\n{text}"
    changes = Changed(["f"], {"trunk": ["g"], "main": ["f"]})
    assert [j.name for j in read(text, changes=changes).jobs] == ["a"]
    assert len(read(text.replace("trunk", "main"), changes=changes).jobs) == 2
    with pytest.raises(CiError, match="line 5: jobs:job:rules:changes:compare_to: 'gone' is not"):
        read(text.replace("trunk", "gone"), changes=changes)


def test_a_rule_before_decides_without_a_look_at_what_changed() -> None:
    text = "job: {script: x, rules: [{when: always}, {changes: {paths: [f], compare_to: gone}}]}"
    assert len(read(text, changes=Changed([])).jobs) == 1


@pytest.mark.parametrize(
    ("refs", "kinds"),
    [
        ("main@acme/demo", "branch"),
        ("main@acme/other", ""),
        ("/^ma/@acme/demo", "branch"),
        ("branches@acme/demo", "branch"),
        ("push", "branch tag"),
        ("pushes", "branch tag"),
        ("merge_request", "merge"),
        ("merge_requests", "merge"),
        ("/^MAIN$/i", "branch"),
        ("/^MAIN$/", ""),
        ("topic", ""),
        ("tags", "tag"),
        ("web", ""),
    ],
)
def test_which_pipelines_a_ref_names(refs: str, kinds: str) -> None:
    given = {"branch": BRANCH, "tag": {**TAG, "CI_PROJECT_PATH": "acme/demo"}, "merge": MERGE}
    text = f"job: {{script: x, only: ['{refs}']}}"
    assert [k for k, v in given.items() if read_pipeline(text, variables=v).jobs] == kinds.split()
    text = f"job: {{script: x, only: [/./, merge_requests], except: ['{refs}']}}"
    rest = [kind for kind in given if kind not in kinds.split()]
    assert [k for k, v in given.items() if read_pipeline(text, variables=v).jobs] == rest


@pytest.mark.parametrize("source", ["api", "schedule", "trigger", "pipeline", "web", "chat"])
def test_a_source_is_named_in_the_singular_and_in_the_plural(source: str) -> None:
    variables = {**BRANCH, "CI_PIPELINE_SOURCE": source}
    for said in (source, f"{source}s"):
        text = f"job: {{script: x, only: [{said}]}}"
        assert read_pipeline(text, variables=variables).jobs
        assert not read_pipeline(text, variables=BRANCH).jobs


def test_workflow_rules_replace_the_default_of_only() -> None:
    text = "job: {script: x}"
    assert not read_pipeline(text, variables=MERGE).jobs
    assert read_pipeline(f"workflow: {{rules: [{{when: always}}]}}\n{text}", variables=MERGE).jobs


def test_errors_name_the_file_that_the_project_uses() -> None:
    with pytest.raises(CiError, match=r"^other\.yml line 1: "):
        read_pipeline("job: {script: 5}", variables={}, file="other.yml")


def test_values_that_are_kept() -> None:
    found = read(
        "variables: {POLICY: pull}\n"
        "job:\n  script: x\n  retry: {max: 1, exit_codes: [137, 255]}\n"
        "  hooks: {pre_get_sources_script: [a, b]}\n"
        "  cache: {paths: [a], policy: $POLICY, unprotect: true}\n"
        "  image: {name: a, docker: {user: '1001', platform: arm64}}\n"
        "  allow_failure: {exit_codes: 300}\n"
        "pages: {script: x, artifacts: {paths: [site]}}\n"
        "site: {script: x, pages: {publish: dist}}\n"
    )
    job, pages, site = found.jobs
    assert (job.retry.exit_codes, job.retry.when) == ((137, 255), ())
    assert job.before_sources == ("a", "b")
    assert (job.cache[0].policy, job.cache[0].unprotect) == ("pull", True)
    assert job.image is not None
    assert job.image.executor_options == {"docker": {"user": "1001", "platform": "arm64"}}
    assert job.allow_failure_exit_codes == (300,)
    assert pages.artifacts[0].paths == ("site", "public")
    assert site.artifacts[0].paths == ("dist",)


def test_a_job_that_needs_a_trigger_waits_for_what_the_trigger_waits_for() -> None:
    found = read(
        "first: {script: x, stage: build}\n"
        "child: {trigger: a/b}\n"
        "chosen: {trigger: a/b, needs: [child, first]}\n"
        "after: {script: x, stage: deploy, needs: [chosen]}\n"
    )
    assert [need.job for need in found.jobs[1].needs or ()] == ["first"]
