"""A token that GitLab refuses stands once in the ledger, in `status` and in `explain`."""

import json
from dataclasses import dataclass, field, replace

import pytest

from adapters.gitlab.call_allowance import OwnAllowance
from adapters.gitlab.client import GitLab
from adapters.ledger.fleet import FleetRows
from adapters.ledger.trouble_watch import KNOWN_FOR, TroubleWatch
from fleet.errors import FleetError, Refused, Transient
from fleet.model import JobStatus
from fleet.reasons import Reason
from fleet.rules.problems.kinds import ProblemKind
from fleet.trouble import TOKEN
from operations.explain import UnknownJob, explain_job, read_reference
from operations.status import gather
from tests.fakes import Clock, FakeTable
from tests.unit.adapters.fake_gitlab import FakeGitLab
from tests.unit.cli.fleet_at_work import FLEET, AtWork
from tests.unit.orchestrator.scene import Scene

REVOKED = {
    "error": "invalid_token",
    "error_description": "Token was revoked. You have to re-authorize from the user.",
}
NARROW = {"error": "insufficient_scope", "error_description": "It requires higher privileges."}
VERSION = {"version": "19.1.0-ee"}


@dataclass
class Watched:
    """A function's GitLab, with the ledger it writes to. `again` is another function's."""

    fake: FakeGitLab
    clock: Clock = field(default_factory=Clock)
    table: FakeTable = field(default_factory=FakeTable)

    def __post_init__(self) -> None:
        self.fleet = FleetRows(self.table)
        self.gitlab = self.again()

    def again(self) -> GitLab:
        """A function that starts cold."""
        watch = TroubleWatch(self.fleet, self.clock)
        allowance = OwnAllowance(calls_per_minute=2000, clock=self.clock)
        return GitLab(self.fake.url, "glpat-1", allowance=allowance, witness=watch)

    def kinds(self) -> list[str]:
        return [trouble.kind for trouble in self.fleet.troubles()]


@pytest.fixture
def watched(fake: FakeGitLab) -> Watched:
    return Watched(fake)


def refused(gitlab: GitLab) -> None:
    with pytest.raises(Refused):
        gitlab.version()


def test_a_trouble_is_written_once_and_gone_with_the_next_success(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.fake.answers("GET", "/version", REVOKED, status=401)
    for _ in range(5):
        refused(watched.gitlab)
        watched.clock.go(70)
    (trouble,) = watched.fleet.troubles()
    assert (trouble.kind, trouble.call) == (TOKEN, "GET /version")
    assert trouble.words.startswith("Token was revoked")
    assert trouble.since < watched.clock()
    assert watched.table.writes == 1
    watched.fake.answers("GET", "/version", VERSION)
    refused(watched.gitlab)
    watched.gitlab.version()
    watched.gitlab.version()
    assert (watched.kinds(), watched.table.writes) == ([], 2)
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events == ["GitLabUnusable", "GitLabUsable"]


def test_another_function_takes_it_back_within_a_minute(watched: Watched) -> None:
    """The one that wrote it may not run again."""
    other = watched.again()
    watched.fake.answers("GET", "/version", VERSION)
    watched.fake.answers("GET", "/user", {"message": "401 Unauthorized"}, status=401)
    other.version()
    with pytest.raises(Refused):
        watched.gitlab.is_administrator()
    other.version()
    assert watched.kinds() == [TOKEN]
    watched.clock.go(KNOWN_FOR.total_seconds())
    other.version()
    assert watched.kinds() == []
    watched.clock.go(KNOWN_FOR.total_seconds())
    with pytest.raises(Refused):
        watched.gitlab.is_administrator()
    assert watched.kinds() == [TOKEN]


def test_a_scope_that_lacks_is_taken_back_by_such_a_call_alone(watched: Watched) -> None:
    watched.fake.answers("DELETE", "/runners/31", NARROW, status=403)
    watched.fake.answers("DELETE", "/runners/32", status=204)
    watched.fake.answers("GET", "/version", VERSION)
    with pytest.raises(Refused):
        watched.gitlab.delete_runner(31)
    watched.gitlab.version()
    assert watched.kinds() == ["DELETE /runners/:id"]
    (trouble,) = watched.fleet.troubles()
    assert "token for DELETE /runners/:id since" in trouble.says
    watched.gitlab.delete_runner(32)
    assert watched.kinds() == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, {"message": "403 Forbidden"}),  # of this thing, not of the token
        (404, {"message": "404 Not found"}),
        (401, "<html>a firewall</html>"),
        (401, {"message": "No API key found"}),
        (503, {"message": "no"}),
    ],
)
def test_what_says_nothing_of_the_token_is_not_written(
    status: int, body: object, watched: Watched
) -> None:
    watched.fake.answers("GET", "/version", body, status=status)
    with pytest.raises(FleetError):
        watched.gitlab.version()
    assert watched.kinds() == []


def test_a_runners_token_is_not_the_fleets(watched: Watched) -> None:
    watched.fake.answers("GET", "/version", REVOKED, status=401)
    refused(watched.gitlab)
    watched.fake.answers("POST", "/runners/verify", {"id": 1, "token": "glrt-1"})
    watched.gitlab.verify_runner("glrt-1")
    assert watched.kinds() == [TOKEN]


def test_a_ledger_that_is_out_keeps_no_call_from_being_made(watched: Watched) -> None:
    watched.table.failing = Transient("throttled")
    watched.fake.answers("GET", "/version", REVOKED, status=401)
    watched.fake.answers("GET", "/version", VERSION)
    refused(watched.gitlab)
    watched.table.failing = Transient("throttled")
    assert watched.gitlab.version() == "19.1.0-ee"
    assert watched.kinds() == []


def test_one_tick_tells_status_and_explain(watched: Watched) -> None:
    scene = Scene(table=watched.table, clock=watched.clock)
    scene.push(1)
    scene.route(1)
    at_work = AtWork(table=watched.table, clock=watched.clock).configure(FLEET)
    scene.world.fleet.watch(scene.world.instance, 7, "acme/demo", at=watched.clock())
    watched.fake.answers("GET", "/projects/7/jobs", REVOKED, status=401)
    world = scene.world
    scene.world = replace(world, gitlab=watched.gitlab)
    scene.reconcile()
    (problem,) = (
        problem
        for problem in gather(at_work.deployed, jobs=5).problems
        if problem.kind is ProblemKind.GITLAB_UNUSABLE
    )
    assert problem.what.startswith("GitLab refuses the fleet's token since 20")
    assert "Token was revoked" in problem.what
    assert problem.do == "make a new token, then `runner-fleet token set`"

    at_work.job(5, status=JobStatus.PENDING, reason=Reason.ROUTED, waits_s=60)
    waiting = explain_job(at_work.deployed, read_reference("5"), lambda: None)
    assert not isinstance(waiting, UnknownJob)
    assert waiting.verdict == problem.what
    unknown = explain_job(at_work.deployed, read_reference("7#77"), lambda: None)
    assert isinstance(unknown, UnknownJob)
    assert unknown.says.endswith(problem.what)
    assert unknown.checks[0] == problem.do

    watched.fake.answers("GET", "/projects/7/jobs", [])
    scene.reconcile()
    watched.clock.go(61)
    scene.reconcile()
    assert gather(at_work.deployed, jobs=5).problems == ()


@pytest.mark.parametrize(
    ("answer", "status", "problems"),
    [
        (REVOKED, 401, [ProblemKind.GITLAB_UNUSABLE]),
        (NARROW, 403, [ProblemKind.GITLAB_UNUSABLE, ProblemKind.NO_CREDENTIAL]),
    ],
)
def test_one_cause_is_one_problem_where_it_is_known(
    answer: object, status: int, problems: list[ProblemKind], watched: Watched
) -> None:
    """Launches are held for it, too: what holds them is said once."""
    scene = Scene(table=watched.table, clock=watched.clock)
    at_work = AtWork(table=watched.table, clock=watched.clock).configure(FLEET)
    scene.push(1)
    scene.route(1)
    watched.fake.answers("POST", "/user/runners", answer, status=status)
    scene.world = replace(scene.world, gitlab=watched.gitlab)
    assert scene.scale().launched == 0
    shown = gather(at_work.deployed, jobs=5).problems
    assert [problem.kind for problem in shown] == problems
    explanation = explain_job(at_work.deployed, read_reference("1"), lambda: None)
    assert not isinstance(explanation, UnknownJob)
    assert explanation.verdict.startswith("GitLab refuses")
