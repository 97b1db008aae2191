"""`artifacts` and `cache`."""

from __future__ import annotations

import pytest

from local.gitlab.ci.file import ArtifactSpec, CacheSpec, CiError, JobSpec, read_pipeline

FILES = {"package-lock.json": "{}", "go.sum": "x"}


def job(body: str, files: dict[str, str] | None = None) -> JobSpec:
    text = f"job: {{script: x, {body}}}"
    read = read_pipeline(text, variables={}, files=FILES if files is None else files)
    return read.jobs[0]


@pytest.mark.parametrize(
    ("body", "artifacts"),
    [
        ("tags: []", ()),
        ("artifacts: {}", ()),
        ("artifacts: {paths: [build/]}", (ArtifactSpec(paths=("build/",)),)),
        (
            "artifacts: {paths: [a], exclude: ['**/*.o'], untracked: true, when: always,"
            " expire_in: 1 week, name: $CI_JOB_NAME}",
            (
                ArtifactSpec(
                    name="$CI_JOB_NAME",
                    paths=("a",),
                    exclude=("**/*.o",),
                    untracked=True,
                    when="always",
                    expire_in="1 week",
                ),
            ),
        ),
        (
            "artifacts: {paths: [a], expire_in: never}",
            (ArtifactSpec(paths=("a",), expire_in="never"),),
        ),
        (
            "artifacts: {reports: {junit: [a.xml, b.xml], dotenv: build.env,"
            " coverage_report: {coverage_format: cobertura, path: c.xml}}}",
            (
                ArtifactSpec(
                    reports={
                        "junit": ("a.xml", "b.xml"),
                        "dotenv": ("build.env",),
                        "cobertura": ("c.xml",),
                    }
                ),
            ),
        ),
    ],
)
def test_artifacts(body: str, artifacts: tuple[ArtifactSpec, ...]) -> None:
    assert job(body).artifacts == artifacts


@pytest.mark.parametrize(
    ("body", "cache"),
    [
        ("cache: {}", ()),
        ("cache: []", ()),
        ("cache: {paths: [vendor]}", (CacheSpec(key="default", paths=("vendor",)),)),
        (
            "cache: {key: $CI_COMMIT_REF_SLUG, paths: [a], untracked: true, policy: pull,"
            " when: on_failure, fallback_keys: [main, other]}",
            (
                CacheSpec(
                    key="$CI_COMMIT_REF_SLUG",
                    paths=("a",),
                    untracked=True,
                    policy="pull",
                    when="on_failure",
                    fallback_keys=("main", "other"),
                ),
            ),
        ),
        (
            "cache: [{key: one, paths: [a]}, {key: two, paths: [b]}]",
            (CacheSpec(key="one", paths=("a",)), CacheSpec(key="two", paths=("b",))),
        ),
    ],
)
def test_cache(body: str, cache: tuple[CacheSpec, ...]) -> None:
    assert job(body).cache == cache


def test_a_key_of_files_changes_with_their_content_and_nothing_else() -> None:
    body = "cache: {key: {files: [package-lock.json, go.sum], prefix: $CI_JOB_NAME}, paths: [a]}"
    key = job(body).cache[0].key
    assert key.startswith("$CI_JOB_NAME-")
    assert job(body, {**FILES, "unrelated": "y"}).cache[0].key == key
    assert job(body, {**FILES, "go.sum": "y"}).cache[0].key != key


def test_a_key_of_files_that_do_not_exist_is_the_default_one() -> None:
    assert job("cache: {key: {files: [nope]}, paths: [a]}").cache[0].key == "default"
    assert job("cache: {key: {files: [nope], prefix: p}}").cache[0].key == "p-default"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("artifacts: [a]", "jobs:job:artifacts: must be a map"),
        ("artifacts: {paths: a}", "jobs:job:artifacts:paths: must be a list"),
        ("artifacts: {paths: [a], when: never}", "must be one of on_success, on_failure, always"),
        ("artifacts: {paths: [a], expire_in: soon}", "artifacts:expire_in: must be a duration"),
        (
            "artifacts: {reports: {coverage_report: {}}}",
            "coverage_report: coverage_format is missing",
        ),
        ("cache: {policy: push-pull}", "jobs:job:cache:policy: must be one of"),
        ("cache: {keys: a}", "unsupported key 'keys'"),
        ("cache: {key: {prefix: a}}", "jobs:job:cache:key: takes exactly one of files"),
        ("cache: {key: [a]}", "jobs:job:cache:key: must be a string"),
        ("cache: [{}, {}, {}, {}, {}]", "may have 4 caches at most"),
    ],
)
def test_wrong_parts_are_named(body: str, said: str) -> None:
    with pytest.raises(CiError) as caught:
        job(body)
    assert said in str(caught.value)
