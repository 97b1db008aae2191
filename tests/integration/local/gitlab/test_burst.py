"""Many jobs, many machines, many deliveries: each job once, each hook once and in order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from local.gitlab.states import Status
from tests.integration.local.gitlab.machine import Machine
from tests.integration.local.gitlab.receiver import Receiver
from tests.integration.local.gitlab.site import Site

JOBS = 100
MACHINES = 6
CI = f"""
    stages: [first, second]
    many: {{stage: first, parallel: {JOBS // 2}, tags: [ec2], script: [x]}}
    more: {{stage: second, parallel: {JOBS // 2}, tags: [ec2], script: [x]}}
"""


def jobs_left(site: Site) -> int:
    """How many jobs are not over."""
    waiting = (Status.CREATED, Status.PENDING, Status.RUNNING)
    return site.server.ask(
        lambda world: sum(
            len(world.accounts.projects[1].by_status.get(status, ())) for status in waiting
        )
    )


def drain(site: Site, token: str) -> list[int]:
    """Take and finish jobs with several machines until none is left; the ids of the jobs."""

    def work(number: int) -> list[int]:
        done = []
        with Machine(site.server.url, token, system_id=f"s_{number}") as machine:
            while jobs_left(site):
                answer = machine.ask()
                if answer.status_code == 201:
                    job = answer.json()
                    assert machine.append(job, b"log\n").status_code == 202
                    assert machine.report(job, "success").status_code == 200
                    done.append(int(job["id"]))
        return done

    with ThreadPoolExecutor(MACHINES) as pool:
        return [number for numbers in pool.map(work, range(MACHINES)) for number in numbers]


def test_jobs_run_once_stage_by_stage_with_each_hook_once_and_in_order(
    site: Site, receiver: Receiver
) -> None:
    seeded = site.start("gate: {script: [x], when: manual}\n")
    hooks = site.project(seeded).hooks
    hooks.create({"url": receiver.url, "job_events": True, "push_events": False})
    site.start(CI)
    taken = drain(site, site.register("ec2"))
    assert sorted(taken) == list(range(2, JOBS + 2))
    assert list(site.statuses().values()).count("success") == JOBS
    states: dict[int, list[str]] = {}
    for delivery in receiver.wait_for_count(4 * JOBS):
        number, state = delivery.summary
        states.setdefault(number, []).append(state)
    assert sorted(states) == sorted(taken)
    for item in states.values():
        assert item == ["created", "pending", "running", "success"]
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


def test_long_polling_holds_the_call_while_the_queue_is_unchanged(
    open_site: Callable[..., Site],
) -> None:
    site = open_site(long_poll_s=0.3)
    with Machine(site.server.url, site.register("ec2")) as machine:
        version = machine.ask().headers["x-gitlab-last-update"]
        held = machine.ask(last_update=version)
    assert held.status_code == 204
    assert held.elapsed.total_seconds() >= 0.3
