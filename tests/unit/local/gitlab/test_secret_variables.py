"""Where a variable of a job comes from. The API of projects' variables: `rest/variables.txt`."""

from typing import Any

import pytest

from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec


def add(desk: Desk, key: str, value: str, *, of: str, **rest: Any) -> None:
    desk.answer("POST", f"/{of}/variables", json={"key": key, "value": value, **rest})


def test_file_dotenv_groups_and_project_win_in_this_order(desk: Desk) -> None:
    desk.project.group = desk.world.accounts.add_group(
        "below", name="Below", parent=desk.group, owner=desk.world.root
    )
    keys = ("FILE", "DOTENV", "TOP", "BELOW", "PROJECT")
    for value, of, rank in (("top", "groups/1", 2), ("below", "groups/2", 3)):
        for key in keys[rank:]:
            add(desk, key, value, of=of)
    add(desk, "PROJECT", "project", of="projects/1")
    pipeline = desk.start(
        job_spec("first", "build"), job_spec("unit", variables=dict.fromkeys(keys, "file"))
    )
    first = desk.ask(desk.register()).json()
    pipeline.latest["first"].dotenv = dict.fromkeys(keys[1:], "dotenv")
    desk.report(pipeline.jobs[first["id"]], "success")
    sent = desk.ask(desk.register()).json()["variables"]
    values = {variable["key"]: variable["value"] for variable in sent}
    assert [values[key] for key in keys] == ["file", "dotenv", "top", "below", "project"]


def test_unknown_parameters_are_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    add(desk, "KEY", "x", of="projects/1", colour="red")
    hook = {"url": "http://a.example.com", "job_events": True, "no_events": True}
    desk.answer("POST", "/projects/1/hooks", json=hook)
    assert desk.call("GET", "/projects/1/wikis").status_code == 404
    assert [record.getMessage() for record in caplog.records] == [
        "POST /api/v4/projects/1/variables ignores colour",
        "POST /api/v4/projects/1/hooks ignores no_events",
        "GET /api/v4/projects/1/wikis is not simulated",
    ]
