"""Finds a job by what people call it, and everything that `explain` tells of it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from adapters.gitlab.client import GitLab
from adapters.ledger.jobs import JobRow
from adapters.ledger.runners import RunnerRows
from fleet.config.reading import FleetConfig
from fleet.errors import FleetError, Refused
from fleet.job_event import instance_of
from fleet.machine.mailbox import Report
from fleet.model import Job, JobKey, JobStatus, Runner, rank
from fleet.rules.holds import Hold
from fleet.rules.liveness import by_our_clock, steps_between
from fleet.rules.problems import ignored
from fleet.rules.route import Pending, decide_route
from fleet.trouble import Trouble
from operations.deployed import Deployed
from operations.trail import Trail, hops_of, launched_for, sentence_of, word_of
from operations.verdict import JobFacts, verdict

_URL = re.compile(r"https?://.+?/(?P<project>[^/?#].*?)/-/jobs/(?P<job>\d+)")
_NAMED = re.compile(r"(?:(?P<project>[\w./-]+)#)?(?P<job>\d+)")
CHECKS = (
    "`runner-fleet webhook list`: is the project's or group's webhook there, and executable?",
    "[gitlab.watch] in fleet.toml: is the project watched? then lost webhooks do no harm",
    "the ledger keeps a job for 30 days after its last change",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReference:
    """The job that was asked for. `project` is an id or a path, when it was named."""

    job_id: int
    project: str | None
    host: str | None  # of a URL


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """The ledger has no such job: what GitLab says of it, and what to look at."""

    says: str
    checks: tuple[str, ...]


def read_asked(text: str) -> JobReference:
    """A job id, `project#id`, or the address of a job's page. `Refused` for anything else."""
    by_url = _URL.match(text)
    found = by_url or _NAMED.fullmatch(text)
    if found is None:
        raise Refused("name the job by its id, as project#id, or by the address of its page")
    try:
        host = instance_of(text) if by_url else None
    except ValueError as error:
        raise Refused("this is no address of a job's page") from error
    return JobReference(job_id=int(found["job"]), project=found["project"], host=host)


def explain_job(
    deployed: Deployed, asked: JobReference, gitlab: Callable[[], GitLab | None]
) -> Trail | Unknown:
    """All that is known of a job. `gitlab` is called only for jobs that the ledger lacks."""
    config = deployed.config()
    instance = instance_of(config.gitlab.url)
    if asked.host not in (None, instance):
        raise Refused("this fleet serves another GitLab", serves=instance, asked=asked.host)
    row = deployed.jobs.row(JobKey(instance=instance, job_id=asked.job_id))
    if row is None:
        return _unknown(asked, instance, config, gitlab(), _trouble(deployed))
    job = row.job
    if not _is_meant(asked, job):
        raise Refused(f"job {job.job_id} is of another project", project=job.project_path)
    return _trail(deployed, config, row)


def _is_meant(asked: JobReference, job: Job) -> bool:
    """Whether it is of the project that was named; GitLab's paths know no case."""
    if asked.project in (None, str(job.project_id)) or not job.project_path:
        return True  # where its path is not known, a path says nothing against it
    return str(asked.project).lower() == job.project_path.lower()


def _trail(deployed: Deployed, config: FleetConfig, row: JobRow) -> Trail:
    at = deployed.clock()
    job = row.job
    runners = RunnerRows(deployed.table, job.key.instance)
    is_over = job.status is JobStatus.FINISHED
    is_sought = job.runner_id is None and not is_over
    shown = runners.live(job.pool) if job.pool and is_sought else ()
    living = tuple(by_our_clock(one, at) for one in shown)
    runner = _runner(runners, row, living, at)
    is_its = runner is not None and runner.job in (None, job.key)
    report = _report(runners, runner, at) if runner and is_its else None
    pool_row = deployed.fleet.pool(job.pool) if job.pool else None
    pool = config.pool(job.pool) if job.pool else None
    idle = ignored(job, living, at)
    hold = _hold(deployed, job) if is_sought and job.pool else None
    last = verdict(
        JobFacts(
            at=at,
            row=row,
            trouble=_trouble(deployed),
            pool=pool,
            pool_row=pool_row,
            runner=runner,
            hold=hold,
            idle=idle,
        )
    )
    ended = row.finished_at or (row.changed_at if is_over else None)
    return Trail(
        job_id=job.job_id,
        name=job.name,
        project=job.project_path or str(job.project_id),
        tags=job.tags,
        status=word_of(row),
        pool=job.pool,
        attempt=job.attempt,
        runner_id=job.runner_id or (runner.id if runner else None),
        machine=row.machine or (runner.machine_id if runner else None),
        waited_s=_between(job.pending_at, row.started_at or ended or at),
        ran_s=_between(row.started_at, ended or at),
        hops=hops_of(row, report, _served_others(runners, row)),
        verdict=last.says,
        do=last.do,
    )


def _hold(deployed: Deployed, job: Job) -> Hold | None:
    """What keeps machines for a job from getting a credential; the widest of these."""
    holds = (one for one in deployed.fleet.holds() if one.lifted_at is None)
    mine = [one for one in holds if one.concerns(job.pool or "", job.project_id)]
    return min(mine, key=lambda one: (one.scope.count(None) * -1, one.since), default=None)


def _served_others(runners: RunnerRows, row: JobRow) -> dict[str, int]:
    """The jobs that the runners took which were launched for this one, by runner."""
    jobs = {name: runners.job_of(name) for name in launched_for(row)}
    return {name: job.job_id for name, job in jobs.items() if job and job != row.job.key}


def _runner(
    runners: RunnerRows, row: JobRow, living: Iterable[Runner], at: datetime
) -> Runner | None:
    """The live runner that has the job, else the youngest one that was launched for it."""
    job = row.job
    if job.runner_id is not None:
        found = runners.find(job.runner_id)
        return by_our_clock(found, at) if found else None
    mine = [one for one in living if job.key in (one.job, one.for_job)]
    return max(mine, key=lambda one: (one.job == job.key, one.launched_at), default=None)


def _report(runners: RunnerRows, runner: Runner, at: datetime) -> Report | None:
    """What its machine told, its steps by our clock."""
    report = runners.reports([runner]).get(runner.id)
    if report is None:
        return None
    return replace(report, steps=steps_between(report.steps, start=runner.launched_at, end=at))


def _trouble(deployed: Deployed) -> Trouble | None:
    """Why the fleet can ask GitLab nothing at all, if so."""
    return next((one for one in deployed.fleet.troubles() if one.is_general), None)


def _unknown(
    asked: JobReference,
    instance: str,
    config: FleetConfig,
    gitlab: GitLab | None,
    trouble: Trouble | None,
) -> Unknown:
    says = f"the ledger has no job {asked.job_id} of {instance}"
    if trouble is not None:
        return Unknown(says=f"{says}; {trouble.says}", checks=(trouble.do, *CHECKS[2:]))
    if gitlab is None:
        hint = "put a GitLab token into GITLAB_TOKEN to have GitLab asked"
        return Unknown(says=says, checks=(hint, *CHECKS))
    if asked.project is None:
        hint = f"name it as project#{asked.job_id} to have GitLab asked"
        return Unknown(says=says, checks=(hint, *CHECKS))
    told, is_lost = _gitlab_says(asked, config, gitlab)
    return Unknown(says=f"{says}; {told}", checks=CHECKS if is_lost else ())


# Jobs that no webhook is owed for yet, or ever: GitLab's word, and what it means.
NEVER_PENDING = {
    "created": "it waits for jobs before it, and the fleet hears of it when it is pending",
    "manual": "it waits for a person to start it in GitLab",
    "scheduled": "it is delayed: GitLab starts it at its time",
    "preparing": "GitLab prepares it, and the fleet hears of it when it is pending",
    "waiting_for_resource": "another job holds its resource_group",
    "waiting_for_callback": "it waits for an answer from outside GitLab",
    "skipped": "it was skipped, as a job before it failed or its rules say so: nothing runs it",
}


def _gitlab_says(asked: JobReference, config: FleetConfig, gitlab: GitLab) -> tuple[str, bool]:
    """What GitLab knows of a job that the ledger lacks, and whether a webhook may be lost."""
    assert asked.project is not None
    try:
        project = gitlab.project(asked.project)
        found = gitlab.job(project.id, asked.job_id)
    except FleetError as error:
        if error.facts.get("status") != 404:
            return str(error), True
        return f"GitLab has no project {asked.project}, or hides it from this token", True
    if found is None:
        return f"GitLab has no such job in {project.path} either", True
    told = f"GitLab says {found.status}, with the tags {', '.join(found.tags) or '(none)'}"
    if found.status in NEVER_PENDING:
        return f"{told}: {NEVER_PENDING[found.status]}", False
    if found.status == "canceled" and found.started_at is None:
        return f"{told}: it was cancelled before a runner took it", False
    plan = decide_route(
        Pending(tags=found.tags, status=rank(found.status), has_runner=found.runner_id is not None),
        config.pools,
    )
    if plan.pool is None:
        return f"{told}: {sentence_of(plan.reason)}", True
    return f"{told}: it would go to pool {plan.pool}, so its webhook did not come", True


def _between(since: datetime | None, until: datetime) -> float | None:
    return None if since is None else max(0.0, (until - since).total_seconds())
