"""What `status` calls a problem: each one whole, at its limits, and in which order."""

from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import pytest

from adapters.aws.demand import Demand
from adapters.ledger.hooks import HookRow
from fleet.machine.mailbox import MachineState
from fleet.reasons import SENTENCES, Reason
from fleet.rules.holds import Hold, HoldKind, advice, sentence
from fleet.steps import Step, StepName
from operations.status import gather
from tests.unit.cli.fleet_at_work import (
    AT,
    FLEET,
    INSTANCE,
    AtWork,
    ago,
    key,
)

NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 9\nmax_job_time = "11m"\n'
DEMAND = Demand(job=key(1), project_id=7, pool="docker", attempt=4)
EXPLAIN = "`runner-fleet explain <job>` says what went wrong; then docs/operations.md"
UNSEEN = (
    "`runner-fleet apply` makes its runner record; then look at reconcile's log",
    "jobs that wait over an hour fail as stuck",
)


class Said(NamedTuple):
    """What a problem says."""

    what: str
    do: str


def problems(at_work: AtWork) -> tuple[Said, ...]:
    return tuple(Said(one.what, one.do) for one in gather(at_work.deployed, jobs=20).problems)


def hook(at_work: AtWork, scope: str, **facts: Any) -> None:
    """A webhook of ours."""
    row = HookRow(
        instance=INSTANCE, scope=scope, hook_id=5, url="https://x", verification="signing-token"
    )
    at_work.fleet.record_hook(replace(row, **facts))


def test_they_are_told_from_the_outside_in() -> None:
    """First what keeps jobs from coming, then pools, then machines, then single jobs."""
    at_work = AtWork().configure(FLEET + NODE)
    at_work.job(9, pool=None, reason=Reason.NO_POOL, tags=("rust",), waits_s=300)
    runner = at_work.runner(1, launched_s=301)
    version = gather(at_work.deployed, jobs=1).version
    at_work.fleet.note_refused("docker", "no such image", version)
    at_work.fleet.note_refused("node", "no such size", version)
    at_work.queues["expiries"].send([DEMAND])
    at_work.queues["events"].send([DEMAND])
    at_work.queues["lambda"].bury(DEMAND)
    at_work.queues["ec2"].bury(DEMAND)
    hook(at_work, "project:7", healthy=False)
    hook(at_work, "group:42", healthy=False)
    starts = (
        "webhook of group:42",
        "webhook of project:7",
        "1 jobs got no ec2 machine",
        "1 jobs got no lambda machine",
        "1 events",
        "1 expiry timers",
        "pool docker: AWS refuses",
        "pool node: AWS refuses",
        f"{runner.id} did not call home",
        "job 9 (job-9)",
    )
    found = [one.what for one in problems(at_work)]
    assert [what[: len(start)] for what, start in zip(found, starts, strict=True)] == list(starts)


# Webhooks and queues


def test_a_hook_that_gitlab_calls_is_none() -> None:
    at_work = AtWork().configure()
    hook(at_work, "group:42", healthy=True, detail="it was off once")
    assert problems(at_work) == ()


@pytest.mark.parametrize(
    ("detail", "says"), [("GitLab switched it off", "GitLab switched it off"), ("", "unhealthy")]
)
def test_a_hook_says_what_it_has(detail: str, says: str) -> None:
    at_work = AtWork().configure()
    hook(at_work, "group:42", healthy=False, detail=detail)
    assert problems(at_work) == (
        Said(
            what=f"webhook of group:42: {says}",
            do="run `runner-fleet webhook register` for it again",
        ),
    )


@pytest.mark.parametrize(
    ("queue", "what", "do"),
    [
        ("ec2", "2 jobs got no ec2 machine after their last attempt", EXPLAIN),
        ("lambda", "2 jobs got no lambda machine after their last attempt", EXPLAIN),
        (
            "events",
            "2 events started no state machine",
            "see docs/operations.md, EventDeadLetters",
        ),
        ("expiries", "2 expiry timers failed", "see docs/operations.md, ExpiryDeadLetters"),
    ],
)
def test_dead_letters_are_counted(queue: str, what: str, do: str) -> None:
    at_work = AtWork().configure()
    for _ in range(2):
        if queue in ("ec2", "lambda"):
            at_work.queues[queue].bury(DEMAND)
        else:
            at_work.queues[queue].send([DEMAND])
    assert problems(at_work) == (Said(what=what, do=do),)


def test_what_is_under_way_in_a_queue_is_no_problem() -> None:
    at_work = AtWork().configure()
    at_work.queues["ec2"].send([DEMAND])
    assert problems(at_work) == ()
    queues = {one.name: (one.messages, one.dead) for one in gather(at_work.deployed, jobs=1).queues}
    assert queues == {"ec2": (1, 0), "lambda": (0, 0), "events": (0, 0), "expiries": (0, 0)}


# Pools


def test_a_refused_credential_is_told_until_gitlab_gives_one_or_a_file_is_applied() -> None:
    at_work = AtWork().configure()
    refused = Hold(kind=HoldKind.REFUSAL, since=ago(60), ask_at=AT, words="401 no", status=401)
    at_work.fleet.note_hold(refused)
    (problem,) = problems(at_work)
    assert problem.what == f"{sentence(refused)}; jobs wait"
    assert problem.do == advice(refused)
    at_work.fleet.note_hold(replace(refused, lifted_at=AT))
    assert problems(at_work) == ()
    at_work.fleet.note_hold(refused)
    for project in (7, 8, 9):
        at_work.fleet.note_hold(replace(refused, pool="docker", project_id=project))
    whole, of_projects = gather(at_work.deployed, jobs=20).problems
    assert (whole.count, of_projects.count) == (1, 3)
    assert of_projects.what.endswith("; jobs wait; and 2 more are refused")
    at_work.fleet.drop_holds()
    assert problems(at_work) == ()


@pytest.mark.parametrize(
    ("expires_at", "when"), [(AT, " which expires at 2026-11-21 09:00 UTC,"), (None, "")]
)
def test_a_token_that_cannot_be_renewed_is_told(expires_at: datetime | None, when: str) -> None:
    at_work = AtWork().configure()
    at_work.fleet.note_verified("docker", AT, expires_at=expires_at)
    at_work.fleet.note_renewal_failed("docker", "401 no", at=AT)
    (problem,) = problems(at_work)
    assert problem.what == (
        f"pool docker: its runner token{when} cannot be renewed since 2026-11-21 09:00 UTC: 401 no"
    )
    at_work.fleet.note_renewed("docker")
    at_work.fleet.note_verified("docker", AT)
    assert problems(at_work) == ()


def test_a_refused_pool_says_what_to_do() -> None:
    at_work = AtWork().configure()
    version = gather(at_work.deployed, jobs=1).version
    at_work.fleet.note_refused("docker", "no such image", version)
    (problem,) = problems(at_work)
    assert problem.do == "correct it, then `runner-fleet apply`"


@pytest.mark.parametrize(("seconds", "is_problem"), [(5400, False), (5401, True)])
def test_gitlab_forgets_a_pool_after_an_hour_and_a_half(seconds: int, is_problem: bool) -> None:
    at_work = AtWork().configure()
    at_work.clock.go(seconds)
    do, hint = UNSEEN
    what = f"pool docker: GitLab has not heard of it since 2026-11-21 09:00 UTC; {hint}"
    assert problems(at_work) == ((Said(what=what, do=do),) if is_problem else ())


def test_a_pool_that_gitlab_never_saw_has_no_since() -> None:
    at_work = AtWork().configure()
    at_work.table.items.pop(("pool#docker", "pool"))
    at_work.clock.go(301)
    do, hint = UNSEEN
    what = f"pool docker: GitLab has not heard of it yet; {hint}"
    assert problems(at_work) == (Said(what=what, do=do),)


@pytest.mark.parametrize(("seconds", "is_problem"), [(299, False), (300, True)])
def test_a_pool_is_new_for_five_minutes(seconds: int, is_problem: bool) -> None:
    at_work = AtWork().configure()
    at_work.table.items.pop(("pool#docker", "pool"))
    at_work.clock.go(seconds)
    assert bool(problems(at_work)) is is_problem


def test_a_pool_that_leaves_and_its_runners_have_no_problems() -> None:
    """Nobody waits for it any more, and its machines may take their time."""
    at_work = AtWork().configure(FLEET, leaving=("old",))
    version = gather(at_work.deployed, jobs=1).version
    at_work.fleet.note_refused("old", "no such image", version)
    at_work.reports(
        at_work.runner(1, pool="old", launched_s=9000), MachineState.BUSY, heartbeat_at=ago(9000)
    )
    at_work.runner(2, pool="old", launched_s=9000)
    assert problems(at_work) == ()


# Machines


@pytest.mark.parametrize(("launched_s", "is_problem"), [(300, False), (301, True)])
def test_a_machine_has_until_its_boot_deadline(launched_s: float, is_problem: bool) -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1, launched_s=launched_s)
    late = Said(
        what=f"{runner.id} did not call home before its boot deadline",
        do="the sweep replaces it within a minute; see its console",
    )
    assert problems(at_work) == ((late,) if is_problem else ())


def test_the_boot_deadline_is_the_pools_own() -> None:
    at_work = AtWork().configure(FLEET + 'boot_deadline = "10m"\n')
    at_work.runner(1, launched_s=599)
    assert problems(at_work) == ()


@pytest.mark.parametrize(("heard_s", "is_problem"), [(300, False), (301, True), (3600, True)])
@pytest.mark.parametrize("state", [MachineState.IDLE, MachineState.BUSY])
def test_a_machine_may_be_silent_as_long_as_its_pool_says(
    state: MachineState, heard_s: float, is_problem: bool
) -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1, launched_s=4000)
    at_work.reports(runner, state, heartbeat_at=ago(heard_s))
    minutes = {301: 5, 3600: 60}.get(int(heard_s))
    silent = Said(
        what=f"{runner.id} is {state.value} and silent for {minutes} minutes",
        do="the sweep ends it once GitLab and AWS agree that nothing runs there",
    )
    assert problems(at_work) == ((silent,) if is_problem else ())


def test_machines_of_a_pool_that_have_the_same_are_told_in_one_line() -> None:
    at_work = AtWork().configure(FLEET + NODE)
    for number, pool, launched_s in ((1, "docker", 400), (2, "docker", 500), (3, "node", 400)):
        at_work.runner(number, pool=pool, launched_s=launched_s)
    for number, heard_s in ((4, 400), (5, 660)):
        runner = at_work.runner(number, launched_s=900)
        at_work.reports(runner, MachineState.BUSY, heartbeat_at=ago(heard_s))
    assert [one.what for one in problems(at_work)] == [
        "rf-docker-000000000002 and 1 more did not call home before their boot deadline",
        "rf-docker-000000000005 and 1 more are silent for up to 11 minutes",
        "rf-node-000000000003 did not call home before its boot deadline",
    ]


def test_jobs_that_wait_beside_an_idle_machine_are_told_in_one_line() -> None:
    at_work = AtWork().configure()
    runner = at_work.runner(1, launched_s=400)
    at_work.reports(runner, MachineState.IDLE, Step(at=ago(130), name=StepName.CALLED_HOME))
    assert problems(at_work) == ()
    at_work.job(2, waits_s=100)
    at_work.job(1, waits_s=130)
    do = "`runner-fleet explain 1` says what to look at"
    first = f"job 1 (job-1) waits while {runner.id} is idle"
    assert problems(at_work) == (Said(what=first, do=do),)
    at_work.job(3, waits_s=125)
    at_work.reports(runner, MachineState.BOOTED)  # it asks no more
    assert problems(at_work) == ()
    at_work.reports(runner, MachineState.IDLE)
    both = f"job 1 (job-1) and 1 more wait while {runner.id} is idle"
    assert problems(at_work) == (Said(what=both, do=do),)


# Jobs


def test_every_open_job_counts_however_few_are_shown() -> None:
    """One line for each kind, with the number and the oldest of them; `--jobs` is for the table."""
    at_work = AtWork().configure()
    for number in range(100, 156):
        at_work.job(number, waits_s=60)
    for number, waits_s in ((1, 400), (2, 900), (3, 500)):
        at_work.job(number, pool=None, reason=Reason.NO_POOL, tags=("rust",), waits_s=waits_s)
    at_work.job(4, waits_s=800)
    at_work.jobs.tell(key(4), [], given_up=True)
    view = gather(at_work.deployed, jobs=20)
    assert [(one.kind, one.count, one.example) for one in view.problems] == [
        ("given_up", 1, "4"),
        ("no_pool", 3, "2"),
    ]
    assert view.problems[1].what.startswith("job 2 (job-2) and 2 more get no runner: no pool")
    assert len(view.jobs) == 20
    assert gather(at_work.deployed, jobs=1).problems == view.problems


@pytest.mark.parametrize(
    ("tags", "waits_s", "reason"),
    [
        (("rust",), 299, None),  # most are jobs of other runners, which take them soon
        (("rust",), 300, Reason.NO_POOL),
        ((), 299, None),
        ((), 300, Reason.UNTAGGED),
    ],
)
def test_a_job_without_a_pool_has_its_time(
    tags: tuple[str, ...], waits_s: float, reason: Reason | None
) -> None:
    at_work = AtWork().configure()
    at_work.job(1, pool=None, reason=Reason.NO_POOL, tags=tags, waits_s=waits_s)
    told = reason and Said(
        what=f"job 1 (job-1) gets no runner: {SENTENCES[reason]}", do="`runner-fleet explain 1`"
    )
    assert problems(at_work) == ((told,) if told else ())


@pytest.mark.parametrize("reason", [Reason.UNPROTECTED, Reason.PROTECTION_UNKNOWN])
@pytest.mark.parametrize(
    ("waits_s", "is_open", "is_problem"),
    [
        (299, False, False),
        (300, False, True),
        (4000, True, False),  # an open pool was just applied
    ],
)
def test_a_job_that_its_ref_keeps_from_every_pool_is_one(
    *, reason: Reason, waits_s: float, is_open: bool, is_problem: bool
) -> None:
    at_work = AtWork().configure(FLEET if is_open else f"{FLEET}protected_only = true\n")
    at_work.job(1, pool=None, reason=reason, waits_s=waits_s)
    what = f"job 1 (job-1) gets no runner: {SENTENCES[reason]}"
    told = Said(what=what, do="`runner-fleet explain 1`")
    assert problems(at_work) == ((told,) if is_problem else ())


@pytest.mark.parametrize("pool", ["docker", None])
def test_a_job_that_was_given_up_is_one_at_once(pool: str | None) -> None:
    at_work = AtWork().configure()
    at_work.job(1, waits_s=1, pool=pool)
    at_work.jobs.tell(key(1), [], given_up=True)
    because = SENTENCES[Reason.ATTEMPTS_USED]
    what = f"job 1 (job-1) gets no runner: {because}"
    assert problems(at_work) == (Said(what=what, do="`runner-fleet explain 1`"),)


@pytest.mark.parametrize(
    ("facts", "after_s", "is_problem"),
    [
        ({"reason": Reason.ROUTED}, 599, False),
        ({"reason": Reason.ROUTED}, 600, True),
        ({"reason": Reason.AT_CEILING}, 7200, False),
        # `apply` made its pool, and reconcile has not been there yet
        ({"pool": None, "reason": Reason.NO_POOL}, 599, False),
        ({"pool": None, "reason": Reason.NO_POOL}, 600, True),
    ],
)
def test_a_job_that_nothing_looked_at_for_long_is_one(
    facts: dict[str, Any], after_s: float, is_problem: bool
) -> None:
    at_work = AtWork()
    at_work.configure().job(1, waits_s=4000, **facts)
    at_work.table.items["job#gitlab.example.com#1", "job"]["changed_at"] = AT.isoformat()
    at_work.clock.go(after_s)
    at_work.fleet.note_verified("docker", at_work.clock())
    what = (
        "job 1 (job-1) gets no runner: nothing looked at it for long; "
        "see the logs of scale and reconcile"
    )
    told = Said(what=what, do="`runner-fleet explain 1`")
    assert problems(at_work) == ((told,) if is_problem else ())


@pytest.mark.parametrize(("leaves_s", "is_problem"), [(179, False), (180, True)])
def test_a_job_in_a_pool_that_leaves_is_soon_routed_again(
    leaves_s: float, is_problem: bool
) -> None:
    at_work = AtWork().configure(FLEET, leaving=("old",))
    at_work.job(1, pool="old", waits_s=4000)
    at_work.clock.go(leaves_s)
    assert [one.what for one in problems(at_work)] == [
        "job 1 (job-1) gets no runner: its pool is not in fleet.toml any more; "
        "see the log of reconcile"
    ] * is_problem


@pytest.mark.parametrize("word", ["running", "canceled"])
def test_a_job_that_waits_no_more_is_none(word: str) -> None:
    """A runner that is not the fleet's took it, or somebody gave it up."""
    at_work = AtWork().configure()
    job = at_work.job(1, pool=None, reason=Reason.NO_POOL, tags=("rust",), waits_s=400)
    at_work.jobs.tell(key(1), [], given_up=True)
    at_work.advance(job, word, at=AT)
    assert problems(at_work) == ()


def test_a_job_whose_machine_is_gone_is_one_at_once() -> None:
    at_work = AtWork().configure()
    for number, waits_s in ((1, 60), (2, 90)):
        at_work.advance(at_work.job(number, waits_s=waits_s), "running", at=AT)
    assert problems(at_work) == ()
    at_work.jobs.tell(key(1), [], reason=Reason.MACHINE_LOST.value)
    what = "job 1 (job-1) runs no more: the machine is gone"
    do = "cancel and retry it in GitLab; `runner-fleet explain 1` says more"
    assert problems(at_work) == (Said(what=what, do=do),)
    at_work.jobs.tell(key(2), [], reason=Reason.MACHINE_LOST.value)
    (both,) = problems(at_work)
    assert both.what == "job 2 (job-2) and 1 more run no more: the machine is gone"


# How the command ends


@pytest.mark.parametrize("options", [(), ("--json",), ("--jobs", "1")])
def test_it_ends_with_1_while_there_is_a_problem(options: tuple[str, ...]) -> None:
    at_work = AtWork().configure()
    assert at_work.run("status", *options).exit_code == 0
    at_work.job(1)
    at_work.jobs.tell(key(1), [], given_up=True)
    result = at_work.run("status", *options)
    assert result.exit_code == 1
    assert "job 1 (job-1)" in result.stdout
    assert result.stderr == ""
    assert at_work.run("status", "--watch", *options).exit_code == 0
    assert at_work.run("status", "--nothing").exit_code == 2


def test_what_to_type_names_the_stack_that_was_asked_for() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.jobs.tell(key(1), [], given_up=True)
    plain, named, in_environment = (
        at_work.run("status", "--json", *options, env=env).stdout
        for options, env in (
            ((), {}),
            (("--stack", "blue"), {}),
            ((), {"RUNNER_FLEET_STACK": "blue"}),
        )
    )
    assert "`runner-fleet explain 1`" in plain
    assert "`runner-fleet explain --stack blue 1`" in named
    assert "`runner-fleet explain 1`" in in_environment
    unknown = AtWork().run("status", "--stack", "blue")
    assert "run `runner-fleet apply --stack blue`" in unknown.stderr
