"""What stands between us and GitLab answers with GitLab's statuses: none of that is a fact."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from adapters.gitlab import hooks
from adapters.gitlab.answer import NotGitLabs, read_refusal
from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import NewRunner
from fleet.errors import FleetError, Refused, Transient
from fleet.hook_scope import HookScope
from tests.fakes import Clock
from tests.unit.adapters.fake_gitlab import Answer, FakeGitLab, fake_gitlab

NEW = NewRunner(kind="instance_type", description="rf-a", tags=("a",))
SCOPE = HookScope(kind="project", id=7)

# Every public method, and the functions about hooks.
CALLS: Mapping[str, Callable[[GitLab], Any]] = {
    "job": lambda gitlab: gitlab.job(7, 9),
    "log": lambda gitlab: gitlab.log(7, 9),
    "pending_jobs": lambda gitlab: gitlab.pending_jobs(7),
    "is_protected": lambda gitlab: gitlab.is_protected(7, "main", is_tag=False),
    "retry_job": lambda gitlab: gitlab.retry_job(7, 9),
    "cancel_job": lambda gitlab: gitlab.cancel_job(7, 9),
    "pipeline_jobs": lambda gitlab: gitlab.pipeline_jobs(7, 3),
    "pending_in_pipeline": lambda gitlab: gitlab.pending_in_pipeline(7, 3, at_most=5),
    "create_runner": lambda gitlab: gitlab.create_runner(NEW),
    "runner": lambda gitlab: gitlab.runner(31),
    "update_runner": lambda gitlab: gitlab.update_runner(31, NEW),
    "delete_runner": lambda gitlab: gitlab.delete_runner(31),
    "runners_described": lambda gitlab: gitlab.runners_described("rf-"),
    "runner_jobs": lambda gitlab: gitlab.runner_jobs(31, status="running"),
    "verify_runner": lambda gitlab: gitlab.verify_runner("glrt-1"),
    "group_projects": lambda gitlab: list(gitlab.group_projects(42)),
    "groups_above": lambda gitlab: gitlab.groups_above(7),
    "groups_over": lambda gitlab: gitlab.groups_over(42),
    "project": lambda gitlab: gitlab.project(7),
    "group": lambda gitlab: gitlab.group("acme"),
    "own_token": lambda gitlab: gitlab.own_token(),
    "is_administrator": lambda gitlab: gitlab.is_administrator(),
    "user_name": lambda gitlab: gitlab.user_name(),
    "has_group": lambda gitlab: gitlab.has_group(42, role=50),
    "role_in_project": lambda gitlab: gitlab.role_in_project(7),
    "version": lambda gitlab: gitlab.version(),
    "hook_health": lambda gitlab: hooks.hook_health(gitlab, SCOPE, 5),
    "list_hooks": lambda gitlab: hooks.list_hooks(gitlab, SCOPE),
    "test_hook": lambda gitlab: hooks.test_hook(gitlab, SCOPE, 5),
}
LISTS = {
    "pending_jobs",
    "pipeline_jobs",
    "pending_in_pipeline",
    "runners_described",
    "runner_jobs",
    "group_projects",
    "groups_above",
    "has_group",
    "list_hooks",
}
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
PAGE = "<html><head><title>Sign in</title></head></html>"


def foreign(status: int, body: Any = PAGE, headers: Mapping[str, str] = HTML) -> Answer:
    """An answer of something that is not GitLab."""
    return Answer(status=status, body=body, headers=headers)


# By what gives it.
FOREIGN: Mapping[str, Answer] = {
    "login page": foreign(200),
    "maintenance page": foreign(503),
    "made, says a page": foreign(201),
    "login, moved permanently": foreign(301, "", {"Location": "https://[sso"}),
    "login, by a link": foreign(302, "", {"Location": "/sso"}),
    "login, the same verb": foreign(307, "", {"Location": "/sso"}),
    "no location": foreign(302),
    "not modified": foreign(304, ""),
    "partial": foreign(206, "{}", JSON),
    "empty 200": foreign(200, "", {"Content-Type": "text/css"}),
    "empty 200 that says JSON": foreign(200, "", JSON),
    "cut off": foreign(200, '[{"id": 9, "name": "bui', JSON),
    "JSON that says HTML": foreign(200, "[]", HTML),
    "a bare word": foreign(200, '"ok"', JSON),
    "null": foreign(200, "null", JSON),
    "a deep list": foreign(200, "[" * 100_000, JSON),
    "a firewall": foreign(401),
    "a gateway without a key": foreign(401, '{"message": "No API key found"}', JSON),
    "AWS's gateway": foreign(403, '{"message": "Missing Authentication Token"}', JSON),
    "a firewall's 403": foreign(403),
    "nginx's default backend": foreign(404, "default backend - 404", {}),
    "Traefik": foreign(404, "404 page not found", {"Content-Type": "text/plain"}),
    "Kong": foreign(404, '{"message": "no Route matched with those values"}', JSON),
    "a gateway": foreign(404, '{"error": "no route"}', JSON),
    "Spring": foreign(404, '{"status": 404, "error": "Not Found", "path": "/api"}', JSON),
    "FastAPI": foreign(404, '{"detail": "Not Found"}', JSON),
    "an empty object": foreign(404, "{}", JSON),
    "an empty 404": foreign(404, "", JSON),
    "a list": foreign(404, '["404 Not found"]', JSON),
    "405": foreign(405),
    "410": foreign(410),
    "422": foreign(422),
    "422 of FastAPI": foreign(422, '{"detail": [{"msg": "x", "message": "y"}]}', JSON),
}
# JSON that no call of its kind is answered with.
MISFITS: Mapping[str, Answer] = {
    "another's object": foreign(200, '{"status": "UP", "id": "x"}', JSON),
    "wrong types": foreign(200, '{"id": true, "name": 7, "scopes": 1, "version": null}', JSON),
    "no answer to it": foreign(204, None, JSON),
}


@pytest.fixture
def fake(fake: FakeGitLab) -> FakeGitLab:
    """It has a login page."""
    fake.answers("GET", "/sso", PAGE)
    return fake


def outcome(fake: FakeGitLab, name: str, answer: Answer) -> object:
    """What a call ends with where everything is answered so."""
    fake.always = answer
    try:
        return CALLS[name](client(fake.url))
    except FleetError as error:
        return error


def believed(fake: FakeGitLab, name: str, answers: Mapping[str, Answer]) -> dict[str, object]:
    """The answers after which the call can be anything but tried again, by what gives them."""
    ends = {giver: outcome(fake, name, answer) for giver, answer in answers.items()}
    return {giver: end for giver, end in ends.items() if type(end) is not Transient}


@cache
def client(url: str) -> GitLab:
    """One for all calls."""
    return GitLab(url, "glpat-1", allowance=OwnAllowance(calls_per_minute=100_000, clock=Clock()))


def test_the_table_has_every_method() -> None:
    methods = {name for name in vars(GitLab) if not name.startswith("_")}
    assert methods <= CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_only_gitlabs_own_word_counts(name: str, fake: FakeGitLab) -> None:
    assert believed(fake, name, FOREIGN) == {}


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"delete_runner", "test_hook"}))
def test_json_of_another_kind_is_no_answer(name: str, fake: FakeGitLab) -> None:
    of_lists = {"an object": "{}", "not of objects": '[1, "a"]'} if name in LISTS else {}
    others = {giver: foreign(200, body, JSON) for giver, body in of_lists.items()}
    assert believed(fake, name, {**MISFITS, **others}) == {}


def test_a_deletion_is_a_204(fake: FakeGitLab) -> None:
    assert type(outcome(fake, "delete_runner", foreign(200, "{}", JSON))) is Transient


@pytest.mark.parametrize("name", ["job", "runner", "cancel_job", "update_runner", "hook_health"])
def test_an_answer_about_another_thing_is_none(name: str, fake: FakeGitLab) -> None:
    body = '{"id": 1000, "name": "a", "status": "success", "url": "https://a"}'
    assert type(outcome(fake, name, foreign(200, body, JSON))) is Transient


@pytest.mark.parametrize("verb", ["retry_job", "update_runner", "delete_runner"])
def test_a_write_does_not_follow_a_redirect(verb: str, fake: FakeGitLab) -> None:
    """It would arrive as a read, or bring its body to a login page."""
    there = {"Location": f"{fake.url}/sso?secret=1"}
    error = outcome(fake, verb, foreign(308, "", there))
    assert (type(error), len(fake.requests)) == (Transient, 1)
    assert "to=http://127.0.0.1" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("to", ["https://gitlab.example.com", "http://127.0.0.2:1"])
def test_a_read_that_is_sent_to_another_address_says_so(to: str, fake: FakeGitLab) -> None:
    """Reads that work would hide that writes do not."""
    error = outcome(fake, "version", foreign(301, "", {"Location": f"{to}/api/v4/version"}))
    assert (type(error), len(fake.requests)) == (Transient, 1)
    assert "the address that it redirects to (" in str(error)
    assert f"to={to}" in str(error)


def test_a_read_may_go_on_to_another_page(fake: FakeGitLab) -> None:
    """A project that moved, a file in an object storage."""
    with fake_gitlab() as there:
        there.answers("GET", "/moved", {"version": "19.0.0"})
        moved = foreign(302, "", {"Location": f"{there.url}/api/v4/moved"})
        assert outcome(fake, "version", moved) == "19.0.0"


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_counted(name: str, fake: FakeGitLab) -> None:
    allowance = OwnAllowance(calls_per_minute=1, clock=Clock())
    allowance.take()
    with pytest.raises(Transient, match="used up"):
        CALLS[name](GitLab(fake.url, "glpat-1", allowance=allowance))
    assert fake.requests == []


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Refused), (403, Refused), (422, Refused), (500, Transient)]
)
@pytest.mark.parametrize("name", CALLS)
def test_what_gitlab_refuses_is_not_gone_and_not_empty(
    name: str, status: int, kind: type[FleetError], fake: FakeGitLab, gitlab: GitLab
) -> None:
    fake.always = foreign(status, f'{{"message": "{status} said so"}}', JSON)
    if (name, status) == ("is_protected", 403):
        assert CALLS[name](gitlab) is None, "the token may not look"
    else:
        with pytest.raises(kind):
            CALLS[name](gitlab)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"message": "404 Project Not Found"}, "404 Project Not Found"),
        (403, {"message": "403 Forbidden - Job is not retryable"}, None),
        (401, {"error": "invalid_token", "error_description": "Token was revoked."}, None),
        (403, {"error": "insufficient_scope", "scope": "api"}, "insufficient_scope"),
        (400, {"message": {"tags_list": ["is bad"]}}, '{"tags_list": ["is bad"]}'),
        (400, {"error": "name is missing"}, "name is missing"),
        (422, {"message": "Hook execution failed"}, None),
        (405, {"error": "405 Not Allowed"}, None),
    ],
)
def test_gitlabs_own_refusals_are_facts_by_their_words(
    status: int, body: dict[str, Any], words: str | None, fake: FakeGitLab
) -> None:
    error = outcome(fake, "version", Answer(status=status, body=body))
    assert type(error) is Refused
    assert error.facts["status"] == status
    assert words is None or status in (401, 404) or error.facts["words"] == words


def test_gitlabs_own_refusals_are_facts_by_the_header_of_rails() -> None:
    body = b'{"message": "Terms of service"}'
    with pytest.raises(NotGitLabs):
        read_refusal(403, JSON, body)
    refusal = read_refusal(403, {**JSON, "X-Gitlab-Meta": '{"version":"1"}'}, body)
    assert refusal.words == "Terms of service"


def test_a_call_that_gitlab_does_not_know_says_nothing_of_the_thing(fake: FakeGitLab) -> None:
    """An older GitLab, or one below another path: the runner may be there for all that."""
    error = outcome(fake, "runner", Answer(status=404, body={"error": "404 Not Found"}))
    assert type(error) is Refused
    assert "too old" in str(error)
