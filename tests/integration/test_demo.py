"""The main job, end to end: the demo itself, in the process that the tests run in."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.model import JobKey
from local.canaries import TOKENS, exposed_secrets, searched_texts, secrets_of
from local.demo.project import EXPECTED, PATH, UNSERVED
from local.demo.run import Demo, DemoResult
from local.laptop import Laptop

OF_A_JOB = "glcbt-"  # its own token, which Git gets from the runner
CANARY = "canary-4f1d9c27e06b"  # a masked variable of the demo's project
SAMPLE_EVERY_S = 0.05


class Processes:
    """Arguments and environments of the processes of jobs and machines, while they run."""

    def __init__(self, laptop: Laptop) -> None:
        self._mark = str(laptop.data).encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.arguments: set[str] = set()  # of every process of the laptop
        self.of_jobs: set[str] = set()  # environments of jobs

    def __enter__(self) -> "Processes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            for folder in Path("/proc").glob("[0-9]*"):
                self._look(folder)

    def _look(self, folder: Path) -> None:
        try:
            arguments, environment = (
                (folder / "cmdline").read_bytes(),
                (folder / "environ").read_bytes(),
            )
        except OSError:
            return  # it has ended
        if self._mark not in arguments and self._mark not in environment:
            return
        self.arguments.add(arguments.decode(errors="replace"))
        if b"CI_JOB_ID=" in environment:
            self.of_jobs.add(environment.decode(errors="replace"))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    data = tmp_path_factory.mktemp("laptop")
    data.chmod(0o755)
    with Laptop(data) as up:
        yield up


@pytest.fixture(scope="module")
def processes(laptop: Laptop) -> Processes:
    """What ran while the demo did."""
    return Processes(laptop)


@pytest.fixture(scope="module")
def result(laptop: Laptop, processes: Processes) -> DemoResult:
    demo = Demo(laptop, began_at=time.monotonic())
    demo.prepare()
    laptop.gitlab_client().projects.get(PATH).variables.create(
        {"key": "CANARY", "value": CANARY, "masked": True}
    )
    with processes:
        pipeline_id = demo.push()
        for _ in demo.watch(pipeline_id):
            pass
    return demo.finish(pipeline_id)


def test_every_job_ends_as_it_must_on_a_machine_of_its_own_and_nothing_is_left(
    result: DemoResult,
) -> None:
    assert (result.problems, result.ok) == ((), True)
    ends = {job.name: (job.status, job.pool, job.torn_down) for job in result.jobs}
    assert ends == {name: (end.status, end.pool, True) for name, end in EXPECTED.items()}
    machines = [job.machine for job in result.jobs if job.name != UNSERVED]
    assert None not in machines
    assert len(set(machines)) == len(machines)
    unserved = next(job for job in result.jobs if job.name == UNSERVED)
    assert (unserved.reason, unserved.machine) == ("no_pool", None)
    remains = result.left
    assert (remains.instances, remains.runners, remains.messages, remains.processes) == (0, 0, 0, 0)


def test_the_json_is_what_is_documented(result: DemoResult) -> None:
    body = result.to_json()
    assert {"ok", "seconds", "jobs", "left"} <= set(body)
    assert set(body["left"]) == {"instances", "runners", "messages", "processes"}
    assert {
        "id", "name", "tags", "pool", "backend", "machine",
        "status", "waited_s", "ran_s", "torn_down", "reason",
    } == set(body["jobs"][0])  # fmt: skip


def test_the_history_of_a_job_has_every_hop(laptop: Laptop, result: DemoResult) -> None:
    job = next(job for job in result.jobs if job.name == "image-build")  # it ran to its end
    row = laptop.job_rows.row(JobKey(instance=laptop.instance, job_id=job.id))
    assert row is not None
    names = {step.name for step in row.steps}
    # Without "taken": its webhook may come after that of the end, and changes nothing then.
    assert {
        "webhook_received", "event", "called_home", "job_taken",
        "first_output", "job_finished", "machine_gone", "runner_record_gone",
    } <= names  # fmt: skip


def test_no_secret_is_out_of_hand(laptop: Laptop, result: DemoResult) -> None:
    assert result.jobs
    assert laptop.data.stat().st_mode & 0o777 == 0o700
    assert {"GitLab token", f"{laptop.stack.name}/webhook 0"} <= set(secrets_of(laptop))
    assert any("RunnersLaunched" in text for _, text in searched_texts(laptop))
    assert exposed_secrets(laptop, {"masked variable": CANARY}) == ()


def test_a_secret_that_is_out_of_hand_is_named(laptop: Laptop, result: DemoResult) -> None:
    assert result.jobs
    shown = {"the stack's name": laptop.stack.name}
    kinds = {
        sentence.partition(" is in ")[2].split()[0] for sentence in exposed_secrets(laptop, shown)
    }
    assert kinds == {"stack", "log", "table", "history", "function", "instance", "launch", "file"}
    (laptop.data / "guests" / "leak").write_text(laptop.gitlab_token)
    sentences = exposed_secrets(laptop)
    assert [sentence.partition(" is in ")[0] for sentence in sentences] == [
        "the secret GitLab token",
        f"a token {laptop.gitlab_token[:6]}…",
    ]
    assert laptop.gitlab_token not in "".join(sentences)


def test_no_secret_is_among_arguments_or_in_the_environment_of_a_job(
    laptop: Laptop, result: DemoResult, processes: Processes
) -> None:
    assert result.jobs
    arguments, of_jobs = "\n".join(processes.arguments), "\n".join(processes.of_jobs)
    assert "run-single" in arguments
    assert CANARY in of_jobs  # it is the job's own
    assert CANARY not in arguments
    assert {each for each in TOKENS.findall(arguments) if not each.startswith(OF_A_JOB)} == set()
    fleets_own = secrets_of(laptop)
    assert [name for name, value in fleets_own.items() if value in of_jobs] == []
    assert not re.search("glrt-|whsec_", of_jobs)


def test_no_secret_is_in_a_jobs_log(laptop: Laptop, result: DemoResult) -> None:
    project = laptop.gitlab_client().projects.get(PATH)
    for job in result.jobs:
        log = project.jobs.get(job.id, lazy=True).trace().decode(errors="replace")
        assert not TOKENS.search(log)
        assert CANARY not in log
