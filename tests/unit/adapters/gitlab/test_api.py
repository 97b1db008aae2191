import socket
import traceback

import pytest

from adapters.gitlab.api import GitLabApi
from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.session import PacedSession, pause_s
from fleet.errors import FleetError, Refused, Transient
from tests.fakes import Clock
from tests.unit.adapters.fake_gitlab import FakeGitLab

TOKEN = "glpat-hidden"


class Caller:
    """A client with a clock and a fake at the other end."""

    def __init__(self, fake: FakeGitLab, *, calls_per_minute: int = 300) -> None:
        self.fake = fake
        self.clock = Clock()
        self.allowance = OwnAllowance(calls_per_minute=calls_per_minute, clock=self.clock)
        self.api = GitLabApi(fake.url, TOKEN, allowance=self.allowance)

    def refusal(self, path: str = "/version") -> FleetError:
        with pytest.raises(FleetError) as caught:
            self.api.get(path)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
        return caught.value

    def taken(self) -> int:
        """How many calls the allowance grants now."""
        for count in range(1000):
            try:
                self.allowance.take()
            except Transient:
                return count
        raise AssertionError


@pytest.fixture
def caller(fake: FakeGitLab) -> Caller:
    return Caller(fake)


def test_pages_are_followed_on_the_address_we_were_given(caller: Caller) -> None:
    # GitLab writes the address it believes to have; the token must not go there
    elsewhere = {"Link": '<http://gitlab.invalid/api/v4/runners?page=2>; rel="next"'}
    caller.fake.answers("GET", "/runners", [{"id": 1}, {"id": 2}], headers=elsewhere)
    caller.fake.answers("GET", "/runners", [{"id": 3}])
    assert [each["id"] for each in caller.api.pages("/runners", status="online")] == [1, 2, 3]
    first, second = caller.fake.requests
    assert first.query == {"per_page": ["100"], "status": ["online"]}
    assert second.query == {"page": ["2"]}


@pytest.mark.parametrize(("host", "token"), [("", TOKEN), ("http://localhost:{}", None)])
def test_our_token_follows_a_redirect_on_the_same_host_only(
    host: str, token: str | None, caller: Caller
) -> None:
    there = host.format(caller.fake.url.rsplit(":", 1)[1]) + "/api/v4/elsewhere"
    caller.fake.answers("GET", "/version", status=302, headers={"Location": there})
    caller.fake.answers("GET", "/elsewhere", {"version": "1"})
    assert caller.api.get("/version") == {"version": "1"}
    assert [request.token for request in caller.fake.requests] == [TOKEN, token]


def test_how_a_request_is_to_be_sent_is_heeded(caller: Caller) -> None:
    there = {"Location": "/api/v4/elsewhere"}
    caller.fake.answers("GET", "/version", status=302, headers=there)
    with PacedSession(caller.allowance) as session:
        answer = session.get(f"{caller.fake.url}/api/v4/version", allow_redirects=False)
    assert (answer.status_code, len(caller.fake.requests)) == (302, 1)


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        *((status, Transient, "") for status in (408, 409, 500, 502, 503, 504, 520)),
        (401, Refused, "make a new one"),
        (403, Refused, "scope and the role"),
        (404, Refused, "hides it"),
        *((status, Refused, "does not accept") for status in (400, 405, 422)),
    ],
)
def test_gitlabs_errors_as_ours(
    status: int, kind: type[FleetError], advice: str, caller: Caller
) -> None:
    words = f"{status} what GitLab says"
    caller.fake.answers("GET", "/version", {"message": words}, status=status)
    error = caller.refusal()
    assert type(error) is kind
    more = {} if kind is Transient or status in (401, 404) else {"words": words}
    assert error.facts == {"call": "GET /version", "status": status, **more}
    assert advice in str(error)
    assert len(caller.fake.requests) == 1  # the caller decides whether to try again


def test_an_address_without_a_server() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        fake = FakeGitLab(f"http://127.0.0.1:{unused.getsockname()[1]}")
        error = Caller(fake).refusal()
    assert type(error) is Transient
    assert error.facts == {"call": "GET /version", "error": "ConnectionError"}


def test_every_call_waits_as_long_as_gitlab_says(caller: Caller) -> None:
    caller.fake.answers("GET", "/version", {}, status=429, headers={"Retry-After": "20"})
    caller.fake.answers("GET", "/version", {"version": "19"})
    assert caller.refusal().facts == {"status": 429, "retry_after_s": 20.0}
    caller.clock.go(5)
    assert caller.refusal().facts == {"retry_after_s": 15.0}
    assert len(caller.fake.requests) == 1
    caller.clock.go(15)
    assert caller.api.get("/version") == {"version": "19"}


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("1", 1.0),
        (" 30 ", 30.0),
        (None, 60.0),
        ("soon", 60.0),
        ("Thu, 20 Aug 2026 09:15:00 GMT", 60.0),
        ("601", 600.0),
    ],
)
def test_reads_retry_after(header: str | None, wait_s: float) -> None:
    assert pause_s(header) == wait_s


def test_the_budget_counts_every_page(fake: FakeGitLab) -> None:
    caller = Caller(fake, calls_per_minute=2)
    fake.answers("GET", "/x", [{"id": 1}], headers=fake.following("/x"))
    with pytest.raises(Transient) as caught:
        list(caller.api.pages("/x"))
    assert len(fake.requests) == 2
    assert caught.value.facts == {"retry_after_s": 30.0}


def test_the_budget_refills_with_time_and_never_beyond_a_minute(fake: FakeGitLab) -> None:
    caller = Caller(fake, calls_per_minute=60)
    # A clock that goes back gives nothing away.
    for passed_s, granted in ((0, 60), (10, 10), (-3600, 0), (3600 * 2, 60)):
        caller.clock.go(passed_s)
        assert caller.taken() == granted


@pytest.mark.parametrize(
    ("headers", "remaining", "of"),
    [
        ({}, 9, 10),
        ({"RateLimit-Remaining": "30", "RateLimit-Limit": "600"}, 30, 600),
        ({"RateLimit-Remaining": "590", "RateLimit-Limit": "600"}, 9, 10),
        ({"RateLimit-Remaining": "many", "RateLimit-Limit": "600"}, 9, 10),
    ],
)
def test_the_smaller_share_is_what_is_left(
    headers: dict[str, str], remaining: int, of: int, fake: FakeGitLab
) -> None:
    caller = Caller(fake, calls_per_minute=10)
    fake.answers("GET", "/version", {"version": "19"}, headers=headers)
    caller.api.get("/version")
    assert (caller.api.calls_left.left, caller.api.calls_left.of) == (remaining, of)


def test_a_longer_pause_is_not_shortened_by_a_shorter_one(caller: Caller) -> None:
    caller.allowance.hold(60)
    caller.allowance.hold(1)
    caller.clock.go(30)
    with pytest.raises(Transient, match="retry_after_s=30"):
        caller.allowance.take()
