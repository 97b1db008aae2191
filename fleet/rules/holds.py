"""Holds: launches wait while GitLab gives no credential; when GitLab is asked again."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fleet.errors import FleetError, Transient
from fleet.holds import Hold, HoldKind

# A refusal lasts until a person acts; an outage may end at any moment.
ASK_EVERY = timedelta(seconds=20)  # less than the minute's tick, so that each tick asks
ASK_AGAIN = timedelta(seconds=1)  # after the first failure of an outage; twice as long each time
PAUSE = timedelta(seconds=10)  # the calls of this minute are used up
WORDS_AT_MOST = 300
# An outage of this length is a problem.
OUTAGE_AFTER = timedelta(minutes=2)
ASKED_WITHIN = timedelta(minutes=15)

_TOKEN = 401  # GitLab does not know the fleet's token, wherever a record is to be made
_OWNER = frozenset({403, 404})  # the token may not make records for this owner


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRequest:
    """A request to GitLab: a record of a pool in a project, or the pool's shared token."""

    pool: str
    project_id: int | None  # None: of the owner for all projects
    shared: bool = False


def hold_for(
    request: CredentialRequest, failure: FleetError, known: Iterable[Hold], at: datetime
) -> Hold:
    """The hold that follows from a failure to get a credential, as narrow as the failure is.

    An outage, used up calls and an unknown token concern everything; a token without rights one
    owner; anything else, such as a limit or the tags, one pool of one owner. `known` are the holds
    so far.
    """
    status = failure.facts.get("status")
    code = status if isinstance(status, int) else None
    kind = _kind(failure)
    is_general = kind is not HoldKind.REFUSAL or (code == _TOKEN and not request.shared)
    is_of_owner = code in _OWNER and not request.shared
    pool = None if is_general or is_of_owner else request.pool
    project_id = None if is_general else request.project_id
    scope = (pool, project_id)
    earlier = next((hold for hold in known if hold.scope == scope and hold.lifted_at is None), None)
    failures = earlier.failures + 1 if earlier else 1
    return Hold(
        pool=pool,
        project_id=project_id,
        kind=kind,
        since=earlier.since if earlier else at,
        ask_at=at + _wait(kind, failures),
        failures=failures,
        words=_words(failure, code),
        status=code,
        shared=request.shared,
    )


def _kind(failure: FleetError) -> HoldKind:
    if "retry_after_s" in failure.facts:
        return HoldKind.PACE
    return HoldKind.OUTAGE if isinstance(failure, Transient) else HoldKind.REFUSAL


def _wait(kind: HoldKind, failures: int) -> timedelta:
    """How long GitLab is not asked."""
    if kind is HoldKind.PACE:
        return PAUSE
    if kind is HoldKind.REFUSAL:
        return ASK_EVERY
    doubled: int = 2 ** min(failures - 1, 8)
    return min(ASK_EVERY, ASK_AGAIN * doubled)


def held_by(holds: Iterable[Hold], pool: str, project_id: int | None, at: datetime) -> Hold | None:
    """The hold that forbids to ask for a credential of this pool and project now, if any."""
    return next(
        (
            hold
            for hold in holds
            if hold.lifted_at is None and hold.ask_at > at and hold.concerns(pool, project_id)
        ),
        None,
    )


def lifted(holds: Iterable[Hold], pool: str, project_id: int | None, at: datetime) -> list[Hold]:
    """The holds that a credential for this pool and project lifts, with `lifted_at` set."""
    return [
        replace(hold, lifted_at=at)
        for hold in holds
        if hold.lifted_at is None and hold.concerns(pool, project_id)
    ]


def asks_again_in_s(hold: Hold, at: datetime) -> int | None:
    """In how many seconds to try again; None: the minute's tick is soon enough."""
    if hold.kind is HoldKind.REFUSAL or _wait(hold.kind, hold.failures) >= ASK_EVERY:
        return None
    return max(1, -(-(hold.ask_at - at) // timedelta(seconds=1)))


def is_problem(hold: Hold, at: datetime) -> bool:
    """Whether a person should know: a refusal at once, an outage when it does not pass.

    A hold without waiting jobs is no longer probed, so its state is unknown.
    """
    if hold.lifted_at is not None or at - hold.ask_at > ASKED_WITHIN:
        return False
    return hold.kind is HoldKind.REFUSAL or at - hold.since >= OUTAGE_AFTER


def sentence(hold: Hold) -> str:
    """Since when GitLab gives no credential, for what, and GitLab's words."""
    since = f"since {hold.since:%F %R} UTC: {hold.words}"
    if hold.kind is HoldKind.OUTAGE:
        return f"GitLab does not answer {since}"
    if hold.kind is HoldKind.PACE:
        return f"GitLab is called as often as allowed {since}"
    of = "".join(
        (
            f" of pool {hold.pool}" if hold.pool else "",
            f" in project {hold.project_id}" if hold.project_id is not None else "",
        )
    )
    what = "the runner token" if hold.shared else "runner records"
    return f"GitLab refuses {what}{of} {since}"


def advice(hold: Hold) -> str:
    """What to do about it. Launches go on by themselves once GitLab gives credentials."""
    if hold.kind is HoldKind.OUTAGE:
        return "nothing if GitLab comes back by itself; else look at its address and the way there"
    if hold.kind is HoldKind.PACE:
        return "nothing; if it lasts, raise calls_per_minute of [gitlab], or GitLab's own limit"
    if hold.shared:
        return "`runner-fleet apply` makes the pool's runner record anew where its token is dead"
    if hold.status == _TOKEN:
        return "make a new token, then `runner-fleet token set`"
    if hold.status in _OWNER:
        return "give the fleet's token the scopes and the role that `runner-fleet validate` names"
    return "if it is a limit, delete unused runners or raise it; else correct the pool and `apply`"


def _words(failure: FleetError, code: int | None) -> str:
    """GitLab's own words where it gave any."""
    words = failure.facts.get("words")
    return (f"{code} {words}" if words else str(failure))[:WORDS_AT_MOST]


def remembered(holds: Iterable[Hold], pool: str, at: datetime) -> tuple[Hold, ...]:
    """The holds that concern a pool's launches in any project, or did lately."""
    return tuple(hold for hold in holds if hold.pool in {None, pool} and hold.is_remembered(at))
