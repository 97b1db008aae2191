"""Variables of projects and groups: the API, and the ones that a job gets."""

from __future__ import annotations

from typing import Any

import pytest

from local.gitlab.ci.types import EnvironmentSpec
from tests.unit.local.gitlab.desk import Desk
from tests.unit.local.gitlab.small_gitlab import job_spec
from tests.unit.local.gitlab.test_start_pipeline import commit

OF_PROJECT = "/projects/1/variables"
OF_GROUP = "/groups/1/variables"


def add(desk: Desk, key: str, value: str, *, path: str = OF_PROJECT, **rest: Any) -> Any:
    return desk.answer("POST", path, json={"key": key, "value": value, **rest})


def sent(desk: Desk, **rest: Any) -> dict[str, dict[str, Any]]:
    """The variables that a runner gets with a new job, by key."""
    desk.start(job_spec("unit", **rest))
    return taken(desk)


def taken(desk: Desk) -> dict[str, dict[str, Any]]:
    """The variables that a new runner gets with the next job, by key."""
    variables = desk.ask(desk.register()).json()["variables"]
    return {variable["key"]: variable for variable in variables}


def test_a_variable_is_created_shown_changed_and_deleted(desk: Desk) -> None:
    made = add(desk, "KEY", "value", description="what for")
    assert made == {
        "variable_type": "env_var",
        "key": "KEY",
        "value": "value",
        "hidden": False,
        "protected": False,
        "masked": False,
        "raw": False,
        "environment_scope": "*",
        "description": "what for",
    }
    assert desk.answer("GET", f"{OF_PROJECT}/KEY") == made
    changed = desk.answer("PUT", f"{OF_PROJECT}/KEY", json={"value": "new", "protected": True})
    assert (changed["value"], changed["protected"]) == ("new", True)
    assert desk.call("DELETE", f"{OF_PROJECT}/KEY").status_code == 204
    assert desk.answer("GET", OF_PROJECT) == []
    assert desk.call("GET", f"{OF_PROJECT}/KEY").status_code == 404


def test_the_runner_gets_the_flags_of_a_variable(desk: Desk) -> None:
    add(desk, "PASSWORD", "hidden-123", masked=True)
    add(desk, "CONFIG", "a: b", variable_type="file")
    add(desk, "DOLLARS", "$NOT $EXPANDED", raw=True)
    variables = sent(desk)
    for key, *expected in (
        ("PASSWORD", "hidden-123", True, False, False, False),
        ("CONFIG", "a: b", False, True, False, False),
        ("DOLLARS", "$NOT $EXPANDED", False, False, True, False),
    ):
        fields = ("value", "masked", "file", "raw", "public")
        assert [variables[key][field] for field in fields] == expected


def test_a_hidden_value_is_never_shown_again(desk: Desk) -> None:
    made = add(desk, "KEY", "hidden-123", masked_and_hidden=True)
    assert (made["value"], made["masked"], made["hidden"]) == (None, True, True)
    assert sent(desk)["KEY"]["value"] == "hidden-123"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"value": "short", "masked": True}, "is invalid"),
        ({"value": "two words here", "masked": True, "raw": True}, "is invalid"),
        ({"value": "dollar$dollar", "masked": True}, "is invalid"),
        ({"key": "NOT-OK"}, "key does not have a valid value"),
        ({"variable_type": "secret"}, "variable_type does not have a valid value"),
        ({"environment_scope": "a,b"}, "environment_scope does not have a valid value"),
        ({}, "(KEY) has already been taken"),
    ],
)
def test_a_wrong_variable_is_refused(desk: Desk, body: dict[str, Any], reason: str) -> None:
    add(desk, "KEY", "x")
    refused = desk.call("POST", OF_PROJECT, json={"key": "KEY", "value": "x", **body})
    assert refused.status_code == 400
    assert reason in refused.text


def test_a_key_with_two_scopes_needs_a_filter(desk: Desk) -> None:
    add(desk, "KEY", "any")
    add(desk, "KEY", "prod", environment_scope="prod")
    assert desk.call("GET", f"{OF_PROJECT}/KEY").status_code == 409
    query = {"filter[environment_scope]": "prod"}
    assert desk.answer("GET", f"{OF_PROJECT}/KEY", params=query)["value"] == "prod"


def test_file_dotenv_groups_and_project_win_in_this_order(desk: Desk) -> None:
    below = desk.world.accounts.add_group(
        "below", name="Below", parent=desk.group, owner=desk.world.root
    )
    desk.project.group = below
    keys = ("FILE", "DOTENV", "TOP", "BELOW", "PROJECT")
    for place, path in (("top", OF_GROUP), ("below", "/groups/2/variables")):
        for key in keys[2 if place == "top" else 3 :]:
            add(desk, key, place, path=path)
    add(desk, "PROJECT", "project")
    pipeline = desk.start(
        job_spec("first", "build"), job_spec("unit", variables=dict.fromkeys(keys, "file"))
    )
    first = desk.ask(desk.register()).json()
    pipeline.latest["first"].dotenv = dict.fromkeys(keys[1:], "dotenv")
    desk.report(pipeline.jobs[first["id"]], "success")
    variables = taken(desk)
    assert [variables[key]["value"] for key in keys] == [
        *("file", "dotenv", "top", "below", "project")
    ]


@pytest.mark.parametrize(
    ("environment", "value"),
    [
        (None, "any"),
        ("review/x", "review"),
        ("review/app/x", "app"),
        ("review/app/1", "exact"),
        ("staging", "any"),
    ],
)
def test_the_most_specific_scope_wins(desk: Desk, environment: str | None, value: str) -> None:
    scopes = {"*": "any", "review/*": "review", "review/app/*": "app", "review/app/1": "exact"}
    for scope, text in scopes.items():
        add(desk, "KEY", text, environment_scope=scope)
    spec = EnvironmentSpec(name=environment) if environment else None
    assert sent(desk, environment=spec)["KEY"]["value"] == value


@pytest.mark.parametrize(("ref", "is_there"), [("main", True), ("feature", False)])
def test_protected_variables_are_for_protected_refs(desk: Desk, ref: str, is_there: bool) -> None:
    add(desk, "KEY", "x", protected=True)
    commit(
        desk, ci="unit: {script: x}\nsees: {script: x, rules: [{if: $KEY}]}\n", ref=f"heads/{ref}"
    )
    made = desk.answer("POST", "/projects/1/pipeline", json={"ref": ref})
    assert ("sees" in desk.world.ci.pipelines[made["id"]].latest) is is_there
    assert ("KEY" in taken(desk)) is is_there


def test_a_pipelines_own_variable_may_be_a_file_and_wins(desk: Desk) -> None:
    add(desk, "KEY", "project")
    commit(desk, ci="unit: {script: x}\n")
    given = [{"key": "KEY", "value": "given", "variable_type": "file"}]
    desk.answer("POST", "/projects/1/pipeline", json={"ref": "main", "variables": given})
    variable = taken(desk)["KEY"]
    assert (variable["value"], variable["file"]) == ("given", True)


def test_unknown_parameters_are_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    add(desk, "KEY", "x", colour="red")
    hook = {"url": "http://a.example.com", "job_events": True, "no_events": True}
    desk.answer("POST", "/projects/1/hooks", json=hook)
    assert desk.call("GET", "/projects/1/wikis").status_code == 404
    assert [record.getMessage() for record in caplog.records] == [
        "POST /api/v4/projects/1/variables ignores colour",
        "POST /api/v4/projects/1/hooks ignores no_events",
        "GET /api/v4/projects/1/wikis is not simulated",
    ]


def test_a_projects_settings_change_and_inputs_are_refused_by_name(desk: Desk) -> None:
    body = {"visibility": "public", "default_branch": "trunk"}
    changed = desk.answer("PUT", "/projects/1", json=body)
    assert {key: changed[key] for key in body} == body
    assert desk.call("PUT", "/projects/1", json={"visibility": "internal"}).status_code == 400
    commit(desk, ci="unit: {script: x}\n")
    wanted = {"ref": "main", "inputs": {"colour": "red"}}
    refused = desk.call("POST", "/projects/1/pipeline", json=wanted)
    assert (refused.status_code, "inputs: colour: " in refused.text) == (400, True)
