"""Real git against the simulator: push, clone, who may, and what a push starts."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import httpx
import pytest

from local.gitlab.seed import SeededProject, SeedFailed, push_files
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site, run_git

CI = "unit: {script: [make test]}\n"
WHO = ("-c", "user.name=Dana Roe", "-c", "user.email=dana@example.com")


@pytest.fixture
def work(site: Site, tmp_path: Path) -> Path:
    """A clone of a project with one pipeline behind it."""
    clone(site.seed(CI).clone_url, tmp_path / "work")
    return tmp_path / "work"


def clone(url: str, target: Path) -> None:
    done = run_git(target.parent, "clone", "--quiet", url, str(target))
    assert done.returncode == 0, done.stderr


def push(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_git(work, "push", "origin", *arguments)


def commit(work: Path, message: str) -> str:
    run_git(work, *WHO, "commit", "--allow-empty", "--message", message)
    return run_git(work, "rev-parse", "HEAD").stdout.strip()


def pipelines(site: Site) -> list[tuple[str, str, str]]:
    """Ref, sha and status of every pipeline, oldest first."""
    return site.server.ask(
        lambda world: [(p.ref, p.commit.sha, str(p.status)) for p in world.ci.pipelines.values()]
    )


def test_a_push_starts_a_pipeline_before_it_returns(site: Site) -> None:
    seeded = site.seed(CI, path="acme/platform/demo")
    (pipeline,) = site.project(seeded).pipelines.list(get_all=True)
    assert (pipeline.ref, pipeline.status, pipeline.source) == ("main", "pending", "push")
    assert site.statuses() == {"unit": "pending"}


def test_a_clone_has_what_was_pushed(work: Path) -> None:
    assert (work / ".gitlab-ci.yml").read_text() == CI
    assert run_git(work, "log", "-1", "--format=%an %s").stdout == "Dana Roe Add the first files\n"


def test_a_clone_works_without_the_suffix_too(site: Site, tmp_path: Path) -> None:
    seeded = site.seed(CI)
    clone(seeded.clone_url.removesuffix(".git"), tmp_path / "work")
    assert (tmp_path / "work" / "README.md").exists()


def test_the_pusher_is_told_about_the_pipeline(site: Site, work: Path) -> None:
    commit(work, "Change something")
    done = push(work, "main")
    assert "remote: Pipeline 2 for main: 1 jobs" in done.stderr
    assert f"{site.server.url}/acme/platform/demo/-/pipelines/2" in done.stderr


def test_the_pusher_is_told_what_is_wrong_with_the_ci_file(site: Site, work: Path) -> None:
    (work / ".gitlab-ci.yml").write_text("unit: {scirpt: [x]}\n")
    run_git(work, "add", ".")
    commit(work, "Break it")
    done = push(work, "main")
    assert done.returncode == 0
    assert "remote: Pipeline 2 cannot run:" in done.stderr
    (_, broken) = pipelines(site)
    assert broken[2] == "failed"
    found = site.server.ask(lambda world: world.ci.pipelines[2].yaml_errors)
    assert found is not None
    assert "unit" in found


def test_every_pushed_branch_and_tag_gets_a_pipeline(site: Site, work: Path) -> None:
    sha = commit(work, "Ready")
    run_git(work, "tag", "v1")
    run_git(work, *WHO, "tag", "--annotate", "v2", "--message", "Second")
    push(work, "HEAD:refs/heads/feature/x", "v1", "v2")
    assert sorted(pipelines(site)[1:]) == [
        ("feature/x", sha, "pending"),
        ("v1", sha, "pending"),
        ("v2", sha, "pending"),
    ]
    tags = site.server.ask(lambda w: {p.ref for p in w.ci.pipelines.values() if p.is_tag})
    assert tags == {"v1", "v2"}


def test_the_sha_before_is_known(site: Site, work: Path) -> None:
    old = run_git(work, "rev-parse", "HEAD").stdout.strip()
    commit(work, "Go on")
    push(work, "main")
    before = site.server.ask(lambda w: [p.before_sha for p in w.ci.pipelines.values()])
    assert before == ["0" * 40, old]


def test_deleting_a_branch_starts_nothing(site: Site, work: Path) -> None:
    push(work, "HEAD:refs/heads/gone")
    done = push(work, ":refs/heads/gone")
    assert done.returncode == 0
    assert len(pipelines(site)) == 2
    assert "refs/heads/gone" not in site.server.ask(lambda w: w.accounts.projects[1].refs)


def test_a_push_of_nothing_starts_nothing(site: Site, work: Path) -> None:
    assert push(work, "main").returncode == 0
    assert len(pipelines(site)) == 1


def test_ci_skip_as_a_push_option_starts_nothing(site: Site, work: Path) -> None:
    commit(work, "Quietly")
    assert push(work, "--push-option=ci.skip", "main").returncode == 0
    assert len(pipelines(site)) == 1


@pytest.mark.parametrize("mark", ["[skip ci]", "[ci skip]", "[SKIP CI]"])
def test_a_commit_message_can_skip_the_pipeline(site: Site, work: Path, mark: str) -> None:
    sha = commit(work, f"Change the text {mark}")
    push(work, "main")
    assert pipelines(site)[1:] == [("main", sha, "skipped")]
    assert site.statuses() == {"unit": "pending"}


def test_without_a_ci_file_there_is_no_pipeline(site: Site, work: Path) -> None:
    run_git(work, "rm", "--quiet", ".gitlab-ci.yml")
    commit(work, "Do without")
    push(work, "main")
    assert len(pipelines(site)) == 1


def test_when_no_job_applies_there_is_no_pipeline(site: Site) -> None:
    site.seed("unit: {script: [x], rules: [{if: '$CI_COMMIT_TAG'}]}\n")
    assert pipelines(site) == []


def test_includes_and_file_rules_see_the_repository(site: Site) -> None:
    seeded = site.seed("include: [{local: ci/jobs.yml}]\n")
    files = {
        ".gitlab-ci.yml": "include: [{local: ci/jobs.yml}]\n",
        "ci/jobs.yml": "docker: {script: [x], rules: [{exists: [Dockerfile]}]}\n",
        "Dockerfile": "FROM scratch\n",
    }
    push_files(seeded.clone_url, files, message="Include it")
    assert site.statuses() == {"docker": "pending"}


def test_a_new_push_cancels_what_older_ones_of_the_branch_left(site: Site) -> None:
    seeded = site.seed(CI)
    site.push(seeded, "unit: {script: [other]}\n")
    assert [status for _, _, status in pipelines(site)] == ["canceled", "pending"]


def test_a_large_push_arrives_whole(site: Site, work: Path) -> None:
    (work / "large.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    run_git(work, "add", ".")
    sha = commit(work, "Add something large")
    assert push(work, "main").returncode == 0
    assert pipelines(site)[-1][1] == sha


def test_a_job_fetches_its_commit_although_the_branch_has_gone_on(
    site: Site, work: Path, machine: Machine, tmp_path: Path
) -> None:
    first = run_git(work, "rev-parse", "HEAD").stdout.strip()
    job = machine.take()  # what began for good is not canceled
    for number in range(3):
        commit(work, f"Go on {number}")
    push(work, "--force", "main")
    info = job["git_info"]
    assert info["sha"] == first
    run_git(tmp_path, "init", "--quiet", "target")
    target = tmp_path / "target"
    fetched = run_git(target, "fetch", "--depth=1", info["repo_url"], *info["refspecs"])
    assert fetched.returncode == 0, fetched.stderr
    assert run_git(target, "checkout", "--quiet", first).returncode == 0


def test_a_job_token_reads_its_own_project_while_the_job_runs(
    site: Site, machine: Machine, tmp_path: Path
) -> None:
    site.seed(CI)
    other = site.seed(CI, path="acme/other")
    job = machine.take()
    url = job["git_info"]["repo_url"]
    clone(url, tmp_path / "mine")
    denied = push_anything(tmp_path / "mine")
    assert "403" in denied.stderr
    assert other.id == 2
    alien = url.replace("acme/platform/demo", "acme/other")
    assert "403" in run_git(tmp_path, "ls-remote", alien).stderr
    machine.report(job, "success")
    assert run_git(tmp_path, "ls-remote", url).returncode != 0


def push_anything(work: Path) -> subprocess.CompletedProcess[str]:
    commit(work, "Sneak in")
    return push(work, "HEAD:refs/heads/sneaky")


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [
        (("api",), True, True),
        (("write_repository",), True, True),
        (("read_repository",), True, False),
        (("read_user",), False, False),
    ],
)
def test_scopes_of_a_token(
    site: Site, tmp_path: Path, scopes: tuple[str, ...], reads: bool, writes: bool
) -> None:
    seeded = site.seed(CI)
    number, token = site.person("dana", *scopes)
    site.project(seeded).members.create({"user_id": number, "access_level": 40})
    url = site.clone_url("anything", token)
    assert (run_git(tmp_path, "ls-remote", url).returncode == 0) is reads
    if writes:
        push_files(url, {"a": "b"}, message="Add", branch="work")
        return
    with pytest.raises(SeedFailed):
        push_files(url, {"a": "b"}, message="Add", branch="work")


@pytest.mark.parametrize(("role", "writes"), [(20, False), (30, True)])
def test_developers_push_and_reporters_only_read(
    site: Site, tmp_path: Path, role: int, writes: bool
) -> None:
    seeded = site.seed(CI)
    number, token = site.person("dana", "api")
    site.project(seeded).members.create({"user_id": number, "access_level": role})
    url = site.clone_url("dana", token)
    clone(url, tmp_path / "work")
    assert (push_anything(tmp_path / "work").returncode == 0) is writes


def info_refs(site: Site, path: str, *, auth: tuple[str, str] | None = None) -> httpx.Response:
    url = f"{site.server.url}/{path}.git/info/refs"
    return httpx.get(url, params={"service": "git-upload-pack"}, auth=auth)


def test_strangers_are_asked_for_a_login_before_anything_else(site: Site) -> None:
    site.seed(CI)
    for path in ("acme/platform/demo", "acme/nothing"):
        answer = info_refs(site, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("path", "password", "status"),
    [
        ("acme/platform/demo", "glpat-wrong", 401),
        ("acme/nothing", None, 404),
        ("acme/platform/demo", None, 200),
    ],
)
def test_logins(site: Site, path: str, password: str | None, status: int) -> None:
    site.seed(CI)
    login = ("oauth2", password or site.server.root_token)
    assert info_refs(site, path, auth=login).status_code == status


def test_a_public_project_is_read_without_a_login_but_not_written(
    site: Site, tmp_path: Path
) -> None:
    seeded: SeededProject = site.seed(CI)
    site.server.ask(lambda world: setattr(world.accounts.projects[seeded.id], "is_public", True))
    clone(f"{site.server.url}/acme/platform/demo.git", tmp_path / "work")
    assert push_anything(tmp_path / "work").returncode != 0


def test_compressed_requests_are_understood(site: Site, work: Path) -> None:
    """Git compresses a fetch that names many commits it has."""
    for number in range(80):
        commit(work, f"Local commit {number}")
    sha = site.push(SeededProject(id=1, clone_url=origin(work)), CI + "# more\n")
    assert run_git(work, "fetch", "--quiet", "origin").returncode == 0
    assert run_git(work, "rev-parse", "origin/main").stdout.strip() == sha


def origin(work: Path) -> str:
    return run_git(work, "remote", "get-url", "origin").stdout.strip()
