"""What `explain` answers: the job that a person names, with its history and its last line."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapters.gitlab.client import GitLab
from adapters.ledger.jobs import JobRow
from adapters.ledger.runners import RunnerRows
from fleet.config.model import PoolConfig
from fleet.config.reading import FleetConfig
from fleet.errors import FleetError, Refused
from fleet.job_event import instance_of
from fleet.machine.mailbox import Report
from fleet.model import Job, JobKey, JobStatus, Runner, rank
from fleet.rules.controls import ceiling_of, in_force, pause_of
from fleet.rules.liveness import by_our_clock, steps_between
from fleet.rules.problems.jobs import idle_beside
from fleet.rules.right_size import HINTS, SizeHint, decide_fit, size_of_machine
from fleet.rules.route import Pending, decide_route
from fleet.rules.standing import JobFacts, diagnose, widest
from fleet.times import seconds_between
from fleet.trouble import Trouble
from fleet.usage import Usage
from operations.fleet_handle import Deployed
from operations.last_line import last_line
from operations.trail import Trail, hops_of, launched_for, sentence_of, word_of

_URL = re.compile(r"https?://.+?/(?P<project>[^/?#].*?)/-/jobs/(?P<job>\d+)")
_NAMED = re.compile(r"(?:(?P<project>[\w./-]+)#)?(?P<job>\d+)")
CHECKS = (
    "check with `runner-fleet webhook list` that the project or group has a webhook that GitLab"
    " calls (executable)",
    "name the project in [gitlab.watch] of fleet.toml: lost webhooks then do no harm",
    "the ledger keeps a job for 30 days after its last change",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReference:
    """The job that a person names. `project`: an id or a path; None: the person names none."""

    job_id: int
    project: str | None
    host: str | None  # of the job's address


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownJob:
    """A job that the ledger lacks: what GitLab says of it, and what to check."""

    says: str
    checks: tuple[str, ...]


def read_reference(text: str) -> JobReference:
    """A job id, `project#id`, or the address of a job's page. `Refused` for anything else."""
    by_url = _URL.match(text)
    name = by_url or _NAMED.fullmatch(text)
    if name is None:
        raise Refused("name the job by its id, as project#id, or by the address of its page")
    try:
        host = instance_of(text) if by_url else None
    except ValueError as error:
        raise Refused("copy the address of the job's page from the browser") from error
    return JobReference(job_id=int(name["job"]), project=name["project"], host=host)


def check_host(reference: JobReference, instance: str) -> None:
    """Raise `Refused` for the address of another GitLab than the fleet's."""
    if reference.host not in (None, instance):
        raise Refused(
            f"this fleet serves {instance}, not {reference.host}: name that GitLab's fleet with"
            " --stack"
        )


def no_such_job(reference: JobReference, instance: str, *, do: str = "") -> Refused:
    """The error of a command about a job that the ledger lacks; `do`: what else helps there."""
    project = f"{reference.project}#" if reference.project else ""
    asks = f"`runner-fleet explain {project}{reference.job_id}` says why, and what to check"
    says = f"the ledger has no job {reference.job_id} of {instance}"
    return Refused("; ".join(part for part in (f"{says}: {asks}", do) if part))


def explain_job(
    deployed: Deployed, reference: JobReference, gitlab: Callable[[], GitLab | None]
) -> Trail | UnknownJob:
    """A job's history. `gitlab` is called only for jobs that the ledger lacks.

    Raises `Refused` for a job of another GitLab or project than the person names.
    """
    config = deployed.config()
    instance = instance_of(config.gitlab.url)
    check_host(reference, instance)
    row = deployed.jobs.row(JobKey(instance=instance, job_id=reference.job_id))
    if row is None:
        return _unknown(reference, instance, config, gitlab(), _trouble(deployed))
    job = row.job
    if not _is_meant(reference, job):
        raise Refused(f"job {job.job_id} is of project {job.project_path}: name that project")
    return _trail(deployed, config, row)


def _is_meant(reference: JobReference, job: Job) -> bool:
    """Whether it is of the project that the person names. GitLab's paths have no case."""
    if reference.project in (None, str(job.project_id)) or not job.project_path:
        return True  # without the job's own path there is nothing to compare
    return str(reference.project).lower() == job.project_path.lower()


def _trail(deployed: Deployed, config: FleetConfig, row: JobRow) -> Trail:
    at = deployed.clock()
    job = row.job
    runners = RunnerRows(deployed.table, deployed.mailboxes, job.key.instance)
    is_over = job.status is JobStatus.FINISHED
    is_sought = job.runner_id is None and not is_over
    rows = runners.live(job.pool) if job.pool and is_sought else ()
    living = tuple(by_our_clock(runner, at) for runner in rows)
    runner = _runner(runners, row, living, at)
    serves_it = runner is not None and runner.job in (None, job.key)
    report = _report(runners, runner, at) if runner and serves_it else None
    pool_row = deployed.fleet.shown_pool(job.pool) if job.pool else None
    controls = in_force(deployed.fleet.controls(), at) if is_sought else ()
    pool = config.pool(job.pool) if job.pool else None
    facts = JobFacts(
        at=at,
        job=job,
        steps=row.steps,
        failure=row.failure_reason,
        torn_down_after=_torn_down_after(row),
        pool=pool,
        pause=pause_of(controls, job.pool) if job.pool else None,
        ceiling=ceiling_of(controls, pool.name, pool.ceiling) if pool else None,
        back_off=pool_row.back_off if pool_row else {},
        trouble=_trouble(deployed),
        hold=widest(deployed.fleet.holds(), job) if is_sought and job.pool else None,
        runner=runner,
        idle=idle_beside(job, living, at),
    )
    diagnosis = diagnose(facts)
    last = last_line(facts, diagnosis, refused=pool_row.refused if pool_row else None)
    ended = row.finished_at or (row.changed_at if is_over else None)
    usage = _usage(row, report)
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
        waited_s=seconds_between(job.pending_at, row.started_at or ended or at),
        ran_s=seconds_between(row.started_at, ended or at),
        hops=hops_of(row, report, _served_others(runners, row), _made_for(runners, job)),
        standing=diagnosis.standing.value,
        verdict=last.sentence,
        do=last.do,
        size_hint=_size_hint(row, usage, pool),
        usage=usage,
    )


def _usage(row: JobRow, report: Report | None) -> Usage | None:
    """What the job used of its last machine, by the machine's own report."""
    steps = [*row.steps, *(report.steps if report else ())]
    usages = [step.usage for step in steps if step.usage is not None]
    return usages[-1] if usages else None


def _size_hint(row: JobRow, usage: Usage | None, pool: PoolConfig | None) -> str | None:
    """Whether another size of machine is better, by what the job used of its own."""
    if usage is None or row.capacity is None:
        return None
    ran_s = seconds_between(row.started_at, row.finished_at)
    fit = decide_fit(usage, size_of_machine(pool, row.capacity), ran_s)
    return HINTS[fit] if fit in {SizeHint.SMALLER, SizeHint.LARGER} else None


def _torn_down_after(row: JobRow) -> timedelta | None:
    """How long the machine outlived the job; None: it may be there still."""
    if row.torn_down_at is None or row.finished_at is None:
        return None
    return row.torn_down_at - row.finished_at


def _served_others(runners: RunnerRows, row: JobRow) -> dict[str, int]:
    """The jobs that the runners launched for this one took, by runner."""
    jobs = {name: runners.job_taken_by(name) for name in launched_for(row)}
    return {name: job.job_id for name, job in jobs.items() if job and job != row.job.key}


def _made_for(runners: RunnerRows, job: Job) -> dict[str, int]:
    """The runner that took the job, and the other job that it was launched for."""
    if job.runner_id is None:
        return {}
    origin = runners.launched_for(job.runner_id)
    return {job.runner_id: origin.job_id} if origin and origin != job.key else {}


def _runner(
    runners: RunnerRows, row: JobRow, living: Iterable[Runner], at: datetime
) -> Runner | None:
    """The live runner that has the job, else the youngest one that was launched for it."""
    job = row.job
    if job.runner_id is not None:
        try:
            runner = runners.find(job.runner_id)
        except Refused:
            return None  # its row cannot be read: `status` says so
        return by_our_clock(runner, at) if runner else None
    own = [runner for runner in living if job.key in (runner.job, runner.for_job)]
    return max(own, key=lambda runner: (runner.job == job.key, runner.launched_at), default=None)


def _report(runners: RunnerRows, runner: Runner, at: datetime) -> Report | None:
    """The report of its machine, with its steps dated by our clock."""
    report = runners.reports([runner]).get(runner.id)
    if report is None:
        return None
    return replace(report, steps=steps_between(report.steps, start=runner.launched_at, end=at))


def _trouble(deployed: Deployed) -> Trouble | None:
    """The reason why the fleet can ask GitLab nothing at all, if there is one."""
    return next((trouble for trouble in deployed.fleet.troubles() if trouble.is_general), None)


def _unknown(
    reference: JobReference,
    instance: str,
    config: FleetConfig,
    gitlab: GitLab | None,
    trouble: Trouble | None,
) -> UnknownJob:
    sentence = f"the ledger has no job {reference.job_id} of {instance}"
    if trouble is not None:
        return UnknownJob(says=f"{sentence}; {trouble.says}", checks=(trouble.do, *CHECKS[2:]))
    if gitlab is None:
        hint = "put a GitLab token into GITLAB_TOKEN to have GitLab asked"
        return UnknownJob(says=sentence, checks=(hint, *CHECKS))
    if reference.project is None:
        hint = f"name it as project#{reference.job_id} to have GitLab asked"
        return UnknownJob(says=sentence, checks=(hint, *CHECKS))
    answer, is_lost = _ask_gitlab(reference, config, gitlab)
    return UnknownJob(says=f"{sentence}; {answer}", checks=CHECKS if is_lost else ())


# GitLab's word for a job that needs no webhook, yet or ever, and what it means.
NEVER_PENDING = {
    "created": "it waits for jobs before it, and its webhook comes when it is pending",
    "manual": "it waits for a person to start it in GitLab",
    "scheduled": "it is delayed: GitLab starts it at its time",
    "preparing": "GitLab prepares it, and its webhook comes when it is pending",
    "waiting_for_resource": "another job holds its resource_group",
    "waiting_for_callback": "it waits for an answer from outside GitLab",
    "skipped": "a job before it failed or its rules skip it: nothing runs it",
}


def _ask_gitlab(reference: JobReference, config: FleetConfig, gitlab: GitLab) -> tuple[str, bool]:
    """GitLab's word about a job that the ledger lacks, and whether its webhook may be lost."""
    assert reference.project is not None
    try:
        project = gitlab.project(reference.project)
        job = gitlab.job(project.id, reference.job_id)
    except FleetError as error:
        if error.facts.get("status") != 404:
            return str(error), True
        return f"GitLab has no project {reference.project}, or hides it from this token", True
    if job is None:
        return f"GitLab has no such job in {project.path} either", True
    sentence = f"GitLab says {job.status}, with the tags {', '.join(job.tags) or '(none)'}"
    if job.status in NEVER_PENDING:
        return f"{sentence}: {NEVER_PENDING[job.status]}", False
    if job.status == "canceled" and job.started_at is None:
        return f"{sentence}: it was cancelled before a runner took it", False
    plan = decide_route(
        Pending(tags=job.tags, status=rank(job.status), has_runner=job.runner_id is not None),
        config.pools,
    )
    if plan.pool is None:
        return f"{sentence}: {sentence_of(plan.reason)}", True
    return f"{sentence}: it belongs to pool {plan.pool}, so its webhook was lost", True
