"""The problems of the whole fleet: what does not recover by itself, or must be noticed.

`status` prints them and ends with 1 while there is any. A kind is the stable word for scripts;
many cases of one kind are one problem, with their number and an example.
"""

from collections.abc import Callable, Iterator

from fleet.rules.problems import gitlab, jobs, pools, runners
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import Problem, ProblemKind, and_more

DO_EXPLAIN_ANY = "`runner-fleet explain <job>` says what went wrong; then docs/operations.md"


def decide_problems(facts: FleetFacts) -> tuple[Problem, ...]:
    """Every problem, those that keep most jobs from running first."""
    return tuple(problem for rule in _RULES for problem in rule(facts))


def _dead_letters(facts: FleetFacts) -> Iterator[Problem]:
    for queue, dead in facts.dead.items():
        if not dead:
            continue
        kind, do = ProblemKind.DEAD_DEMANDS, DO_EXPLAIN_ANY
        what = f"jobs got no {queue} machine after their last attempt"
        if queue == "events":
            kind, what = ProblemKind.DEAD_EVENTS, "events started no state machine"
            do = "see docs/operations.md, EventDeadLetters"
        elif queue == "expiries":
            kind, what = ProblemKind.DEAD_EXPIRIES, "expiry timers failed"
            do = "see docs/operations.md, ExpiryDeadLetters"
        yield Problem(kind=kind, what=f"{dead} {what}", do=do, count=dead, example=queue)


def _unreadable(facts: FleetFacts) -> Iterator[Problem]:
    if facts.unreadable:
        first = f"the row {facts.unreadable[0]}"
        yield Problem(
            kind=ProblemKind.UNREADABLE,
            what=f"{and_more(first, facts.unreadable)} cannot be read and counts as absent",
            do="see `Rows that cannot be read` in docs/operations.md",
            count=len(facts.unreadable),
            example=facts.unreadable[0],
        )


_RULES: tuple[Callable[[FleetFacts], Iterator[Problem]], ...] = (
    gitlab.troubles,
    gitlab.unhealthy_hooks,
    gitlab.silent_hooks,
    gitlab.held_launches,
    _dead_letters,
    pools.pools_at_fault,
    pools.old_images,
    pools.tokens_not_renewed,
    pools.full_pools,
    pools.used_budgets,
    runners.left_by_sweep,
    runners.unplaced_and_old,
    runners.late_and_silent,
    jobs.lost_jobs,
    jobs.withheld_jobs,
    jobs.stuck_jobs,
    _unreadable,
)
