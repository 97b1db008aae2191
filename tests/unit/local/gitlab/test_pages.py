"""The pages behind every `web_url`, without scripts. Who may see them: `rest/pages.txt`."""

from typing import Any

from local.gitlab.ci.types import EnvironmentSpec
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
    raw = page(desk, f"{of_job}/raw", headers={"PRIVATE-TOKEN": root})
    assert raw.content.startswith(b"\x1b[32mall good")


def test_text_of_the_ci_file_is_escaped(desk: Desk) -> None:
    pipeline = desk.start(job_spec(EVIL))
    pipeline.yaml_errors, pipeline.warnings = f"error {EVIL}", (f"warning {EVIL}",)
    shown = page(desk, f"{BASE}/acme/demo/-/pipelines/1", desk.world.root_token).text
    assert EVIL not in shown
    assert shown.count("&lt;script&gt;") == 3


def test_an_environment_is_where_its_last_job_deployed_to(desk: Desk) -> None:
    spec = EnvironmentSpec(name="review/1", url="https://$HOST/$CI_ENVIRONMENT_SLUG")
    job = desk.running(job_spec("ship", environment=spec))
    job.dotenv = {"HOST": "x.example.com"}
    desk.report(job, "success")
    (shown,) = desk.answer("GET", "/projects/1/environments")
    assert (shown["name"], shown["tier"]) == ("review/1", "development")
    assert shown["state"] == "available"
    assert shown["external_url"] == f"https://x.example.com/{shown['slug']}"
