"""Real git against the simulator: push, clone, permissions, and what a push starts."""

import random
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from local.gitlab.seed import SeededProject, push_files
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.site import Site, run_git

CI = "unit: {script: [make test]}\n"
WHO = ("-c", "user.name=Dana Roe", "-c", "user.email=dana@example.com")
DEMO = "acme/platform/demo"


@pytest.fixture
def work(site: Site, tmp_path: Path) -> Path:
    """A clone of a project with one pipeline."""
    clone(site.seed(CI).clone_url, tmp_path / "work")
    return tmp_path / "work"


def clone(url: str, target: Path) -> None:
    done = run_git(target.parent, "clone", "--quiet", url, str(target))
    assert done.returncode == 0, done.stderr


def push(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_git(work, "push", "origin", *arguments)


def commit(work: Path, message: str) -> str:
    """A commit of all changes; its sha."""
    run_git(work, "add", ".")
    run_git(work, *WHO, "commit", "--allow-empty", "--message", message)
    return run_git(work, "rev-parse", "HEAD").stdout.strip()


def push_a_commit(work: Path) -> subprocess.CompletedProcess[str]:
    """Push a new branch."""
    commit(work, "Add a branch")
    return push(work, "HEAD:refs/heads/other")


def pipelines(site: Site) -> list[tuple[str, str, str]]:
    """Ref, sha and status of every pipeline, oldest first."""
    return site.server.ask(
        lambda world: [(p.ref, p.commit.sha, str(p.status)) for p in world.ci.pipelines.values()]
    )


def test_a_push_starts_a_pipeline_before_it_returns(site: Site, work: Path) -> None:
    (pipeline,) = site.client.projects.get(1).pipelines.list(get_all=True)
    assert (pipeline.ref, pipeline.status, pipeline.source) == ("main", "pending", "push")
    assert site.statuses() == {"unit": "pending"}
    assert (work / ".gitlab-ci.yml").read_text() == CI
    assert run_git(work, "log", "-1", "--format=%an %s").stdout == "Dana Roe Add the first files\n"
    url = run_git(work, "remote", "get-url", "origin").stdout.strip()
    clone(url.removesuffix(".git"), work.parent / "again")
    assert (work.parent / "again" / "README.md").exists()


def test_the_answer_to_a_push_names_the_pipeline_or_its_error(site: Site, work: Path) -> None:
    old = run_git(work, "rev-parse", "HEAD").stdout.strip()
    commit(work, "Change something")
    done = push(work, "main")
    assert re.search(r"^remote: Pipeline 2 for main: 1 job\s*$", done.stderr, re.MULTILINE)
    assert f"{site.server.url}/{DEMO}/-/pipelines/2" in done.stderr
    before = site.server.ask(lambda w: [p.before_sha for p in w.ci.pipelines.values()])
    assert before == ["0" * 40, old]
    (work / ".gitlab-ci.yml").write_text("unit: {scirpt: [x]}\n")
    commit(work, "Break it")
    done = push(work, "main")
    assert (done.returncode, "remote: Pipeline 3 cannot run:" in done.stderr) == (0, True)
    assert pipelines(site)[2][2] == "failed"


def test_every_pushed_branch_and_tag_gets_a_pipeline(site: Site, work: Path) -> None:
    sha = commit(work, "Ready")
    run_git(work, "tag", "v1")
    run_git(work, *WHO, "tag", "--annotate", "v2", "--message", "Second")
    push(work, "HEAD:refs/heads/feature/x", "v1", "v2")
    names = ("feature/x", "v1", "v2")
    assert sorted(pipelines(site)[1:]) == [(name, sha, "pending") for name in names]
    tags = site.server.ask(lambda w: {p.ref for p in w.ci.pipelines.values() if p.is_tag})
    assert tags == {"v1", "v2"}


def test_a_deletion_an_empty_push_and_ci_skip_start_no_pipeline(site: Site, work: Path) -> None:
    push(work, "HEAD:refs/heads/gone")
    count = len(pipelines(site))
    assert push(work, ":refs/heads/gone").returncode == 0
    assert "refs/heads/gone" not in site.server.ask(lambda w: w.accounts.projects[1].refs)
    assert push(work, "main").returncode == 0
    commit(work, "Quietly")
    assert push(work, "--push-option=ci.skip", "main").returncode == 0
    assert len(pipelines(site)) == count == 2


def test_includes_and_file_rules_read_the_repository(site: Site) -> None:
    seeded = site.seed("include: [{local: ci/jobs.yml}]\n")
    files = {
        ".gitlab-ci.yml": "include: [{local: ci/jobs.yml}]\n",
        "ci/jobs.yml": "docker: {script: [x], rules: [{exists: [Dockerfile]}]}\n",
        "Dockerfile": "FROM scratch\n",
    }
    push_files(seeded.clone_url, files, message="Include it")
    assert site.statuses() == {"docker": "pending"}


def test_a_large_push_arrives_whole(site: Site, work: Path) -> None:
    (work / "large.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    sha = commit(work, "Add something large")
    assert push(work, "main").returncode == 0
    assert pipelines(site)[-1][1] == sha


def test_a_compressed_fetch_is_understood(site: Site, work: Path) -> None:
    """Git compresses a fetch that names many commits it has."""
    ours = ["commit refs/heads/ours", "committer D <d@example.com> 4000000000 +0000", "data 1", "x"]
    stream = "\n".join([*(line for _ in range(80) for line in ours), ""])
    subprocess.run(["git", "fast-import", "--quiet"], cwd=work, input=stream, text=True, check=True)
    url = run_git(work, "remote", "get-url", "origin").stdout.strip()
    sha = site.push(SeededProject(id=1, clone_url=url), CI + "# more\n")
    assert run_git(work, "fetch", "--quiet", "origin").returncode == 0
    assert run_git(work, "rev-parse", "origin/main").stdout.strip() == sha


def test_a_job_fetches_its_commit_after_the_branch_moved(
    work: Path, machine: Machine, tmp_path: Path
) -> None:
    first = run_git(work, "rev-parse", "HEAD").stdout.strip()
    info = machine.take()["git_info"]  # a running job is not canceled
    for number in range(3):
        commit(work, f"Go on {number}")
    push(work, "--force", "main")
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
    site.seed(CI, path="acme/other")
    job = machine.take()
    url = job["git_info"]["repo_url"]
    clone(url, tmp_path / "mine")
    assert "403" in push_a_commit(tmp_path / "mine").stderr
    assert "403" in run_git(tmp_path, "ls-remote", url.replace(DEMO, "acme/other")).stderr
    machine.report(job, "success")
    assert run_git(tmp_path, "ls-remote", url).returncode != 0


def test_a_token_needs_a_scope_and_its_user_a_role(site: Site, work: Path) -> None:
    for role, scope, reads, writes in (
        (40, "api", True, True),
        (40, "write_repository", True, True),
        (40, "read_repository", True, False),
        (40, "read_user", False, False),
        (30, "api", True, True),
        (20, "api", True, False),
    ):
        number, token = site.person(f"dana-{role}-{scope}", scope)
        site.client.projects.get(1).members.create({"user_id": number, "access_level": role})
        run_git(work, "remote", "set-url", "origin", site.clone_url("any-name", token))
        may = (run_git(work, "ls-remote", "origin"), push_a_commit(work))
        assert [done.returncode == 0 for done in may] == [reads, writes], (role, scope)


def test_a_login_is_asked_for_before_the_project_is_looked_up(site: Site) -> None:
    site.seed(CI)
    for path, password, status in (
        (DEMO, None, 401),
        ("acme/nothing", None, 401),
        (DEMO, "glpat-wrong", 401),
        ("acme/nothing", site.server.root_token, 404),
        (DEMO, site.server.root_token, 200),
    ):
        auth = None if password is None else ("oauth2", password)
        url = f"{site.server.url}/{path}.git/info/refs?service=git-upload-pack"
        answer = httpx.get(url, auth=auth)
        asks = answer.headers.get("www-authenticate", "").startswith("Basic")
        assert (answer.status_code, asks) == (status, status == 401), (path, password)


def test_a_public_project_is_read_without_a_login_but_not_written(
    site: Site, tmp_path: Path
) -> None:
    seeded = site.seed(CI)
    site.server.ask(lambda world: setattr(world.accounts.projects[seeded.id], "is_public", True))
    clone(f"{site.server.url}/{DEMO}.git", tmp_path / "work")
    assert push_a_commit(tmp_path / "work").returncode != 0
