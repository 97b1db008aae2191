"""`runner-fleet logs`: the log of a job, from GitLab."""

from collections.abc import Iterator
from typing import Annotated

import typer

from adapters.aws.clients import clients
from adapters.gitlab.client import GitLab
from adapters.gitlab.job_log import plain
from adapters.gitlab.values import GitLabJob
from cli.commands import DEFAULT_STACK
from cli.failures import sentence
from cli.lines import say, say_log
from cli.options import InJson, Local, Stack, job_named, reach
from fleet.errors import FleetError, Refused, Transient
from fleet.job_event import instance_of
from fleet.model import JobKey, JobStatus, rank
from fleet.rules.runner_record import PREFIX
from operations.explain import JobReference, check_host, no_such_job
from operations.fleet_handle import Deployed, gitlab_of
from operations.machine_log import console_reader, machine_log

EVERY_S = 3.0
WAITING = frozenset({"created", "waiting_for_resource", "preparing", "pending", "scheduled"})

JobOrRunner = Annotated[
    str,
    typer.Argument(
        metavar="JOB|RUNNER",
        help="A job's id, project#id or the address of its page; or a runner's id.",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")]
Raw = Annotated[bool, typer.Option("--raw", help="As the runner sent it, with colours.")]
TokenEnv = Annotated[
    str,
    typer.Option(
        "--gitlab-token-env",
        help="Environment variable with a GitLab token; without it the fleet's own is used.",
    ),
]


def logs(  # noqa: PLR0913  # each is an option of the command
    ctx: typer.Context,
    job: JobOrRunner,
    *,
    follow: Follow = False,
    raw: Raw = False,
    stack: Stack = DEFAULT_STACK,
    _local: Local = False,
    gitlab_token_env: TokenEnv = "GITLAB_TOKEN",  # noqa: S107  # a variable's name
    _as_json: InJson = False,
) -> None:
    """Print a job's log, once or until the job ends.

    Example: runner-fleet logs acme/web#4711 --follow
    """
    if job.startswith(PREFIX):
        _say_machine(reach(ctx, stack), job)
        return
    reference = job_named(job)
    deployed = reach(ctx, stack)
    gitlab = gitlab_of(deployed, gitlab_token_env)
    if gitlab is None:
        raise Refused("there is no GitLab token: put one into GITLAB_TOKEN, or name its variable")
    log = _Log(gitlab, _project_of(deployed, gitlab, reference), reference.job_id)
    try:
        for piece in log.until_its_end(deployed, raw=raw) if follow else log.now(raw=raw):
            say_log(piece, raw=raw)
    except KeyboardInterrupt:
        if not follow:
            raise


def _say_machine(deployed: Deployed, runner_id: str) -> None:
    """Print what the machine of a runner reported."""
    read_console = deployed.read_console or console_reader(clients())
    for line in machine_log(deployed, runner_id, read_console):
        say(line)


def _project_of(deployed: Deployed, gitlab: GitLab, reference: JobReference) -> int:
    """The number of the job's project: from its name, else from the ledger."""
    instance = instance_of(deployed.config().gitlab.url)
    check_host(reference, instance)
    project = reference.project
    if project is not None:
        return int(project) if project.isdecimal() else gitlab.project(project).id
    row = deployed.jobs.row(JobKey(instance=instance, job_id=reference.job_id))
    if row is None:
        name = f"name it as project#{reference.job_id}, or by the address of its page, for its log"
        raise no_such_job(reference, instance, do=name)
    return row.job.project_id


class _Log:
    """The log of one job."""

    def __init__(self, gitlab: GitLab, project_id: int, job_id: int) -> None:
        self._gitlab = gitlab
        self._project_id = project_id
        self._job_id = job_id

    def now(self, *, raw: bool) -> Iterator[str]:
        """The whole log. Raises `Refused` with the reason where there is none."""
        job, text = self._look()
        if not text:
            raise Refused(_why_empty(job))
        yield _whole_lines(text if raw else plain(text))

    def until_its_end(self, deployed: Deployed, *, raw: bool) -> Iterator[str]:
        """The log piece by piece, until GitLab says that the job is over."""
        job, text = self._look()
        _say(_why_empty(job) if job.status in WAITING else "")
        shown = ""
        while True:
            new = text if raw else plain(text)
            if not _is_over(job):
                new = new[: new.rfind("\n") + 1]  # the last line may still change
            elif new:
                new = _whole_lines(new)
            if new != shown:
                yield new.removeprefix(shown)
                shown = new
            if _is_over(job):
                break
            deployed.pause(EVERY_S)
            job, text = self._look_again(deployed)
        if not shown:
            raise Refused(_why_empty(job))
        _say(f"job {self._job_id} ended: {job.status}")

    def _look(self) -> tuple[GitLabJob, str]:
        """The job, then its log: the log of a job that is over is then whole."""
        return self._job(), self._text()

    def _look_again(self, deployed: Deployed) -> tuple[GitLabJob, str]:
        """The same, as soon as GitLab answers."""
        while True:
            try:
                return self._look()
            except Transient as error:
                _say(f"not read: {sentence(error)}")
                wait_s = error.facts.get("retry_after_s")
                deployed.pause(wait_s if isinstance(wait_s, float) else EVERY_S)

    def _job(self) -> GitLabJob:
        job = self._gitlab.job(self._project_id, self._job_id)
        if job is None:
            raise self._unknown()
        return job

    def _text(self) -> str:
        try:
            return self._gitlab.log(self._project_id, self._job_id)
        except FleetError as error:
            if error.facts.get("status") == 404:
                raise self._unknown() from error
            raise

    def _unknown(self) -> Refused:
        return Refused(
            f"GitLab has no job {self._job_id} in project {self._project_id}, "
            "or hides it from this token"
        )


def _is_over(job: GitLabJob) -> bool:
    return rank(job.status) is JobStatus.FINISHED


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _say(text: str) -> None:
    """Print beside the log, for the person who waits."""
    if text:
        say(text, err=True)


def _why_empty(job: GitLabJob) -> str:
    if job.erased_at is not None:
        return f"the log of job {job.id} was erased at {job.erased_at:%F %T} UTC"
    if job.status in WAITING:
        return (
            f"job {job.id} has no log yet: it is {job.status}; "
            f"`runner-fleet explain {job.id}` says what it waits for"
        )
    return f"job {job.id} wrote nothing: it is {job.status}"
