"""`status`: what is read, what is a problem and from when on, and how it is shown."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from adapters.aws.demand import Demand
from adapters.ledger.controls import Act
from adapters.ledger.hooks import HookRow
from cli.status_render import render
from fleet.errors import Transient
from fleet.hook_scope import HookScope
from fleet.machine.mailbox import MachineState
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.rules.controls import Control, ControlKind
from fleet.rules.problems.facts import ImageFacts, LastSweep
from fleet.rules.problems.kinds import Problem, ProblemKind
from fleet.rules.warm import WarmMemory
from fleet.steps import Step, StepName
from operations.fleet_view import BackOffView, FleetView, JobView, MachineView, PoolView, QueueView
from operations.status import gather
from tests.unit.cli.fleet_at_work import AT, FLEET, INSTANCE, AtWork, ago, key
from tests.unit.fleet.rules.standings import HOLD, TROUBLE

Screen = Callable[[str, str], None]
Change = Callable[[AtWork], object]
NODE = '\n[pools.node]\nbackend = "lambda"\ntags = ["node"]\nceiling = 9\nmax_job_time = "11m"\n'
PROTECTED = f"{FLEET}protected_only = true\n"
DEMAND = Demand(job=key(1), project_id=7, pool="docker", attempt=4)
NO_POOL: dict[str, Any] = {"pool": None, "reason": Reason.NO_POOL}

POOL = PoolView(
    name="docker",
    backend="ec2",
    ceiling=5,
    in_use=3,
    states={"busy": 2, "idle": 1},
    warm=1,
    backlog=2,
    oldest_wait_s=90.0,
    reason="at_ceiling",
    sentence="the pool runs as many runners as its ceiling allows",
    back_off=(BackOffView(capacity="m7i.large/a/spot", code="NoCapacity", for_s=60.0),),
)
STATES = ("done", "draining", "busy", "idle", "booted", "in_flight", "requested")
BARE = replace(POOL, name="bare", states={}, backlog=0, oldest_wait_s=None, back_off=(), warm=0)
POOLS = (
    POOL,
    replace(BARE, in_use=0),
    replace(POOL, name="old", is_leaving=True, back_off=()),
    replace(BARE, name="many", states=dict(zip(STATES, range(1, 8), strict=True))),
)
MACHINE = MachineView(
    runner_id="rf-docker-1",
    machine_id="i-1",
    pool="docker",
    state="busy",
    since=ago(30),
    for_s=30.0,
    job_id=8,
    capacity="m7i.large/a/spot",
    heard_s=4.0,
)
NOTHING: dict[str, Any] = {"machine_id": None, "job_id": None, "capacity": None, "heard_s": None}
JOB = JobView(
    job_id=8,
    name="unit",
    project="acme/demo",
    tags=("docker", "big"),
    pool="docker",
    status="running",
    waited_s=24.0,
    ran_s=300.0,
    runner_id="rf-docker-1",
    reason=None,
    sentence="",
)
UNKNOWN: dict[str, Any] = {"pool": None, "runner_id": None, "waited_s": None, "ran_s": None}
VIEW = FleetView(
    at=AT,
    stack="fleet-a",
    gitlab="https://gitlab.example.com",
    version="0123456789ab",
    problems=(
        Problem(kind=ProblemKind.SILENT, what="it is late", do="wait", example="rf-docker-1"),
        Problem(kind=ProblemKind.NO_POOL, what="it is dark", do="sleep", count=2, example="8"),
    ),
    pools=(POOL,),
    queues=(QueueView(name="ec2", messages=3, dead=1),),
    machines=(MACHINE,),
    jobs=(JOB,),
)
WIDE = replace(
    VIEW,
    pools=POOLS,
    machines=(MACHINE, replace(MACHINE, **NOTHING)),
    jobs=(
        JOB,
        replace(JOB, status="failed", sentence="why not"),
        replace(JOB, sentence="why not", **UNKNOWN),
        replace(JOB, **UNKNOWN),
    ),
)
LONG = replace(
    VIEW,
    machines=(
        replace(MACHINE, runner_id="rf-docker-0f3a9c1d2b4e", machine_id="i-0123456789abcdef0"),
    ),
    jobs=(
        replace(
            JOB,
            job_id=9876543210,
            name="build-image: [linux, arm64]",
            project="acme/platform/payments-api",
            runner_id="rf-docker-0f3a9c1d2b4e",
        ),
    ),
)


def drawn(view: FleetView, *, width: int = 180, colours: bool = False) -> str:
    """The view as a terminal of this width shows it."""
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colours,
        color_system="standard" if colours else None,
        highlight=False,
        _environ={},
    )
    console.print(render(view))
    return out.getvalue()


# The words, whole


def test_status_on_a_terminal(screen: Screen) -> None:
    quiet = replace(VIEW, problems=(), machines=(), jobs=())
    views = ((WIDE, 180), (quiet, 180), (LONG, 80), (LONG, 60))
    titled = (f"# {width} columns\n{drawn(view, width=width)}" for view, width in views)
    screen("status", "\n".join(titled))


def test_status_for_programs(screen: Screen) -> None:
    screen("status_json", json.dumps(VIEW.to_json(), indent=2))


def test_colours_show_what_needs_a_look() -> None:
    text = drawn(VIEW, colours=True)
    assert "\x1b[1;31m! \x1b[0m" in text
    assert "\x1b[36mrunning\x1b[0m" in text
    assert "\x1b[31m1" in text  # dead letters
    quiet = replace(VIEW, problems=(), queues=(QueueView(name="ec2", messages=3, dead=0),))
    assert "\x1b[32mno problems\x1b[0m" in drawn(quiet, colours=True)
    assert "\x1b[31m" not in drawn(quiet, colours=True)


# What is read


def view_of(at_work: AtWork, jobs: int = 20) -> FleetView:
    return gather(at_work.deployed, jobs=jobs)


def test_a_quiet_fleet_has_no_problems() -> None:
    at_work = AtWork().configure()
    view = view_of(at_work)
    (pool,) = view.pools
    assert (pool.name, pool.backend, pool.ceiling, pool.in_use) == ("docker", "ec2", 5, 0)
    assert (pool.warm, pool.backlog, pool.oldest_wait_s) == (1, 0, None)
    assert (pool.reason, pool.sentence, pool.is_leaving) == (None, "", False)
    assert [queue.name for queue in view.queues] == ["ec2", "lambda", "events", "expiries"]
    assert (view.problems, view.machines, view.jobs) == ((), (), ())
    assert at_work.run("status").exit_code == 0


def test_a_pool_has_its_runners_by_state_and_what_waits() -> None:
    at_work = AtWork().configure()
    at_work.runner(1)
    at_work.reports(at_work.runner(2), MachineState.BUSY, job_id=8, heartbeat_at=ago(12))
    at_work.reports(at_work.runner(3), MachineState.IDLE)
    at_work.reports(at_work.runner(4), MachineState.BOOTED)
    for number, waits_s in ((1, 30), (2, 90), (3, 60)):
        at_work.job(number, waits_s=waits_s)
    at_work.fleet.note_decision("docker", "at_ceiling")
    view = view_of(at_work)
    (pool,) = view.pools
    assert pool.in_use == 4
    assert pool.states == {"in_flight": 1, "busy": 1, "idle": 1, "booted": 1}
    assert (pool.backlog, pool.oldest_wait_s, pool.reason) == (3, 90, "at_ceiling")
    machine = view.machines[1]
    assert (machine.runner_id, machine.machine_id) == ("rf-docker-000000000002", "i-2")
    assert (machine.state, machine.job_id, machine.heard_s) == ("busy", None, 12)
    assert (machine.pool, machine.capacity) == ("docker", "m7i.large/subnet-1/spot")


def test_back_offs_are_listed_by_place_while_they_last() -> None:
    at_work = AtWork().configure()
    held = {
        place: BackOff(until=AT + timedelta(seconds=seconds), failures=1, code="NoCapacity")
        for place, seconds in (("c", 5), ("a", 0), ("b", 1))
    }
    at_work.fleet.note_back_off("docker", held)
    (pool,) = view_of(at_work).pools
    assert [(place.capacity, place.for_s) for place in pool.back_off] == [("b", 1.0), ("c", 5.0)]


@pytest.mark.parametrize(
    ("facts", "waited_s", "ran_s"),
    [
        ({"started_at": ago(40), "finished_at": ago(10)}, 20.0, 30.0),
        ({"finished_at": ago(10)}, 50.0, None),  # cancelled before it ran
        ({"started_at": ago(40)}, 20.0, 35.0),  # GitLab did not say when: when it changed
        ({"started_at": ago(70), "finished_at": ago(80)}, 0.0, 0.0),  # clocks differ
    ],
)
def test_an_ended_job_waited_and_ran(
    facts: dict[str, Any], waited_s: float, ran_s: float | None
) -> None:
    at_work = AtWork().configure()
    job = at_work.job(1, waits_s=60)
    at_work.advance(job, "failed", at=ago(5), failure_reason="script_failure", **facts)
    (ended,) = view_of(at_work).jobs
    assert (ended.waited_s, ended.ran_s) == (waited_s, ran_s)
    assert (ended.status, ended.reason) == ("failed", "script_failure")
    assert ended.sentence == "a command of its script failed"


def test_jobs_are_listed_newest_first_with_why_they_wait() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1, waits_s=60, project_path="", project_id=77)
    at_work.advance(job, "running", at=ago(39), started_at=ago(40), runner_id="rf-docker-1")
    at_work.job(2, waits_s=30)
    at_work.waits_because(2, Reason.PACED)
    waits, runs = view_of(at_work).jobs
    assert (waits.job_id, waits.status, waits.waited_s, waits.ran_s) == (2, "pending", 30, None)
    assert (waits.reason, bool(waits.sentence), waits.project) == ("paced", True, "acme/demo")
    assert (runs.job_id, runs.status, runs.waited_s, runs.ran_s) == (1, "running", 20, 40)
    assert (runs.reason, runs.sentence, runs.project) == (None, "", "77")
    assert (runs.tags, runs.pool, runs.runner_id) == (("docker",), "docker", "rf-docker-1")


# What is a problem


def hook(at_work: AtWork, scope: str = "group:42", **facts: Any) -> None:
    row = HookRow(
        instance=INSTANCE,
        scope=HookScope.read(scope),
        hook_id=5,
        url="https://x",
        verification="signing-token",
    )
    at_work.fleet.record_hook(replace(row, **facts))


def refused(at_work: AtWork, pool: str = "docker") -> None:
    """AWS refuses the pool as it is configured now."""
    at_work.fleet.note_refused(pool, "no such image", view_of(at_work, 1).version)


def stops_warm(at_work: AtWork, failures: int) -> None:
    """The docker pool keeps a machine warm, and the last ones failed."""
    memory = WarmMemory(failures=failures, failed_at=AT, why="no Docker engine")
    assert at_work.fleet.note_warm_failure("docker", WarmMemory(), memory)


def gives_up(at_work: AtWork, job_id: int = 1, **facts: Any) -> None:
    """A job whose attempts are used."""
    at_work.job(job_id, **facts)
    at_work.jobs.extend(key(job_id), [], given_up=True)


def loses(at_work: AtWork, *job_ids: int) -> None:
    """Jobs whose machine is gone, the last of them the oldest."""
    for job_id in job_ids:
        at_work.advance(at_work.job(job_id, waits_s=60 * job_id), "running", at=AT)
        at_work.jobs.extend(key(job_id), [], reason=Reason.MACHINE_LOST.value)


def unseen(at_work: AtWork, after_s: float, *, ever: bool = True) -> None:
    """GitLab does not hear of the pool for so long."""
    if not ever:
        at_work.table.items.pop(("pool#docker", "pool"))
    at_work.clock.go(after_s)


def silent(at_work: AtWork, *heard_s: float, state: MachineState = MachineState.BUSY) -> None:
    """Machines whose last reports are so old."""
    for number, seconds in enumerate(heard_s, start=1):
        runner = at_work.runner(number, launched_s=4000)
        at_work.reports(runner, state, heartbeat_at=ago(seconds))


def withheld(at_work: AtWork, *waits_s: float, state: MachineState = MachineState.IDLE) -> None:
    """Jobs that wait for so long beside a machine that called home before."""
    runner = at_work.runner(9, launched_s=400)
    at_work.reports(runner, state, Step(at=ago(130), name=StepName.CALLED_HOME))
    for number, seconds in enumerate(waits_s, start=1):
        at_work.job(number, waits_s=seconds)


def unattended(at_work: AtWork, after_s: float, **facts: Any) -> None:
    """A job that nothing looked at for so long."""
    at_work.job(1, waits_s=4000, **facts)
    at_work.table.items["job#gitlab.example.com#1", "job"]["changed_at"] = AT.isoformat()
    at_work.clock.go(after_s)
    at_work.fleet.note_verified("docker", at_work.clock())


def orphaned(at_work: AtWork, after_s: float) -> None:
    """A job that waits in a pool which leaves."""
    at_work.configure(FLEET, leaving=("old",)).job(1, pool="old", waits_s=4000)
    at_work.clock.go(after_s)


def bury(at_work: AtWork, *queues: str) -> None:
    """Two dead letters in each of these queues."""
    for queue in queues * 2:
        if queue in at_work.deployed.queues:
            at_work.queues[queue].bury(DEMAND)
        else:
            at_work.queues[queue].send([DEMAND])


def unrenewed(at_work: AtWork, *, ends: bool) -> None:
    """A pool whose runner token cannot be renewed."""
    at_work.fleet.note_verified("docker", AT, expires_at=AT if ends else None)
    at_work.fleet.note_renewal_failed("docker", "401 no", at=AT)


def hold(at_work: AtWork, *project_ids: int | None) -> None:
    """GitLab gives no credential in these projects; None: in none at all."""
    for project_id in project_ids:
        pool = None if project_id is None else "docker"
        at_work.fleet.note_hold(replace(HOLD, pool=pool, project_id=project_id))


def ref(at_work: AtWork, reason: Reason, waits_s: float = 300, text: str = PROTECTED) -> None:
    """A job that its ref keeps from every pool."""
    at_work.configure(text).job(1, pool=None, reason=reason, waits_s=waits_s)


def untagged(at_work: AtWork, waits_s: float = 300, **facts: Any) -> None:
    at_work.job(1, waits_s=waits_s, **({"tags": ()} | NO_POOL | facts))


RUST: dict[str, Any] = NO_POOL | {"tags": ("rust",)}


def unpooled(at_work: AtWork, *waits_s: float) -> None:
    for number, seconds in enumerate(waits_s, start=1):
        at_work.job(number, waits_s=seconds, **RUST)


def unreadable(fleet: AtWork) -> None:
    """Rows of two webhooks have another form than this version writes."""
    for pk in ("hook#a", "hook#b"):
        row = {"pk": pk, "sk": "hook", "kind": "hook", "changed_at": "0"}
        fleet.table.items[pk, "hook"] = row


# Each kind at its limit: what brings it about, and its number and example.
POOL_BUDGET = f"{FLEET}budget_usd_per_day = 1\n"
PROJECT_BUDGET = f'{FLEET}[budgets.projects]\n"acme/demo" = 1\n'


def waits(at_work: AtWork, reason: Reason, *waits_s: float) -> None:
    for number, seconds in enumerate(waits_s, start=1):
        at_work.job(number, waits_s=seconds)
        at_work.waits_because(number, reason)


def full(at_work: AtWork, seconds: float) -> None:
    waits(at_work, Reason.AT_CEILING, 700, 20)
    at_work.fleet.note_full("docker", ago(seconds))


def spends(at_work: AtWork, text: str, *, usd: float = 1) -> None:
    at_work.configure(text)
    waits(at_work, Reason.BUDGET, 60)
    day = f"spend#{AT:%Y-%m-%d}"
    for name in ("pool#docker", "project#7"):
        at_work.table.items[day, name] = {"pk": day, "sk": name, "nano": int(usd * 10**9)}


def sweeps(at_work: AtWork, **facts: Any) -> None:
    at_work.fleet.note_sweep(LastSweep(at=AT, **facts))


def unplaced(at_work: AtWork, seconds: float) -> None:
    runner = at_work.runner(1, launched_s=seconds)
    row = at_work.table.items["pool#docker", f"runner#{runner.id}"]
    row |= {"state": RunnerState.REQUESTED.value}


def aged(at_work: AtWork, seconds: float) -> None:
    """A machine that is so long over its lifetime, and at work."""
    runner = at_work.runner(1)
    at_work.table.items["pool#docker", f"runner#{runner.id}"] |= {
        "expires_at": ago(seconds).isoformat()
    }
    at_work.reports(runner, MachineState.BUSY, job_id=8)


def unheard(at_work: AtWork, jobs: int, *, webhooks: int = 0) -> None:
    """Reconcile met these in GitLab's list; others had a webhook."""
    for number in range(webhooks):
        at_work.job(90 + number, waits_s=50)
    for number in range(1, jobs + 1):
        at_work.job(number, waits_s=50)
        row = at_work.table.items[f"job#{INSTANCE}#{number}", "job"]
        row["timeline"] = [Step(at=ago(40), name=StepName.RECONCILE_FOUND).item()]


def images(at_work: AtWork, kind: str, newer_s: float) -> None:
    """The newest image is so much newer than the one that machines start from."""
    at_work.images = (ImageFacts(kind=kind, used_at=ago(newer_s), newest_at=AT),)


def built_from(at_work: AtWork, sources: str, code: str) -> None:
    """The newest image is of these sources, and the stack's code of those."""
    at_work.images = (
        ImageFacts(kind="ec2", used_at=AT, newest_at=AT, sources=sources, code_sources=code),
    )


PROBLEMS: list[tuple[str, Change, int, str]] = [
    ("gitlab_unusable", lambda f: f.fleet.note_trouble(TROUBLE), 1, TROUBLE.call),
    ("webhook_unhealthy", lambda f: hook(f, healthy=False), 1, "group:42"),
    ("webhook_unhealthy", lambda f: hook(f, healthy=False, detail="it is off"), 1, "group:42"),
    ("no_credential", lambda f: hold(f, None), 1, ""),
    ("no_credential", lambda f: hold(f, 7, 8, 9), 3, "docker"),
    ("dead_demands", lambda f: bury(f, "ec2"), 2, "ec2"),
    ("dead_demands", lambda f: bury(f, "lambda"), 2, "lambda"),
    ("dead_events", lambda f: bury(f, "events"), 2, "events"),
    ("dead_expiries", lambda f: bury(f, "expiries"), 2, "expiries"),
    ("pool_refused", refused, 1, "docker"),
    ("image_behind", lambda f: images(f, "ec2", 1), 1, "ec2"),
    ("image_behind", lambda f: built_from(f, "old", "new"), 1, "ec2"),
    ("warm_stopped", lambda f: stops_warm(f, 3), 1, "docker"),
    ("pool_unseen", lambda f: unseen(f, 5401), 1, "docker"),
    ("pool_unseen", lambda f: unseen(f, 300, ever=False), 1, "docker"),
    ("renewal_failed", lambda f: unrenewed(f, ends=True), 1, "docker"),
    ("renewal_failed", lambda f: unrenewed(f, ends=False), 1, "docker"),
    ("boot_late", lambda f: f.runner(1, launched_s=301), 1, "rf-docker-000000000001"),
    (
        "boot_late",
        lambda f: [f.runner(number, launched_s=300 + number) for number in (1, 2)],
        2,
        "rf-docker-000000000002",
    ),
    ("pool_full", lambda f: full(f, 600), 2, "docker"),
    ("no_capacity", lambda f: waits(f, Reason.NO_CAPACITY_UNTIL, 120, 30), 2, "docker"),
    ("budget_used", lambda f: spends(f, POOL_BUDGET), 1, "docker"),
    ("budget_used", lambda f: spends(f, PROJECT_BUDGET), 1, "acme/demo"),
    ("leaked", lambda f: sweeps(f, leaked=("rf-docker-a", "i-1")), 2, "rf-docker-a"),
    ("neighbour", lambda f: sweeps(f, neighbours=("fleet-b",)), 1, "fleet-b"),
    ("unplaced", lambda f: unplaced(f, 180), 1, "rf-docker-000000000001"),
    ("over_age", lambda f: aged(f, 300), 1, "rf-docker-000000000001"),
    ("webhook_silent", lambda f: unheard(f, 3), 3, ""),
    ("silent", lambda f: silent(f, 300), 1, "rf-docker-000000000001"),
    ("silent", lambda f: silent(f, 3600, state=MachineState.IDLE), 1, "rf-docker-000000000001"),
    ("silent", lambda f: silent(f, 400, 660), 2, "rf-docker-000000000002"),
    ("machine_lost", lambda f: loses(f, 1), 1, "1"),
    ("machine_lost", lambda f: loses(f, 1, 2), 2, "2"),
    ("withheld", lambda f: withheld(f, 120), 1, "1"),
    ("withheld", lambda f: withheld(f, 130, 125, 100), 2, "1"),
    ("given_up", lambda f: gives_up(f, waits_s=1), 1, "1"),
    ("given_up", lambda f: gives_up(f, waits_s=1, pool=None), 1, "1"),
    ("no_pool", lambda f: unpooled(f, 300), 1, "1"),
    ("no_pool", lambda f: unpooled(f, 400, 900, 500), 3, "2"),
    ("untagged", untagged, 1, "1"),
    ("unprotected", lambda f: ref(f, Reason.UNPROTECTED), 1, "1"),
    ("protection_unknown", lambda f: ref(f, Reason.PROTECTION_UNKNOWN), 1, "1"),
    ("pool_gone", lambda f: orphaned(f, 180), 1, "1"),
    ("unattended", lambda f: unattended(f, 600, reason=Reason.ROUTED), 1, "1"),
    # `apply` made its pool, and reconcile does not route it
    ("unattended", lambda f: unattended(f, 600, **NO_POOL), 1, "1"),
    ("unreadable", unreadable, 2, "hook#a hook"),
]


def test_every_problem_has_its_number_and_example_and_says_what_to_do(screen: Screen) -> None:
    lines = []
    for kind, change, count, example in PROBLEMS:
        at_work = AtWork().configure()
        change(at_work)
        (problem,) = view_of(at_work).problems
        assert (problem.kind, problem.count, problem.example) == (kind, count, example)
        lines.append(f"{kind}\n! {problem.what}\n  {problem.do}\n")
    kinds = {kind for kind, _, _, _ in PROBLEMS}
    assert set(ProblemKind) - kinds == {"token_ends"}  # in the tests of the watch on the token
    screen("status_problems", "\n".join(lines))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: hook(f, healthy=True, detail="it was off once"),
        lambda f: f.queues["ec2"].send([DEMAND]),
        lambda f: unseen(f, 5400),
        lambda f: unseen(f, 299, ever=False),
        lambda f: f.runner(1, launched_s=300),
        lambda f: f.configure(f'{FLEET}boot_deadline = "10m"\n').runner(1, launched_s=599),
        lambda f: full(f, 599),
        lambda f: waits(f, Reason.NO_CAPACITY_UNTIL, 119),
        lambda f: spends(f, POOL_BUDGET, usd=0.99),
        lambda f: images(f, "ec2", 0),
        lambda f: images(f, "lambda", 99),  # no pool uses it
        lambda f: built_from(f, "new", "new"),
        lambda f: built_from(f, "old", ""),  # of a stack that does not say
        sweeps,
        lambda f: unplaced(f, 179),
        lambda f: unheard(f, 2),
        lambda f: unheard(f, 9, webhooks=1),
        lambda f: aged(f, 299),
        lambda f: silent(f, 299),
        lambda f: silent(f, 299, state=MachineState.IDLE),
        lambda f: f.advance(f.job(1), "running", at=AT),
        lambda f: withheld(f, 119),
        lambda f: withheld(f, 130, state=MachineState.BOOTED),
        lambda f: unpooled(f, 299),  # most are jobs of other runners, which take them soon
        lambda f: untagged(f, 299),
        lambda f: ref(f, Reason.UNPROTECTED, 299),
        lambda f: ref(f, Reason.PROTECTION_UNKNOWN, 4000, FLEET),  # an open pool was just applied
        lambda f: orphaned(f, 179),
        lambda f: unattended(f, 599, reason=Reason.ROUTED),
        lambda f: unattended(f, 7200, reason=Reason.AT_CEILING),
        lambda f: unattended(f, 599, **NO_POOL),
    ],
)
def test_a_condition_below_its_limit_is_no_problem(change: Change) -> None:
    at_work = AtWork().configure()
    change(at_work)
    assert view_of(at_work).problems == ()


@pytest.mark.parametrize("word", ["running", "canceled"])
def test_a_job_that_waits_no_more_is_no_problem(word: str) -> None:
    at_work = AtWork().configure()
    job = at_work.job(1, waits_s=400, **RUST)
    at_work.jobs.extend(key(1), [], given_up=True)
    at_work.advance(job, word, at=AT)
    assert view_of(at_work).problems == ()


def test_a_pool_that_leaves_and_its_runners_are_no_problem() -> None:
    at_work = AtWork().configure(FLEET, leaving=("old",))
    refused(at_work, "old")
    runner = at_work.runner(1, pool="old", launched_s=9000)
    at_work.reports(runner, MachineState.BUSY, heartbeat_at=ago(9000))
    at_work.runner(2, pool="old", launched_s=9000)
    assert view_of(at_work).problems == ()


def test_a_pool_shows_the_ceiling_in_force_and_one_that_leaves_none() -> None:
    at_work = AtWork().configure(FLEET, leaving=("old",))
    at_work.runner(1, pool="old")
    for about in ("docker", "old"):
        order = Control(kind=ControlKind.CEILING, about=about, at=AT, who="dana", ceiling=2)
        at_work.fleet.order(order, Act(at=AT, who="dana", what="ceiling"))
    assert {pool.name: pool.ceiling for pool in view_of(at_work).pools} == {"docker": 2, "old": 0}


def test_what_is_cured_is_no_problem() -> None:
    at_work = AtWork().configure()
    refused(at_work)
    hold(at_work, None)
    unrenewed(at_work, ends=False)
    assert len(view_of(at_work).problems) == 3
    at_work.configure(FLEET.replace("ceiling = 5", "ceiling = 6"))
    at_work.fleet.note_hold(replace(HOLD, lifted_at=AT))
    at_work.fleet.note_renewed("docker")
    at_work.fleet.note_verified("docker", AT)
    assert view_of(at_work).problems == ()
    hold(at_work, None, 7)
    at_work.fleet.drop_holds()
    assert view_of(at_work).problems == ()


def test_problems_are_listed_from_the_outside_in() -> None:
    """First what keeps jobs from coming, then pools, then machines, then single jobs."""
    at_work = AtWork().configure(FLEET + NODE)
    at_work.job(9, waits_s=300, **RUST)
    at_work.runner(1, launched_s=301)
    at_work.runner(2, pool="node", launched_s=400)
    for pool in ("docker", "node"):
        refused(at_work, pool)
    bury(at_work, "expiries", "events", "lambda", "ec2")
    hook(at_work, "project:7", healthy=False)
    hook(at_work, "group:42", healthy=False)
    assert [(problem.kind.value, problem.example) for problem in view_of(at_work).problems] == [
        ("webhook_unhealthy", "group:42"),
        ("webhook_unhealthy", "project:7"),
        ("dead_demands", "ec2"),
        ("dead_demands", "lambda"),
        ("dead_events", "events"),
        ("dead_expiries", "expiries"),
        ("pool_refused", "docker"),
        ("pool_refused", "node"),
        ("boot_late", "rf-docker-000000000001"),
        ("boot_late", "rf-node-000000000002"),
        ("no_pool", "9"),
    ]
    queues = {queue.name: (queue.messages, queue.dead) for queue in view_of(at_work).queues}
    assert queues == {"ec2": (0, 2), "lambda": (0, 2), "events": (0, 2), "expiries": (0, 2)}


def test_problems_are_those_of_every_open_job_however_few_are_shown() -> None:
    at_work = AtWork().configure()
    for number in range(100, 156):
        at_work.job(number, waits_s=60)
    unpooled(at_work, 400, 900, 500)
    gives_up(at_work, 4, waits_s=800)
    view = view_of(at_work)
    assert [(problem.kind, problem.count) for problem in view.problems] == [
        ("given_up", 1),
        ("no_pool", 3),
    ]
    assert len(view.jobs) == 20
    assert view_of(at_work, 1).problems == view.problems


# How the command ends


@pytest.mark.parametrize("options", [(), ("--json",), ("--jobs", "1")])
def test_status_exits_with_1_while_there_is_a_problem(options: tuple[str, ...]) -> None:
    at_work = AtWork().configure()
    assert at_work.run("status", *options).exit_code == 0
    gives_up(at_work)
    result = at_work.run("status", *options)
    assert (result.exit_code, result.stderr) == (1, "")
    assert "job 1 (job-1)" in result.stdout
    assert at_work.run("status", "--watch", *options).exit_code == 0
    assert at_work.run("status", "--nothing").exit_code == 2


def test_json_is_one_object_and_with_watch_a_line_each() -> None:
    at_work = AtWork().configure()
    for number in range(1, 24):
        at_work.job(number, waits_s=100 - number)
    once = at_work.run("status", "--json").stdout
    assert once.startswith('{\n  "at": "2026-11-21T09:00:00+00:00"')
    jobs = json.loads(once)["jobs"]
    assert (len(jobs), jobs[0]["job_id"], jobs[0]["waited_s"]) == (20, 23, 77)
    three = json.loads(at_work.run("status", "--json", "--jobs", "3").stdout)
    assert len(three["jobs"]) == 3
    first, second = at_work.run("status", "--json", "--watch").stdout.splitlines()
    assert json.loads(first) == json.loads(once)
    assert json.loads(first)["at"] < json.loads(second)["at"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_watching_outlives_an_answer_that_does_not_come(options: tuple[str, ...]) -> None:
    lost = Transient("the call to AWS failed", call="dynamodb.Query", error="ReadTimeoutError")
    at_work = AtWork(failing_later=lost).configure()
    result = at_work.run("status", "--watch", *options)
    assert (result.exit_code, at_work.pauses) == (0, 2)
    assert "dynamodb.Query: ReadTimeoutError" in (result.stderr if options else result.stdout)
    assert "fleet-a" in result.stdout  # what was read before stands there still
    if options:
        assert [json.loads(line)["stack"] for line in result.stdout.splitlines()] == ["fleet-a"]


def test_what_to_type_names_the_stack_that_was_given() -> None:
    at_work = AtWork().configure()
    gives_up(at_work)
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
    assert "`runner-fleet apply --stack blue`" in unknown.stderr
