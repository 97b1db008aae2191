"""Problems of runners and their machines: late, silent, too old, or not to be ended."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from fleet.machine.mailbox import MachineState
from fleet.model import Runner, RunnerState
from fleet.rules.liveness import stalled_since
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import Problem, ProblemKind, and_more

# A launch answers within a minute; its row then names the machine.
UNPLACED_AFTER = timedelta(minutes=3)
# The sweep ends what is over its lifetime within a minute.
OVER_AGE_AFTER = timedelta(minutes=5)


def state_word(runner: Runner) -> str:
    """The state to show; a runner that does not ask GitLab yet has only booted."""
    is_ready = runner.state is not RunnerState.IDLE or runner.asks
    return runner.state.value if is_ready else MachineState.BOOTED.value


def left_by_sweep(facts: FleetFacts) -> Iterator[Problem]:
    """What the sweep cannot end, and whose runners it meets."""
    swept = facts.swept
    if swept is None:
        return
    if swept.leaked:
        yield Problem(
            kind=ProblemKind.LEAKED,
            what=f"{and_more(swept.leaked[0], swept.leaked)} cannot be ended",
            do="the sweep tries again each minute; its log says what AWS or GitLab refuses",
            count=len(swept.leaked),
            example=swept.leaked[0],
        )
    if swept.neighbours:
        names = ", ".join(swept.neighbours)
        yield Problem(
            kind=ProblemKind.NEIGHBOUR,
            what=f"another stack has runners in the same group or project of GitLab: {names}",
            do="give each stack tags or a group of its own: GitLab gives a job to either",
            count=len(swept.neighbours),
            example=swept.neighbours[0],
        )


def unplaced_and_old(facts: FleetFacts) -> Iterator[Problem]:
    """Runners without a machine, and machines beyond their lifetime."""
    runners = [runner for pool in facts.pools for runner in pool.runners]
    unplaced = [
        runner
        for runner in runners
        if runner.state is RunnerState.REQUESTED
        and facts.at - runner.launched_at >= UNPLACED_AFTER
        and facts.at <= runner.expires_at
    ]
    old = [runner for runner in runners if facts.at - runner.expires_at >= OVER_AGE_AFTER]
    for kind, runners, what, do in (
        (
            ProblemKind.UNPLACED,
            unplaced,
            "asked for a machine and got no answer",
            "the sweep closes it after its boot deadline; see the log of scale",
        ),
        (
            ProblemKind.OVER_AGE,
            old,
            "older than the pool's max_lifetime",
            "the sweep ends it within a minute; if it stays, its log says what AWS refuses",
        ),
    ):
        if runners:
            first = min(runners, key=lambda runner: (runner.launched_at, runner.id)).id
            verb = "" if kind is ProblemKind.UNPLACED else "are " if runners[1:] else "is "
            yield Problem(
                kind=kind,
                what=f"{and_more(first, runners)} {verb}{what}",
                do=do,
                count=len(runners),
                example=first,
            )


def late_and_silent(facts: FleetFacts) -> Iterator[Problem]:
    """Runners without a report by their boot deadline, or for the pool's `stalled_after`."""
    for pool in facts.pools:
        if pool.config is None:
            continue
        late, silent = [], []
        for runner in _without_other_problem(pool.runners, facts.at):
            booting = runner.state in {RunnerState.REQUESTED, RunnerState.IN_FLIGHT}
            heard_at = stalled_since(runner, pool.config.stalled_after, facts.at)
            if booting and facts.at - runner.launched_at > pool.config.boot_deadline:
                late.append(runner)
            elif heard_at is not None:
                silent.append((heard_at, runner))
        if late:
            first = min(late, key=lambda runner: (runner.launched_at, runner.id)).id
            whose = "their" if late[1:] else "its"
            yield Problem(
                kind=ProblemKind.BOOT_LATE,
                what=f"{and_more(first, late)} did not call home before {whose} boot deadline",
                do="the sweep replaces it within a minute; see its console",
                count=len(late),
                example=first,
            )
        if silent:
            heard_at, runner = min(silent, key=lambda pair: (pair[0], pair[1].id))
            minutes = (facts.at - heard_at).total_seconds() / 60
            are = "are" if silent[1:] else f"is {state_word(runner)} and"
            long = "for up to" if silent[1:] else "for"
            yield Problem(
                kind=ProblemKind.SILENT,
                what=f"{and_more(runner.id, silent)} {are} silent {long} {minutes:.0f} minutes",
                do="the sweep ends it once GitLab and AWS agree that nothing runs there",
                count=len(silent),
                example=runner.id,
            )


def _without_other_problem(runners: Iterable[Runner], at: datetime) -> Iterator[Runner]:
    """Those that are no problem of their own already: without a machine, or too old."""
    for runner in runners:
        is_unplaced = runner.state is RunnerState.REQUESTED
        is_unplaced &= at - runner.launched_at >= UNPLACED_AFTER
        if not is_unplaced and at - runner.expires_at < OVER_AGE_AFTER:
            yield runner
