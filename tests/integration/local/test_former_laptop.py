"""A folder that an earlier laptop used: its repositories are served again, at any interruption."""

from pathlib import Path

from local.former_laptop import restore_projects, set_aside
from local.gitlab.repository import read_refs
from local.gitlab.seed import create_project, push_files
from local.gitlab.server import SimulatorServer

CI = "job:\n  script: [make]\n"


def served(folder: Path) -> dict[str, dict[str, str]]:
    """What a new laptop's GitLab has after it took up the folder: refs by project."""
    with SimulatorServer(folder / "gitlab") as server:
        restore_projects(folder, gitlab_url=server.url, token=server.root_token)
        projects = server.world.accounts.projects.values()
        assert not any(project.by_status for project in projects)
        return {project.full_path: read_refs(project.repository) for project in projects}


def test_every_branch_goes_on_and_no_job_starts(tmp_path: Path) -> None:
    set_aside(tmp_path)  # nothing there yet
    assert served(tmp_path) == {}
    set_aside(tmp_path)
    with SimulatorServer(tmp_path / "gitlab") as server:
        for path, branch in (("acme/a", "main"), ("other/deep/b", "trunk")):
            url, token = server.url, server.root_token
            made = create_project(url, token, path, {".gitlab-ci.yml": CI}, default_branch=branch)
            push_files(made.clone_url, {"x": "1"}, message="x", branch="side")
        create_project(server.url, server.root_token, "acme/empty", {})
        projects = server.world.accounts.projects.values()
        before = {project.full_path: read_refs(project.repository) for project in projects}
    (tmp_path / "engine").mkdir()
    before = {path: _branches(refs) for path, refs in before.items()}
    set_aside(tmp_path)
    set_aside(tmp_path)  # ended on its way, and again
    assert not (tmp_path / "engine").exists()
    for _ in range(2):
        assert {path: _branches(refs) for path, refs in served(tmp_path).items()} == before
        assert not (tmp_path / "earlier").exists()
        set_aside(tmp_path)


def _branches(refs: dict[str, str]) -> dict[str, str]:
    return {name: sha for name, sha in refs.items() if name.startswith("refs/heads/")}
