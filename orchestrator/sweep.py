"""The two-way sweep: runners, machines and runner records held against each other."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial

from adapters.machines.backend import Backend, Machine
from fleet.errors import FleetError
from fleet.events import INFO, WARNING, SweepSkipped, Swept, WorkPutOff, emit
from fleet.model import Limits, Runner
from fleet.reasons import Reason
from fleet.rules.controls import Control, end_of, in_force
from fleet.rules.limits import LEAVING, fresh_for, limits_of
from fleet.rules.liveness import (
    by_our_clock,
    due_note,
    is_alive,
    says_busy,
    with_note,
)
from fleet.rules.problems.facts import LastSweep
from fleet.rules.reap import Fate, ReapPlan, Stray, Suspect, decide_reap, decide_strays, expired_of
from fleet.rules.runner_record import PREFIX
from orchestrator.close import close_runner, end_machine, left_to_sweep, relaunch
from orchestrator.job_ends import note_jobs_of, retry_lost_jobs
from orchestrator.job_runner import runs_a_job
from orchestrator.world import World

# Closing a runner takes AWS and GitLab about a second, and a sweep may close hundreds.
JUDGED_AT_ONCE = 8
NAMED_AT_MOST = 50  # in the row that `status` reads

# By back end, then by machine id; None for one that can show no machines.
ShownMachines = Mapping[str, Mapping[str, Machine] | None]


class Disposal(StrEnum):
    """What the sweep did about one runner, machine or record."""

    KEPT = "kept"
    CLOSED = "closed"  # by this sweep
    GONE = "gone"  # another closed it meanwhile
    NOT_ENDED = "not_ended"  # it could not be ended; the next sweep tries again


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What one sweep did. `runners` live on; `leaked`: what it could not end, of any kind."""

    runners: int
    closed: int
    strays: int
    leaked: int = 0


def sweep(world: World) -> SweepResult:
    """Compare AWS, GitLab and the ledger, and end what has no row or should live no longer."""
    machines = _machines(world)
    controls = in_force(world.fleet.controls(), world.clock())
    known: dict[str, Runner] = {}
    hidden: set[str] = set()
    ends: Counter[Disposal] = Counter()
    not_ended: list[str] = []  # names of what could not be ended
    for pool, limits in _pools(world):
        live = world.runners.live_and_hidden(pool)
        known |= {runner.id: runner for runner in live.runners}
        hidden |= live.hidden
        judge = partial(_judge, world, machines, controls, limits)
        with ThreadPoolExecutor(max_workers=JUDGED_AT_ONCE) as judges:
            disposals = list(judges.map(judge, live.runners))
        ends.update(disposals)
        pairs = zip(live.runners, disposals, strict=True)
        not_ended += [runner.id for runner, disposal in pairs if disposal is Disposal.NOT_ENDED]
    strays = _end_stray_machines(world, machines, known, hidden, not_ended)
    neighbours: set[str] = set()
    strays += _delete_stray_records(world, known.keys() | hidden, not_ended, neighbours)
    done = SweepResult(
        runners=ends[Disposal.KEPT] + ends[Disposal.NOT_ENDED],
        closed=ends[Disposal.CLOSED],
        strays=strays[Disposal.CLOSED],
        leaked=ends[Disposal.NOT_ENDED] + strays[Disposal.NOT_ENDED],
    )
    if done.closed or done.strays or done.leaked:
        emit(Swept(**asdict(done)), level=WARNING if done.leaked else INFO)
    last = LastSweep(
        at=world.clock(),
        leaked=tuple(sorted(not_ended))[:NAMED_AT_MOST],
        neighbours=tuple(sorted(neighbours))[:NAMED_AT_MOST],
    )
    with _skipping_failure("what this sweep could not end"):
        world.fleet.note_sweep(last)
    return done


def _judge(
    world: World,
    machines: ShownMachines,
    controls: Collection[Control],
    limits: Limits,
    runner: Runner,
) -> Disposal:
    """Close one runner where the rule says so, or a person ordered it."""
    decide = partial(_decide, world, machines, controls, limits)
    suspect, plan = decide(runner)
    if plan.fate is not Fate.KEEP:
        # A sweep of hundreds takes a minute: settle closes them meanwhile, and machines report.
        current = _read_again(world, runner)
        if current is None:
            return Disposal.GONE
        if current != runner:
            suspect, plan = decide(current)
    if plan.fate is Fate.ASK:
        answered = _ask(world, suspect)
        plan = decide_reap(answered, limits, at=world.clock()) if answered else plan
    runner = suspect.runner
    if plan.reason is Reason.STALLED_BUT_BUSY and runner.covers:
        with _skipping_failure(f"the job of {runner.id}"):
            note_jobs_of(world, runner)
    if plan.fate not in {Fate.CLOSE, Fate.RELAUNCH}:
        return Disposal.KEPT
    is_owed = plan.fate is Fate.RELAUNCH
    shown = (machines.get(runner.backend) or {}).get(runner.machine_id or "")
    return _close(world, plan.runner, plan.reason, is_owed=is_owed, shown=shown)


def _decide(
    world: World,
    machines: ShownMachines,
    controls: Collection[Control],
    limits: Limits,
    runner: Runner,
) -> tuple[Suspect, ReapPlan]:
    """The runner with its machine, and its fate by a person's order or by the rule."""
    order = end_of(controls, runner)
    runner = _dated(world, limits, runner)
    suspect = Suspect(
        runner=runner,
        machine_alive=_alive(world, runner, machines),
        ends_alone=world.ends_alone(runner),
        is_ordered=order is not None and order.at_once,
    )
    return suspect, decide_reap(suspect, limits, at=world.clock())


def _read_again(world: World, runner: Runner) -> Runner | None:
    """The runner as it is now; None when another closed it. As it was, where the read fails."""
    with _skipping_failure(f"the row of {runner.id}"):
        return world.runners.find(runner.id)
    return runner


def _dated(world: World, limits: Limits, runner: Runner) -> Runner:
    """The runner by our clock; a report whose own date proves nothing is noted first."""
    at = world.clock()
    note = due_note(runner, at, fresh_for=fresh_for(limits))
    if note is not None:
        runner = with_note(runner, note)  # also where the write fails: it starts now
        with _skipping_failure(f"the last report of {runner.id}"):
            world.runners.note(runner, note)
    return by_our_clock(runner, at)


def end_launch(backends: Iterable[Backend], launch_id: str, *, at: datetime) -> int:
    """End every machine of an expired launch; how many were alive.

    It needs the cloud alone: no ledger, no GitLab, and no readable fleet.toml.
    """
    ended = 0
    for backend in backends:
        expired = expired_of(launch_id, backend.machines() or (), at)
        late = [machine.machine_id for machine in expired if machine.alive]
        if late:
            backend.end(late)
            ended += len(late)
    return ended


def close_launch(world: World, launch_id: str) -> int:
    """Close the runners of an expired launch; how many this call closed."""
    living = [runner for pool, _ in _pools(world) for runner in world.runners.live(pool)]
    late = expired_of(launch_id, living, world.clock())
    ends = [_close(world, runner, Reason.EXPIRED, is_owed=runner.owes_a_job) for runner in late]
    return ends.count(Disposal.CLOSED)


def _close(
    world: World, runner: Runner, reason: Reason, *, is_owed: bool, shown: Machine | None = None
) -> Disposal:
    """End its machine, retry the job that it left running, close it, launch again for its job.

    `is_owed`: the job that it was launched for still needs a runner. `shown`: its machine.
    """
    disposal = Disposal.NOT_ENDED
    with left_to_sweep(runner, reason):
        ended = end_machine(world, runner, reason, shown=shown)
        ended = replace(ended, runner=retry_lost_jobs(world, runner))
        disposal = Disposal.CLOSED if close_runner(world, ended) else Disposal.GONE
    if disposal is Disposal.CLOSED and is_owed:
        with _skipping_failure(f"the job of {runner.id}"):
            relaunch(world, ended.runner, reason)
    return disposal


@contextmanager
def _skipping_failure(about: str) -> Iterator[None]:
    """Log a failure in here, so that the sweep goes on with the rest."""
    try:
        yield
    except FleetError as exc:
        emit(SweepSkipped(about=about, error=str(exc)), level=WARNING)


def _pools(world: World) -> Iterator[tuple[str, Limits]]:
    """Every pool that may have runners, those that `apply` took away included."""
    at = world.clock()
    for pool in world.config.pools:
        yield pool.name, limits_of(world.config, pool, at)
    for name in world.leaving:
        yield name, LEAVING


def _machines(world: World) -> ShownMachines:
    """The machines of each back end; one that does not answer is left out."""
    shown: dict[str, dict[str, Machine] | None] = {}
    for name, backend in world.backends.items():
        with _skipping_failure(f"machines of {name}"):
            machines = backend.machines()
            by_id = {machine.machine_id: machine for machine in machines or ()}
            shown[name] = None if machines is None else by_id
    return shown


def _alive(world: World, runner: Runner, machines: ShownMachines) -> bool | None:
    """Whether the runner's machine lives; None while its cloud cannot say."""
    shown = machines.get(runner.backend)
    machine = shown.get(runner.machine_id or "") if shown else None
    return is_alive(
        runner,
        can_tell=shown is not None,
        shown_alive=machine.alive if machine else None,
        at=world.clock(),
    )


def _ask(world: World, suspect: Suspect) -> Suspect | None:
    """The suspect with GitLab's word on its jobs; None, and no end, while GitLab is out."""
    try:
        return replace(suspect, job_running=runs_a_job(world, suspect.runner))
    except FleetError as exc:
        emit(
            WorkPutOff(doing=f"ask for the jobs of {suspect.runner.id}", error=str(exc)),
            level=WARNING,
        )
        return None


def _end_stray_machines(
    world: World,
    machines: ShownMachines,
    runners: Mapping[str, Runner],
    hidden: Collection[str],
    not_ended: list[str],
) -> Counter[Disposal]:
    """Machines with our tag and no live row: older than a launch takes, and not at work.

    A machine whose row cannot be read, among the `hidden`, has one. `not_ended` gets the names of
    those that cannot be ended.
    """
    at = world.clock()
    known = {runner.machine_id or "": runner for runner in runners.values()}
    ends: Counter[Disposal] = Counter()
    for name, shown in machines.items():
        strays = [
            Stray(
                id=machine.machine_id,
                seen_since=machine.launched_at,
                busy=_says_busy(world, name, machine.machine_id),
            )
            for machine in (shown or {}).values()
            if machine.alive
            and machine.machine_id not in known
            and machine.machine_id not in hidden
        ]
        unwanted = decide_strays(strays, known, at)
        if unwanted:
            disposal = Disposal.NOT_ENDED
            with _skipping_failure(f"stray machines of {name}"):
                world.backends[name].end(unwanted)
                disposal = Disposal.CLOSED
            ends[disposal] += len(unwanted)
            not_ended += unwanted if disposal is Disposal.NOT_ENDED else ()
    return ends


def _says_busy(world: World, backend: str, machine_id: str) -> bool:
    """Whether a machine without a row reported lately that it has a job."""
    mailboxes = world.backends[backend].mailboxes(machine_id)
    return any(_reports_a_job(world, mailbox) for mailbox in mailboxes)


def _reports_a_job(world: World, mailbox: str) -> bool:
    report = world.runners.report(mailbox)
    at = world.clock()
    busy = says_busy(report, at)
    if busy is None and report is not None:
        seen_at = world.fleet.stray_since(f"{mailbox} {report.mark}", at=at)
        busy = says_busy(report, at, first_seen_at=seen_at)
    return bool(busy)


def _delete_stray_records(
    world: World, living: Collection[str], not_ended: list[str], neighbours: set[str]
) -> Counter[Disposal]:
    """Runner records in GitLab that carry our stack's name and have no live row.

    `not_ended` gets those that cannot be deleted, `neighbours` the stacks of other fleets' records.
    """
    ends: Counter[Disposal] = Counter()
    if world.config.pools and all(world.shares_record(pool.name) for pool in world.config.pools):
        return ends
    at = world.clock()
    try:
        where = world.config.gitlab.runners_in
        kind = None if where.kind == "project" else f"{where.kind}_type"
        records = world.gitlab.runners_described(PREFIX, kind=kind, owner_id=where.id)
        neighbours |= {
            stack for record in records if (stack := world.neighbour(record.description))
        }
        ours = {record.id: world.runner_described(record.description) for record in records}
        unknown = [str(number) for number, name in ours.items() if name and name not in living]
        strays = {
            number: Stray(
                id=number,
                seen_since=world.fleet.stray_since(f"gitlab:{number}", at=at),
                busy=False,  # GitLab is asked about those alone that would be deleted
            )
            for number in unknown
        }
        for number in decide_strays(strays.values(), {}, at):
            disposal = Disposal.NOT_ENDED
            with _skipping_failure(f"runner record {number}"):
                disposal = _delete_stray_record(world, strays[number])
            ends[disposal] += 1
            not_ended += [f"runner record {number}"] if disposal is Disposal.NOT_ENDED else ()
    except FleetError as exc:
        emit(WorkPutOff(doing="sweep runner records", error=str(exc)), level=WARNING)
    return ends


def _delete_stray_record(world: World, stray: Stray) -> Disposal:
    running = world.gitlab.runner_jobs(int(stray.id), status="running")
    if not decide_strays([replace(stray, busy=bool(running))], {}, world.clock()):
        return Disposal.KEPT
    world.gitlab.delete_runner(int(stray.id))
    return Disposal.CLOSED
