"""Facts to try the rules on: one pool, at one time, in a few words each."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet.machine.mailbox import Credential
from fleet.model import Job, JobKey, JobStatus, Limits, Runner, RunnerState, Snapshot

Facts = dict[str, Any]

AT = datetime(2026, 8, 20, 9, 0, tzinfo=UTC)

LIMITS = Limits(
    ceiling=5,
    idle_target=0,
    idle_time_s=300,
    launch_at_most=10,
    attempts=3,
    boot_deadline_s=300,
    stalled_after_s=300,
)


def ago(seconds: float) -> datetime:
    """The time so many seconds before `AT`."""
    return AT - timedelta(seconds=seconds)


def key(job_id: int) -> JobKey:
    return JobKey(instance="gitlab.example.com", job_id=job_id)


def job(job_id: int, *, project: int = 1, waits_s: float = 60, **facts: Any) -> Job:
    """A job that waits in the pool `docker`."""
    waiting = Job(
        key=key(job_id),
        project_id=project,
        project_path=f"acme/p{project}",
        name="test",
        tags=("docker",),
        status=JobStatus.PENDING,
        outcome=None,
        pending_at=ago(waits_s),
        pool="docker",
    )
    return replace(waiting, **facts)


def jobs(count: int, *, project: int = 1) -> tuple[Job, ...]:
    """So many jobs of one project, oldest first."""
    return tuple(job(100 * project + i, project=project, waits_s=900 - i) for i in range(count))


def runner(
    name: str, state: RunnerState = RunnerState.IDLE, *, since_s: float = 60, **facts: Any
) -> Runner:
    """A runner that is in its state for so long; it can drain, unless only requested."""
    alive = Runner(
        id=name,
        pool="docker",
        backend="ec2",
        state=state,
        launched_at=ago(since_s),
        expires_at=AT + timedelta(hours=3),
        launch_id=f"launch-{name}",
        changed_at=ago(since_s),
        mailbox=None if state is RunnerState.REQUESTED else f"mailbox-{name}",
    )
    return replace(alive, **facts)


def idle(count: int, *, since_s: float = 60, **facts: Any) -> tuple[Runner, ...]:
    """So many idle runners, `idle-0` idle for longest."""
    return tuple(runner(f"idle-{i}", since_s=since_s + count - i, **facts) for i in range(count))


def booting(count: int, *, since_s: float = 60, **facts: Any) -> tuple[Runner, ...]:
    """So many runners that were launched and not heard of."""
    state = RunnerState.IN_FLIGHT
    return tuple(
        runner(f"booting-{i}", state, since_s=since_s + count - i, **facts) for i in range(count)
    )


def busy(count: int, *, project: int = 1, since_s: float = 60) -> tuple[Runner, ...]:
    """So many runners at work for one project."""
    return tuple(
        runner(
            f"busy-{project}-{i}",
            RunnerState.BUSY,
            since_s=since_s,
            job=key(9000 + i),
            works_for=project,
        )
        for i in range(count)
    )


def snapshot(backlog: tuple[Job, ...] = (), *runners: Runner, **facts: Any) -> Snapshot:
    """The pool at `AT`."""
    facts_of = Snapshot(at=AT, pool="docker", backlog=backlog, runners=runners)
    return replace(facts_of, **facts)


def credential(**facts: Any) -> Credential:
    """All that a shell runner of the pool `docker` needs."""
    plain = Credential(
        runner_id="rf-1",
        pool="docker",
        url="https://gitlab.example.com",
        token="glrt-secret",
        executor="shell",
        wait_timeout_s=60,
        expires_at=AT + timedelta(hours=3),
        name="rf-1",
    )
    return replace(plain, **facts)
