"""CI files that GitLab refuses: the line, the key and the reason of each error.

Source: GitLab's `lib/gitlab/ci/config/entry` and `lib/gitlab/ci/yaml_processor.rb`.
"""

from __future__ import annotations

import pytest

from local.gitlab.ci.file import read_pipeline
from local.gitlab.ci.types import CiError
from tests.unit.local.gitlab.ci.ci_text import job, needing, refusal

LATER = "stages: [a, b]\nlate: {stage: b, script: x}\nearly:\n  stage: a\n  script: x\n"
ON_STOP = "stop: {script: x, environment: {name: y, action: stop}}\njob:\n  script: x\n"
LONG = "n" * 252
DEEP = "[" * 12 + "x" + "]" * 12
EXTENDS = "".join(f".l{n}: {{extends: .l{n + 1}}}\n" for n in range(11))

REFUSED = [
    # the file
    ("", 1, "there is no job in it"),
    (".hidden: {script: x}", 1, "there is no job in it"),
    ("[a]", 1, "the file must be a map"),
    ("default: {script: a}\njob: {script: a}", 1, "default: unsupported key 'script'"),
    ("workflow: {cancel: {}}\njob: {script: a}", 1, "workflow: unsupported key 'cancel'"),
    ("stages: build\njob: {script: x}", 1, "stages: must be a list"),
    ("variables: [A]\njob: {script: x}", 1, "variables: must be a map"),
    # jobs
    ("job: {stage: build}", 1, "jobs:job: script is missing"),
    ("job: {script: []}", 1, "jobs:job: script is missing"),
    ("job:\n  script: x\n  trigger: a/b", 3, "jobs:job:trigger: cannot stand beside script"),
    (job("stage: nope"), 4, "jobs:job:stage: stage 'nope' does not exist; there are .pre, build"),
    (job("interruptible: perhaps"), 4, "jobs:job:interruptible: must be true or false"),
    (job("when: delayed"), 4, "jobs:job:when: delayed takes start_in beside it"),
    (job("timeout: soon"), 4, "jobs:job:timeout: must be a duration such as '1h 30m'"),
    (job("timeout: soon\n  rules: [{if: $NOPE}]"), 4, "jobs:job:timeout: must be a duration"),
    (job("inherit: {tags: true}"), 4, "jobs:job:inherit: unsupported key 'tags'"),
    (job("image: {entrypoint: [a]}"), 4, "jobs:job:image: name is missing"),
    (job("image: [a]"), 4, "jobs:job:image: must be a string"),
    (job(f"image: {{name: a, docker: {{user: {'u' * 256}}}}}"), 4, "from 1 to 255 characters"),
    (job("image: {name: a, docker: {platform: ''}}"), 4, "must have from 1 to 64 characters"),
    (job("services: redis"), 4, "jobs:job:services: must be a list"),
    (job("services: [{name: a, ports: [1]}]"), 4, "unsupported key 'ports'"),
    (job("retry: 3"), 4, "jobs:job:retry: must be a whole number from 0 to 2"),
    (job("retry: true"), 4, "jobs:job:retry: must be a whole number"),
    (job("allow_failure: {}"), 4, "jobs:job:allow_failure: exit_codes is missing"),
    (job("allow_failure: {exit_codes: 2147483648}"), 4, "from -2147483648 to 2147483647"),
    (job("environment: {url: x}"), 4, "jobs:job:environment: name is missing"),
    (job("environment: {name: x, kubernetes: y}"), 4, "environment:kubernetes: must be a map"),
    (job("resource_group: ''"), 4, "jobs:job:resource_group: must be a string"),
    (job("variables: {A: {value: 1, expand: maybe}}"), 4, "A:expand: must be true or false"),
    (job("coverage: /(/"), 4, "jobs:job:coverage: '/(/' is not a pattern"),
    # parallel
    (job("parallel: 0"), 4, "must be a whole number from 1 to 200"),
    (job("parallel: two"), 4, "must be a whole number"),
    (job("parallel: {}"), 4, "jobs:job:parallel: matrix is missing"),
    (job("parallel: {matrix: []}"), 4, "the matrix must make from 1 to 200 jobs, not 0"),
    (job("parallel: {matrix: [{}]}"), 4, "not 0"),
    (job("parallel: {matrix: {A: [1]}}"), 4, "jobs:job:parallel:matrix: must be a list"),
    (job("parallel: {matrix: [{A: {}}]}"), 4, "must be a string or a number"),
    (job(f"parallel: {{matrix: [{{A: {list(range(201))}}}]}}"), 4, "not 201"),
    # rules, only and except
    (job("rules:\n    - if: $A =="), 5, "rules:if: invalid expression: it ends too early"),
    (job("rules: [{when: always}, {if: '$A =='}]"), 4, "invalid expression"),
    (job("rules: [{unless: x}]"), 4, "jobs:job:rules: unsupported key 'unless'"),
    (job("rules: {if: $A}"), 4, "jobs:job:rules: must be a list"),
    (job("rules: [{exists: {}}]"), 4, "rules:exists: paths is missing"),
    (job("rules: [{exists: 5}]"), 4, "rules:exists: must be a string"),
    (job("rules: [{exists: {paths: [a], compare_to: b}}]"), 4, "unsupported key 'compare_to'"),
    (job("rules: [{when: sometimes}]"), 4, "jobs:job:rules:when: must be one of"),
    (job("rules: [{when: always}]\n  only: [main]"), 5, "only: cannot stand beside rules"),
    (job("rules: [{when: always}]\n  except: [main]"), 5, "except: cannot stand beside rules"),
    (job("rules: [{when: always, needs: [ghost]}]"), 4, "jobs:job:rules:needs: needs 'ghost'"),
    (job("rules: [{needs: [{pipeline: $P, job: a}]}]"), 4, "a rule's needs are jobs of this"),
    (job("only: main"), 4, "jobs:job:only: must be a list of refs or a map"),
    (job("only: {variables: ['$A =']}"), 4, "jobs:job:only:variables: invalid expression"),
    # needs and dependencies
    (job("needs: other"), 4, "jobs:job:needs: must be a list"),
    (job("needs: [{artifacts: true}]"), 4, "jobs:job:needs: job is missing"),
    (job("needs: [.b]\n.b: {script: x}"), 4, "needs '.b', but there is no such job"),
    (".t: {needs: [ghost]}\na:\n  extends: .t\n  script: x", 1, "a:needs: needs 'ghost'"),
    ("a: {script: x, needs: [b]}\nb: {script: x, rules: [{if: $NOPE}]}", 1, "rules left it out"),
    (job("needs: [job]"), 4, "jobs:job:needs: go in a circle: job -> job"),
    (
        "x: {script: x, needs: [a]}\na: {script: x, needs: [b]}\n"
        "b: {script: x, needs: [c]}\nc: {script: x, needs: [a]}",
        2,
        "jobs:a:needs: go in a circle: a -> b -> c -> a",
    ),
    (job("dependencies: [ghost]"), 4, "jobs:job:dependencies: there is no job 'ghost'"),
    (job("needs: [{project: a/b, job: y}]"), 4, "jobs:job:needs: ref is missing"),
    (job("needs: [{pipeline: $P, job: y, artifacts: 1}]"), 4, "artifacts: must be true or false"),
    (job(f"needs: [{'{pipeline: $P, job: y}, ' * 6}]"), 4, "may name 5 jobs of other pipelines"),
    (
        job("needs: [{pipeline: $P, job: y}]\n  dependencies: [other]"),
        5,
        "must be of the same pipeline",
    ),
    (job("needs: ['other: [$[[ matrix.A ]]]']"), 4, "the job has no such matrix variable"),
    (
        f"{LONG}: {{script: x, parallel: 2}}\nb: {{script: x, needs: [{LONG}]}}",
        2,
        "the name of a needed job has 255 letters at most",
    ),
    # artifacts and cache
    (job("artifacts: [a]"), 4, "jobs:job:artifacts: must be a map"),
    (job("artifacts: {paths: [a], when: never}"), 4, "must be one of on_success, on_failure"),
    (job("artifacts: {expire_in: soon}"), 4, "artifacts:expire_in: must be a duration"),
    (job("artifacts: {expose_as: a/b, paths: [a]}"), 4, "expose_as: can contain only letters"),
    (job("artifacts: {reports: {coverage_report: {}}}"), 4, "coverage_format is missing"),
    (job("cache: {policy: push-pull}"), 4, "jobs:job:cache:policy: must be one of"),
    (job("cache: {keys: a}"), 4, "unsupported key 'keys'"),
    (job("cache: {key: {prefix: a}}"), 4, "cache:key: takes exactly one of files"),
    (job("cache: {key: [a]}"), 4, "jobs:job:cache:key: must be a string"),
    (job("cache: [{}, {}, {}, {}, {}]"), 4, "may have 4 caches at most"),
    # keywords without effect
    (job("pages: {expire_in: soon}"), 4, "pages:expire_in: must be a duration"),
    (job("pages: maybe"), 4, "jobs:job:pages: must be true or false"),
    (job("inputs: {a: {type: string}}"), 4, "jobs:job:inputs:a: must have a default value"),
    (
        job(f"inputs: {{{', '.join(f'i{n}: {{default: x}}' for n in range(51))}}}"),
        4,
        "jobs:job:inputs: may have 50 entries at most",
    ),
    ("child: {trigger: {include: a.yml, strategy: hope}}", 1, "must be one of depend, mirror"),
    (
        "child: {trigger: {include: a.yml, forward: {yaml_variables: 1}}}",
        1,
        "forward:yaml_variables: must be true or false",
    ),
    # extends and references
    ("job:\n  extends: .no", 2, "jobs:job: extends unknown '.no'"),
    ("a: {extends: b}\nb: {extends: a}", 1, "extends goes in a circle"),
    ("job: {extends: 5}", 1, "extends must be a name or a list of names"),
    ("job: {extends: []}", 1, "extends must be a name or a list of names"),
    (".x: 5\njob: {extends: .x}", 1, "jobs:.x must be a map"),
    (f"{EXTENDS}.l11: {{script: x}}\njob: {{extends: .l0}}", 11, "too deep"),
    ("job:\n  script: !reference [.x, script]", 2, "!reference [.x, script] could not be found"),
    (".x: {}\njob: {script: !reference [.x, script]}", 2, "could not be found"),
    ("job: {script: !reference [job, script]}", 1, "goes in a circle"),
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
    (job("rules:\n    - if: $A\n    - {}"), 6, "jobs:job:rules: a rule must not be empty"),
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
]


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED, ids=[row[2] for row in REFUSED])
def test_an_error_names_line_key_and_reason(text: str, line: int, reason: str) -> None:
    message = refusal(text)
    assert message.startswith(f".gitlab-ci.yml line {line}: ")
    assert reason in message


def test_an_error_names_the_projects_own_ci_file() -> None:
    with pytest.raises(CiError, match=r"^other\.yml line 1: "):
        read_pipeline("job: {script: 5}", variables={}, file="other.yml")
