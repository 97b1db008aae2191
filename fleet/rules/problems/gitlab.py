"""Problems with GitLab: its token, its webhooks, credentials that it does not give."""

from collections.abc import Iterator
from datetime import datetime

from fleet.holds import Hold, HoldKind
from fleet.rules.holds import advice, is_problem, sentence
from fleet.rules.problems.facts import FleetFacts
from fleet.rules.problems.kinds import Problem, ProblemKind
from fleet.trouble import DO_RENEW, TLS, TOKEN, ends_soon

# As many jobs, and no webhook of any, are no accident.
SILENT_JOBS = 3


def troubles(facts: FleetFacts) -> Iterator[Problem]:
    """GitLab refuses calls until a person acts, or the fleet's token is about to expire."""
    for trouble in facts.troubles:
        kind = ProblemKind.GITLAB_UNUSABLE
        yield Problem(kind=kind, what=trouble.says, do=trouble.do, example=trouble.call)
    if ends_soon(facts.token_ends_on, facts.at):
        what = f"the fleet's GitLab token expires on {facts.token_ends_on}"
        yield Problem(kind=ProblemKind.TOKEN_ENDS, what=what, do=DO_RENEW)


def unhealthy_hooks(facts: FleetFacts) -> Iterator[Problem]:
    """Webhooks that GitLab disabled, or that are not as the fleet made them."""
    for hook in facts.hooks:
        yield Problem(
            kind=ProblemKind.WEBHOOK_UNHEALTHY,
            what=f"webhook of {hook.scope}: {hook.detail or 'unhealthy'}",
            do="run `runner-fleet webhook register` for it again",
            example=str(hook.scope),
        )


def silent_hooks(facts: FleetFacts) -> Iterator[Problem]:
    """No webhook arrives while jobs run: it is missing, or GitLab cannot reach the stack."""
    polled = [job for job in facts.discoveries if job.is_listed]
    if len(polled) < SILENT_JOBS or any(job.by_webhook for job in facts.discoveries):
        return
    yield Problem(
        kind=ProblemKind.WEBHOOK_SILENT,
        what=f"no webhook arrived for any of the last {len(facts.discoveries)} jobs: all were found"
        " in GitLab's list, which is read once a minute",
        do="`runner-fleet webhook list` says whether there is one; else `webhook register`",
        count=len(polled),
    )


def held_launches(facts: FleetFacts) -> Iterator[Problem]:
    """The holds; the projects that GitLab refuses are one problem."""
    known = {trouble.kind for trouble in facts.troubles}  # they have a problem of their own
    active = (
        hold for hold in facts.holds if is_problem(hold, facts.at) and _cause(hold) not in known
    )
    holds = sorted(active, key=_hold_order)
    of_projects = [hold for hold in holds if hold.project_id is not None]
    for hold in [hold for hold in holds if hold.project_id is None] + of_projects[:1]:
        others = of_projects[1:] if hold.project_id is not None else []
        more = f"; and {len(others)} more are refused" if others else ""
        yield Problem(
            kind=ProblemKind.NO_CREDENTIAL,
            what=f"{sentence(hold)}; jobs wait{more}",
            do=advice(hold),
            count=1 + len(others),
            example=hold.pool or str(hold.project_id or ""),
        )


def _cause(hold: Hold) -> str | None:
    """The kind of trouble that a hold follows from, where that is known."""
    if hold.kind is HoldKind.REFUSAL:
        return TOKEN if hold.status == 401 and not hold.shared else None
    return TLS if hold.status is None else None


def _hold_order(hold: Hold) -> tuple[datetime, str]:
    return hold.since, str(hold.scope)
