"""`logs`: which log it prints, what of it reaches a terminal, and what it says without one."""

from collections.abc import Callable
from typing import Any

import pytest

from adapters.gitlab.job_log import plain
from adapters.gitlab.values import GitLabJob, GitLabProject
from fleet.errors import FleetError, Refused, Transient
from tests.unit.cli.fleet_at_work import AT, AtWork
from tests.unit.cli.session import Session

TOKEN = {"GITLAB_TOKEN": "glpat-1"}
NO_TOKEN = {"GITLAB_TOKEN": ""}


def with_job(*logs: str, status: str = "success", **facts: Any) -> AtWork:
    """Job 1 of project 7, of which GitLab shows these logs one after the other."""
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    at_work.gitlab.add(GitLabJob(id=1, project_id=7, name="unit", status=status, **facts))
    at_work.gitlab.logs[1] = list(logs)
    return at_work


def test_a_job_is_named_by_its_number_or_by_its_project_where_the_ledger_lost_it() -> None:
    at_work = with_job("all good")
    for name in ("1", "acme/demo#1"):
        result = at_work.run("logs", name, env=TOKEN)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "all good\n", "")
    at_work.gitlab.add(GitLabJob(id=9, project_id=7, name="old", status="failed"))
    at_work.gitlab.logs[9] = ["long ago\n"]
    assert at_work.run("logs", "acme/demo#9", env=TOKEN).stdout == "long ago\n"


def test_all_that_logs_says_without_a_log(screen: Callable[[str, str], None]) -> None:
    session = Session()
    for status, erased_at in (
        ("pending", None),
        ("created", None),
        ("canceled", None),
        ("success", AT),
    ):
        at_work = with_job("", status=status, erased_at=erased_at)
        at_work.session = session
        result = at_work.run("logs", "1", env=TOKEN)
        assert (result.exit_code, result.stdout) == (1, "")
    at_work = with_job("one\ntwo", status="failed")
    at_work.session = session
    for name in ("9", "7#5", "https://gitlab.com/acme/demo/-/jobs/1", "unit"):
        result = at_work.run("logs", name, env=TOKEN)
        code = 2 if name == "unit" else 1  # no name of a job is a wrong call
        assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (code, "", 1)
    assert at_work.run("logs", "1", env=NO_TOKEN).exit_code == 1
    assert at_work.run("logs", "1", "-f", env=TOKEN).stdout == "one\ntwo\n"
    assert at_work.run("logs", "1", "--json", env=TOKEN).exit_code == 0
    waiting = with_job("", status="pending")
    waiting.session = session
    assert waiting.run("logs", "1", "--follow", env=TOKEN).exit_code == 0
    screen("logs", str(session))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Refused("GitLab does not have it", status=404), "GitLab has no job 1 in project 7"),
        (Refused("this token may not do this", status=403), "this token may not do this"),
        (Transient("GitLab did not answer", error="ConnectTimeout"), "GitLab did not answer"),
    ],
)
def test_a_refusal_of_gitlab_is_not_an_empty_log(error: FleetError, says: str) -> None:
    at_work = with_job("x")
    at_work.gitlab.failing["log"] = error
    result = at_work.run("logs", "1", env=TOKEN)
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr


def test_following_prints_new_lines_until_ctrl_c() -> None:
    at_work = with_job("one\ntw", "one\ntwo\n", "one\ntwo\nthree", status="running")
    result = at_work.run("logs", "1", "--follow", env=TOKEN)
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")


ESC = "\033"
LOG = (
    f"section_start:1764000000:step_script[collapsed=true]\r{ESC}[0K{ESC}[36;1mExecuting{ESC}[0;m\n"
    f"{ESC}[32;1m$ make{ESC}[0;m\r\n"
    "10%\r50%\r100%\r\n"
    f"{ESC}]8;;https://x{ESC}\\link{ESC}]8;;{ESC}\\ and\ttab\a\n"
    f"section_end:1764000009:step_script\r{ESC}[0K\n"
    "\n"
    "section_end is a word\n"
)


def test_codes_for_terminals_are_removed() -> None:
    assert plain(LOG).split("\n") == [
        "Executing",
        "$ make",
        "100%",
        "link and\ttab",
        "",
        "section_end is a word",
        "",
    ]
    at_work = with_job(LOG)
    assert at_work.run("logs", "1", env=TOKEN).stdout == plain(LOG)
    assert at_work.run("logs", "1", "--raw", env=TOKEN).stdout == LOG.replace("\r\n", "\n")


def test_the_times_of_newer_runners_are_removed_and_cut_lines_are_joined() -> None:
    log = (
        "2026-11-26T08:00:00.123456Z 00O Running\n"
        "2026-11-26T08:00:01.123456Z 01O 10%\r\n"
        "2026-11-26T08:00:02.123456Z 01O+100%\n"
        "2026-11-26T08:00:03Z 01E warning\n"
        "2026-11-26 is a day\n"
    )
    assert plain(log) == "Running\n100%\nwarning\n2026-11-26 is a day\n"
