"""Many jobs, many machines, many deliveries: nothing twice, nothing lost."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from local.gitlab.states import Status
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import Receiver
from tests.integration.local.gitlab.site import Site

JOBS = 200
MACHINES = 8
CI = f"""
    stages: [first, second]
    many: {{stage: first, parallel: {JOBS // 2}, tags: [ec2], script: [x]}}
    more: {{stage: second, parallel: {JOBS // 2}, tags: [ec2], script: [x]}}
"""


def left(site: Site) -> int:
    """How many jobs are not over."""
    waiting = (Status.CREATED, Status.PENDING, Status.RUNNING)
    return site.server.ask(
        lambda world: sum(
            len(world.accounts.projects[1].by_status.get(status, ())) for status in waiting
        )
    )


def drain(site: Site, token: str) -> list[int]:
    """Let machines take and finish jobs until there are none; the ids in order of taking."""

    def work(number: int) -> list[int]:
        done = []
        with Machine(site.server.url, token, system_id=f"s_{number}") as machine:
            while left(site):
                answer = machine.ask()
                if answer.status_code == 201:
                    job = answer.json()
                    assert machine.append(job, b"log\n").status_code == 202
                    assert machine.report(job, "success").status_code == 200
                    done.append(int(job["id"]))
        return done

    with ThreadPoolExecutor(MACHINES) as pool:
        return [number for numbers in pool.map(work, range(MACHINES)) for number in numbers]


def test_jobs_run_once_stage_by_stage_and_are_told_of_once(site: Site, receiver: Receiver) -> None:
    seeded = site.start("gate: {script: [x], when: manual}\n")
    hooks = site.project(seeded).hooks
    hooks.create({"url": receiver.url, "job_events": True, "push_events": False})
    site.start(CI)
    taken = drain(site, site.register("ec2"))
    assert sorted(taken) == list(range(2, JOBS + 2))
    assert site.count(Status.SUCCESS) == JOBS
    received = receiver.wait_for_count(4 * JOBS)
    told = Counter(delivery.summary for delivery in received)
    assert set(told.values()) == {1}
    assert len(told) == 4 * JOBS
    assert site.project(seeded).pipelines.get(2).status == "success"
    assert max(end for _, end in times(site, "many")) <= min(at for at, _ in times(site, "more"))


def times(site: Site, name: str) -> list[tuple[datetime, datetime]]:
    """Start and end of the jobs whose names begin so."""
    return site.server.ask(
        lambda world: [
            (job.started_at, job.finished_at)
            for job in world.ci.jobs.values()
            if job.spec.name.startswith(name) and job.started_at and job.finished_at
        ]
    )
