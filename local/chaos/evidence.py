"""What a run leaves behind, and the machines and histories that the judge reads."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from adapters.ledger.recent import newest
from fleet.model import JobKey, JobStatus
from local.chaos.gitlab_eye import JobSeen
from local.chaos.judge import Lived, is_over
from local.chaos.observer import Observer
from local.laptop import Laptop
from operations.trail import words_of

POOLS = ("docker", "node")
RECENT = 400


def leaked(laptop: Laptop, jobs: Iterable[JobSeen]) -> Mapping[str, int]:
    """How many of each kind are left, by name."""
    left = laptop.left()
    ended = [job for job in jobs if is_over(job)]
    keys = [JobKey(instance=laptop.instance, job_id=job.id) for job in ended]
    rows = laptop.job_rows.jobs(keys).values()
    return {
        "instances": left.instances,
        "runner records": left.runners,
        "messages": left.messages,
        "processes": left.processes,
        "live runner rows": sum(len(laptop.runner_rows.live(pool)) for pool in POOLS),
        "open job rows": sum(row.status is not JobStatus.FINISHED for row in rows),
    }


def machines_since(laptop: Laptop, at: datetime, observer: Observer) -> tuple[Lived, ...]:
    """Every machine that was launched since `at`, those that still live included."""
    ended = newest(laptop.table, "runner", RECENT)
    rows = {item["id"]: item for item in ended if item.get("machine_id")}
    lived = [
        Lived(
            runner_id=name,
            machine_id=item["machine_id"],
            launched_at=datetime.fromisoformat(item["launched_at"]),
            gone_at=observer.last_seen(item["machine_id"], name)
            or datetime.fromisoformat(item["ended_at"]),
        )
        for name, item in rows.items()
    ]
    for pool in POOLS:
        for runner in laptop.runner_rows.live(pool):
            if runner.machine_id:
                last_seen = observer.last_seen(runner.machine_id, runner.id) or runner.launched_at
                lived.append(
                    Lived(
                        runner_id=runner.id,
                        machine_id=runner.machine_id,
                        launched_at=runner.launched_at,
                        gone_at=last_seen,
                    )
                )
    return tuple(machine for machine in lived if machine.launched_at >= at)


def trail(laptop: Laptop, jobs: Iterable[JobSeen]) -> tuple[str, ...]:
    """The history of each job in the ledger, a line for each step."""
    lines = []
    for job in jobs:
        row = laptop.job_rows.row(JobKey(instance=laptop.instance, job_id=job.id))
        waited = job.waited_s()
        wait = "was never taken" if waited is None else f"waited {waited:.1f} s"
        lines.append(f"job {job.id} {job.name} [{job.tag}] is {job.status}, {wait}, {job.runner}")
        for step in row.steps if row else ():
            words = " ".join(word for word in (step.reason, words_of(step)) if word)
            lines.append(f"  {step.at:%H:%M:%S.%f} {step.name:18} {words}")
    return tuple(lines)
