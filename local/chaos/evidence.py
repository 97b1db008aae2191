"""The evidence of a run: what it leaves behind, its machines, its jobs' histories."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from adapters.ledger.recent import newest
from fleet.model import JobKey, JobStatus
from local.chaos.fleet_file import POOLS
from local.chaos.gitlab_eye import ObservedJob
from local.chaos.judge import MachineLife, is_over
from local.chaos.observer import Observer
from local.laptop import Laptop
from operations.trail import words_of

RECENT = 400


def leaked(laptop: Laptop, jobs: Iterable[ObservedJob]) -> Mapping[str, int]:
    """How many of each kind are left, by name."""
    remains = laptop.remains()
    ended = [job for job in jobs if is_over(job)]
    keys = [JobKey(instance=laptop.instance, job_id=job.id) for job in ended]
    rows = laptop.job_rows.jobs(keys).values()
    return {
        "instances": remains.instances,
        "runner records": remains.runners,
        "messages": remains.messages,
        "processes": remains.processes,
        "live runner rows": sum(len(laptop.runner_rows.live(pool)) for pool in POOLS),
        "open job rows": sum(row.status is not JobStatus.FINISHED for row in rows),
    }


def machines_since(laptop: Laptop, at: datetime, observer: Observer) -> tuple[MachineLife, ...]:
    """Every machine that was launched since `at`, those that still live included."""
    ended = newest(laptop.table, "runner", RECENT)
    rows = {item["id"]: item for item in ended if item.get("machine_id")}
    machines = [
        MachineLife(
            runner_id=name,
            machine_id=item["machine_id"],
            launched_at=datetime.fromisoformat(item["launched_at"]),
            gone_at=observer.last_seen(item["machine_id"], name)
            or datetime.fromisoformat(item["ended_at"]),
        )
        for name, item in rows.items()
    ]
    machines += [
        MachineLife(
            runner_id=runner.id,
            machine_id=runner.machine_id,
            launched_at=runner.launched_at,
            gone_at=observer.last_seen(runner.machine_id, runner.id) or runner.launched_at,
        )
        for pool in POOLS
        for runner in laptop.runner_rows.live(pool)
        if runner.machine_id
    ]
    return tuple(machine for machine in machines if machine.launched_at >= at)


def trail(laptop: Laptop, jobs: Iterable[ObservedJob]) -> tuple[str, ...]:
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
