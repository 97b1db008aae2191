import socket
import traceback
from collections.abc import Iterator

import pytest

from adapters.gitlab.api import Budget, GitLabApi
from adapters.gitlab.session import BudgetedSession, pause_s
from fleet.errors import FleetError, Refused, Transient
from tests.unit.adapters.fake_gitlab import FakeGitLab, fake_gitlab
from tests.unit.adapters.stubs import Clock

TOKEN = "glpat-hidden"


class Caller:
    """A client with a clock and a fake at the other end."""

    def __init__(self, fake: FakeGitLab, *, calls_per_minute: int = 300) -> None:
        self.fake = fake
        self.clock = Clock()
        self.budget = Budget(calls_per_minute=calls_per_minute, clock=self.clock)
        self.api = GitLabApi(fake.url, TOKEN, budget=self.budget)

    def refusal(self, path: str = "/version") -> FleetError:
        with pytest.raises(FleetError) as caught:
            self.api.get(path)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        return caught.value


@pytest.fixture
def caller() -> Iterator[Caller]:
    with fake_gitlab() as fake:
        yield Caller(fake)


class TestVerbs:
    """What goes over the wire."""

    def test_get(self, caller: Caller) -> None:
        caller.fake.answers("GET", "/projects/7", {"id": 7})
        assert caller.api.get("/projects/7", simple=True) == {"id": 7}
        (asked,) = caller.fake.asked
        assert (asked.token, asked.query) == (TOKEN, {"simple": ["True"]})

    def test_post_and_put_send_json(self, caller: Caller) -> None:
        caller.fake.answers("POST", "/x", {"id": 1}, status=201)
        caller.fake.answers("PUT", "/x/1", {"id": 1})
        assert caller.api.post("/x", {"tags": ["a"], "locked": False}) == {"id": 1}
        assert caller.api.put("/x/1", {"paused": True}) == {"id": 1}
        assert [asked.body for asked in caller.fake.asked] == [
            {"tags": ["a"], "locked": False},
            {"paused": True},
        ]

    def test_delete(self, caller: Caller) -> None:
        caller.fake.answers("DELETE", "/runners/3", status=204)
        caller.api.delete("/runners/3")
        assert [asked.verb for asked in caller.fake.asked] == ["DELETE"]

    def test_pages_are_followed_on_the_address_we_were_given(self, caller: Caller) -> None:
        # GitLab writes the address it believes to have; the token must not go there
        elsewhere = "http://gitlab.invalid/api/v4/runners?page=2"
        caller.fake.answers(
            "GET",
            "/runners",
            [{"id": 1}, {"id": 2}],
            headers={"Link": f'<{elsewhere}>; rel="next"'},
        )
        caller.fake.answers("GET", "/runners", [{"id": 3}])
        assert [each["id"] for each in caller.api.pages("/runners", status="online")] == [1, 2, 3]
        first, second = caller.fake.asked
        assert first.query == {"per_page": ["100"], "status": ["online"]}
        assert second.query == {"page": ["2"]}

    def test_our_token_goes_along_on_the_same_host(self, caller: Caller) -> None:
        there = {"Location": "/api/v4/elsewhere"}
        caller.fake.answers("GET", "/version", status=302, headers=there)
        caller.fake.answers("GET", "/elsewhere", {"version": "1"})
        caller.api.get("/version")
        assert [asked.token for asked in caller.fake.asked] == [TOKEN, TOKEN]

    def test_our_token_is_not_taken_along_to_another_host(self, caller: Caller) -> None:
        port = caller.fake.url.rsplit(":", 1)[1]
        caller.fake.answers(
            "GET",
            "/version",
            status=302,
            headers={"Location": f"http://localhost:{port}/elsewhere"},
        )
        caller.fake.answers("GET", "/elsewhere", {"version": "1"})
        caller.api.get("/version")
        assert [asked.token for asked in caller.fake.asked] == [TOKEN, None]

    def test_how_a_request_is_to_be_sent_is_heeded(self, caller: Caller) -> None:
        there = {"Location": "/api/v4/elsewhere"}
        caller.fake.answers("GET", "/version", status=302, headers=there)
        with BudgetedSession(caller.budget) as session:
            answer = session.get(f"{caller.fake.url}/api/v4/version", allow_redirects=False)
        assert (answer.status_code, len(caller.fake.asked)) == (302, 1)


class TestErrors:
    """GitLab's errors as ours."""

    @pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504, 520])
    def test_later(self, status: int, caller: Caller) -> None:
        caller.fake.answers("GET", "/version", {"message": "no"}, status=status)
        error = caller.refusal()
        assert type(error) is Transient
        assert error.facts == {"call": "GET /version", "status": status}
        assert len(caller.fake.asked) == 1  # the caller decides whether to try again

    @pytest.mark.parametrize(
        ("status", "advice"),
        [
            (401, "make a new one"),
            (403, "scope and the role"),
            (404, "hides it"),
            (400, "does not accept"),
            (405, "does not accept"),
            (422, "does not accept"),
        ],
    )
    def test_never(self, status: int, advice: str, caller: Caller) -> None:
        words = f"{status} what GitLab says"
        caller.fake.answers("GET", "/version", {"message": words}, status=status)
        error = caller.refusal()
        assert type(error) is Refused
        said = {} if status in (401, 404) else {"said": words}
        assert error.facts == {"call": "GET /version", "status": status, **said}
        assert advice in str(error)

    def test_an_address_without_a_server(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            fake = FakeGitLab(f"http://127.0.0.1:{unused.getsockname()[1]}")
            error = Caller(fake).refusal()
        assert type(error) is Transient
        assert error.facts == {"call": "GET /version", "error": "ConnectionError"}


class TestRateLimit:
    """GitLab's 429 is heeded by every call after it, without asking."""

    def test_waits_as_long_as_gitlab_says(self, caller: Caller) -> None:
        caller.fake.answers("GET", "/version", {}, status=429, headers={"Retry-After": "20"})
        caller.fake.answers("GET", "/version", {"version": "19"})
        assert caller.refusal().facts == {"status": 429, "retry_after_s": 20.0}
        caller.clock.pass_(5)
        assert caller.refusal().facts == {"retry_after_s": 15.0}
        assert len(caller.fake.asked) == 1
        caller.clock.pass_(15)
        assert caller.api.get("/version") == {"version": "19"}

    @pytest.mark.parametrize(
        ("given", "wait_s"),
        [
            ("1", 1.0),
            (" 30 ", 30.0),
            (None, 60.0),
            ("soon", 60.0),
            ("Thu, 20 Aug 2026 09:15:00 GMT", 60.0),
            ("601", 600.0),
            ("86400", 600.0),
        ],
    )
    def test_reads_retry_after(self, given: str | None, wait_s: float) -> None:
        assert pause_s(given) == wait_s


class TestBudget:
    """Our own limit."""

    def test_counts_every_page(self) -> None:
        with fake_gitlab() as fake:
            caller = Caller(fake, calls_per_minute=2)
            following = {"Link": f'<{fake.url}/api/v4/x?page=2>; rel="next"'}
            fake.answers("GET", "/x", [{"id": 1}], headers=following)
            with pytest.raises(Transient) as caught:
                list(caller.api.pages("/x"))
            assert len(fake.asked) == 2
            assert caught.value.facts == {"retry_after_s": 30.0}

    def test_refills_with_time_and_never_beyond_a_minute(self) -> None:
        clock = Clock()
        budget = Budget(calls_per_minute=60, clock=clock)

        def taken() -> int:
            count = 0
            while True:
                try:
                    budget.take()
                except Transient:
                    return count
                count += 1

        assert taken() == 60
        clock.pass_(10)
        assert taken() == 10
        clock.pass_(3600)
        assert taken() == 60

    @pytest.mark.parametrize(
        ("headers", "left", "of"),
        [
            ({}, 9, 10),
            ({"RateLimit-Remaining": "30", "RateLimit-Limit": "600"}, 30, 600),
            ({"RateLimit-Remaining": "590", "RateLimit-Limit": "600"}, 9, 10),
            ({"RateLimit-Remaining": "many", "RateLimit-Limit": "600"}, 9, 10),
        ],
    )
    def test_the_smaller_share_is_what_is_left(
        self, headers: dict[str, str], left: int, of: int
    ) -> None:
        with fake_gitlab() as fake:
            caller = Caller(fake, calls_per_minute=10)
            fake.answers("GET", "/version", {"version": "19"}, headers=headers)
            caller.api.get("/version")
            allowance = caller.api.calls_left
            assert (allowance.left, allowance.of) == (left, of)

    def test_a_longer_pause_is_not_shortened_by_a_shorter_one(self) -> None:
        clock = Clock()
        budget = Budget(calls_per_minute=60, clock=clock)
        budget.hold(60)
        budget.hold(1)
        clock.pass_(30)
        with pytest.raises(Transient, match="retry_after_s=30"):
            budget.take()

    def test_a_clock_that_goes_back_gives_nothing_away(self) -> None:
        clock = Clock()
        budget = Budget(calls_per_minute=1, clock=clock)
        budget.take()
        clock.pass_(-3600)
        with pytest.raises(Transient):
            budget.take()
