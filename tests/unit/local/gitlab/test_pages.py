"""The pages behind every `web_url`: only for those who may see them, and without scripts."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.ci.types import EnvironmentSpec
from local.gitlab.model import Role
from tests.unit.local.gitlab.desk import BASE, Desk
from tests.unit.local.gitlab.small_gitlab import job_spec

EVIL = "<script>alert(1)</script>"


def page(desk: Desk, url: str, token: str | None = None, **rest: Any) -> Any:
    """A page by its whole address."""
    if token is not None:
        rest["auth"] = ("any-name", token)
    return desk.page(url.removeprefix(BASE), **rest)


def test_every_address_that_the_api_names_answers(desk: Desk) -> None:
    job = desk.running(job_spec("unit"))
    desk.append(job, b"\x1b[32mall good\x1b[0m\n" + EVIL.encode(), None)
    desk.append(job, b"\x1b[32mall good\x1b[0m\n" + EVIL.encode(), "0-99")
    root = desk.world.root_token
    of_job = desk.answer("GET", f"/projects/1/jobs/{job.id}")["web_url"]
    of_pipeline = desk.answer("GET", "/projects/1/pipelines/1")["web_url"]
    of_project = desk.answer("GET", "/projects/1")["web_url"]
    of_user, of_group = (desk.answer("GET", path)["web_url"] for path in ("/user", "/groups/1"))
    desk.project.refs["refs/heads/main"] = job.pipeline.commit.sha
    of_branch = desk.answer("GET", "/projects/1/repository/branches/main")["web_url"]
    for url, has in (
        *((of_job, "all good"), (of_pipeline, "unit"), (of_project, "#1"), (of_branch, "#1")),
        *((of_user, "Administrator"), (of_group, "acme/demo")),
    ):
        shown = page(desk, url, root)
        assert shown.status_code == 200, url
        assert has in shown.text
        assert EVIL not in shown.text
        assert "\x1b" not in shown.text
    assert page(desk, f"{of_job}/raw", root).content.startswith(b"\x1b[32mall good")


def test_text_of_the_ci_file_is_escaped(desk: Desk) -> None:
    pipeline = desk.start(job_spec(EVIL))
    pipeline.yaml_errors, pipeline.warnings = f"error {EVIL}", (f"warning {EVIL}",)
    shown = page(desk, f"{BASE}/acme/demo/-/pipelines/1", desk.world.root_token).text
    assert EVIL not in shown
    assert shown.count("&lt;script&gt;") == 3


@pytest.mark.parametrize(
    ("path", "by_member", "by_other"),
    [
        ("user1", 200, 200),
        ("unknown", 404, 404),
        ("groups/acme", 200, 404),
        ("groups/none", 404, 404),
        ("acme/demo/-/tree/main", 200, 404),
        ("acme/demo/-/tree/none", 404, 404),
    ],
)
def test_a_group_page_is_for_members_and_a_user_page_for_every_user(
    desk: Desk, path: str, by_member: int, by_other: int
) -> None:
    desk.project.refs["refs/heads/main"] = "4" * 40
    (member, token), (_, other) = desk.person(Role.REPORTER), desk.person()
    desk.group.members[member.id] = Role.REPORTER
    url = f"{BASE}/{path}"
    assert page(desk, url).status_code == 401
    assert page(desk, url, token).status_code == by_member
    assert page(desk, url, other).status_code == by_other


@pytest.mark.parametrize(("role", "status"), [(None, 404), (Role.GUEST, 404), (Role.REPORTER, 200)])
@pytest.mark.parametrize("path", ["-/pipelines/1", "-/jobs/1", "-/jobs/1/raw", ""])
def test_a_page_of_a_private_project_needs_a_reporter(
    desk: Desk, role: Role | None, status: int, path: str
) -> None:
    desk.start(job_spec("unit"))
    _, token = desk.person(role)
    url = f"{BASE}/acme/demo/{path}".rstrip("/")
    assert page(desk, url, token).status_code == status
    assert page(desk, url, headers={"PRIVATE-TOKEN": token}).status_code == status


@pytest.mark.parametrize("path", ["acme/demo", "acme/none"])
def test_without_a_login_every_page_of_a_private_project_is_401(desk: Desk, path: str) -> None:
    desk.start(job_spec("unit"))
    for token in (None, "glpat-wrong"):
        refused = page(desk, f"{BASE}/{path}/-/jobs/1", token)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert "access token as password" in refused.text
    desk.project.is_public = True
    assert page(desk, f"{BASE}/acme/demo/-/jobs/1").status_code == 200


def test_a_missing_page_is_404_and_a_weak_token_403(desk: Desk) -> None:
    root = desk.world.root_token
    for path in ("-/pipelines/7", "-/jobs/7", "-/merge_requests/7", "-/issues"):
        assert page(desk, f"{BASE}/acme/demo/{path}", root).status_code == 404
    _, token = desk.person(Role.OWNER, "create_runner")
    assert page(desk, f"{BASE}/acme/demo/-/pipelines", token).status_code == 403


def test_a_report_can_be_fetched_from_the_jobs_page(desk: Desk) -> None:
    job = desk.running()
    desk.raw(
        "POST",
        f"/jobs/{job.id}/artifacts",
        params={"artifact_format": "gzip", "artifact_type": "junit"},
        files={"file": ("junit.xml.gz", b"packed")},
        headers={"JOB-TOKEN": job.token},
    )
    root, url = desk.world.root_token, f"{BASE}/acme/demo/-/jobs/{job.id}"
    assert "file_type=junit" in page(desk, url, root).text
    assert page(desk, f"{url}/artifacts/download?file_type=junit", root).content == b"packed"
    assert page(desk, f"{url}/artifacts/download", root).status_code == 404


def test_an_environment_is_where_its_last_job_deployed_to(desk: Desk) -> None:
    spec = EnvironmentSpec(name="review/1", url="https://$HOST/$CI_ENVIRONMENT_SLUG")
    job = desk.running(job_spec("ship", environment=spec))
    job.dotenv = {"HOST": "x.example.com"}
    desk.report(job, "success")
    (shown,) = desk.answer("GET", "/projects/1/environments")
    assert (shown["name"], shown["tier"]) == ("review/1", "development")
    assert shown["state"] == "available"
    assert shown["external_url"] == f"https://x.example.com/{shown['slug']}"
