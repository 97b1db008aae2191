"""Whether GitLab answers at an address, asked by a command here and by a function there."""

from types import SimpleNamespace

import pytest

from adapters.gitlab.reach import ask_gitlab
from adapters.gitlab.way import DIRECT, Way
from orchestrator.handlers.reconcile import handler
from tests.unit.adapters.fake_gitlab import fake_gitlab

CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 1000)
HTML = {"Content-Type": "text/html"}
MOVED = {"Location": "https://gitlab.example.com/api/v4/version"}
VERSION = {"version": "19.1.0-ee", "revision": "1"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "failure"),
    [
        pytest.param(401, {"message": "401 Unauthorized"}, {}, None, id="as GitLab does"),
        pytest.param(200, VERSION, {}, None, id="a GitLab that shows its version without a token"),
        pytest.param(200, "<html>Sign in</html>", HTML, "not from GitLab's API", id="a login page"),
        pytest.param(401, "no", HTML, "not from GitLab's API", id="a proxy that wants a password"),
        pytest.param(404, {"error": "404 Not Found"}, {}, "no such call", id="another path"),
        pytest.param(302, "", MOVED, "redirects", id="it moved"),
        pytest.param(502, "bad gateway", HTML, "did not answer well", id="no GitLab behind it"),
    ],
)
def test_only_gitlabs_own_answer_counts_and_no_token_goes_there(
    status: int, body: object, headers: dict[str, str], failure: str | None
) -> None:
    with fake_gitlab() as gitlab:
        gitlab.answers("GET", "/version", body, status=status, headers=headers)
        here = ask_gitlab(gitlab.url, DIRECT)
        event = {"ask_gitlab": {"url": gitlab.url, "tls_ca": "", "proxy": ""}}
        there = handler(event, CONTEXT)
    assert (here.answers, failure is None or failure in here.failure) == (failure is None, True)
    assert there == {"answers": here.answers, "failure": here.failure}
    assert {request.token for request in gitlab.requests} == {None}


@pytest.mark.parametrize(
    ("way", "failure"),
    [
        pytest.param(DIRECT, "GitLab did not answer", id="no listener"),
        pytest.param(
            Way(proxy="http://127.0.0.1:9"), "proxy to GitLab does not answer", id="proxy"
        ),
    ],
)
def test_an_address_without_an_answer_says_so(way: Way, failure: str) -> None:
    answer = ask_gitlab("http://127.0.0.1:9", way)
    assert not answer.answers
    assert failure in answer.failure
