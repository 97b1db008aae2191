"""`token set` and `token check`: GitLab is asked first, and no token is ever printed."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from adapters.gitlab.values import GitLabToken
from fleet.errors import FleetError, Refused, Transient
from fleet.trouble import TOKEN, Trouble
from tests.unit.cli.fleet_at_work import AT, AtWork

OLD, NEW = "glpat-old-hidden", "glpat-new-hidden"


def at_work() -> AtWork:
    """A fleet whose token GitLab refuses."""
    fleet = AtWork().configure()
    fleet.secrets.gitlab["fleet-a/gitlab"] = OLD
    fleet.fleet.note_trouble(Trouble(kind=TOKEN, since=AT, call="GET /user", words="401"))
    fleet.fleet.note_token_life(AT.date(), at=AT)
    fleet.gitlab.fake_api.answers["/user"] = {"id": 3, "username": "fleet-bot"}
    fleet.gitlab.fake_api.answers["/groups"] = [{"id": 42}]
    return fleet


def test_all_that_token_says(screen: Callable[[str, str], None]) -> None:
    fleet = at_work()
    fleet.run("token", "check")
    fleet.run("token", "set", typed=f"{NEW}\n")
    fleet.run("token", "set", typed=NEW)
    fleet.run("token", "set", "--json", typed=NEW)
    ends_on = AT.date() + timedelta(days=3)
    fleet.gitlab.token = GitLabToken(scopes=frozenset({"read_api"}), expires_at=ends_on)
    fleet.run("token", "set", typed="glpat-worse-hidden")
    fleet.run("token", "check")
    fleet.run("token", "set", typed="two words")
    fleet.run("token", "set", typed="")
    fleet.secrets.gitlab.clear()
    fleet.run("token", "check")
    AtWork(session=fleet.session).run("token", "set", typed=NEW)  # before the first `apply`
    assert "hidden" not in str(fleet.session)
    screen("token", str(fleet.session))


def test_a_good_token_is_tried_at_once() -> None:
    fleet = at_work()
    assert fleet.run("token", "set", typed=NEW).exit_code == 0
    assert fleet.secrets.gitlab == {"fleet-a/gitlab": NEW}
    assert {token for _, token in fleet.connected} == {NEW}
    assert fleet.fleet.troubles() == ()
    assert fleet.fleet.token_life() == (None, None)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(GitLabToken(scopes=frozenset({"read_api"})), id="a scope is missing"),
        pytest.param(GitLabToken(scopes=frozenset({"api"}), active=False), id="revoked"),
        pytest.param(Refused("GitLab does not know this token", status=401), id="unknown"),
        pytest.param(Transient("GitLab did not answer well"), id="no answer"),
    ],
)
def test_any_other_changes_nothing(answer: GitLabToken | FleetError) -> None:
    fleet = at_work()
    if isinstance(answer, GitLabToken):
        fleet.gitlab.token = answer
    else:
        fleet.gitlab.failing["own_token"] = answer
    assert fleet.run("token", "set", typed=NEW).exit_code == 1
    assert fleet.secrets.gitlab == {"fleet-a/gitlab": OLD}
    assert len(fleet.fleet.troubles()) == 1
