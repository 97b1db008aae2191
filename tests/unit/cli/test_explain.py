"""`explain`: every hop in its order, what the job waits for, and jobs that nobody knows."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from adapters.gitlab.client import GitLabJob, GitLabProject
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.steps import Step, StepName
from operations.explain import read_asked
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key

TOKEN = {"GITLAB_TOKEN": "glpat-1"}
NO_TOKEN = {"GITLAB_TOKEN": ""}


def hops(at_work: AtWork, job: str = "1") -> list[str]:
    told = json.loads(at_work.run("explain", job, "--json").stdout)
    return [hop["step"] for hop in told["hops"]]


def verdict(at_work: AtWork) -> tuple[str, str]:
    told = json.loads(at_work.run("explain", "1", "--json").stdout)
    return told["verdict"], told["do"]


def machine_steps(*names: StepName, first_s: float = 40) -> list[Step]:
    """Steps of the machine, two seconds apart, from so many seconds before now."""
    return [
        Step(at=ago(first_s - 2 * place), name=name, job_id=1) for place, name in enumerate(names)
    ]


def with_runner(at_work: AtWork, launched_s: float = 50) -> Runner:
    """The runner that was launched for job 1."""
    runner = at_work.runner(1, launched_s=launched_s, for_job=key(1))
    step = Step(at=ago(launched_s), name=StepName.LAUNCHED, reason=Reason.COVERED, runner=runner.id)
    at_work.jobs.launched({key(1): step})
    return runner


def test_a_finished_jobs_hops_read_in_the_order_of_its_life() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    at_work.jobs.tell(key(1), [Step(at=ago(59), name=StepName.DEMAND_SENT)])
    runner = with_runner(at_work)
    took = ago(36)
    at_work.jobs.tell(key(1), [Step(at=took, name=StepName.WEBHOOK_RECEIVED, delivery_id="d2")])
    at_work.advance(job, "running", at=took, started_at=took, runner_id=runner.id)
    at_work.advance(job, "success", at=ago(20), started_at=took, finished_at=ago(20))
    # What the machine told is written last, at its end.
    told = [
        Step(at=ago(40), name=StepName.CALLED_HOME),
        Step(at=ago(37), name=StepName.JOB_TAKEN),
        Step(at=ago(35), name=StepName.FIRST_OUTPUT),
        Step(at=ago(21), name=StepName.JOB_FINISHED),
        Step(at=ago(10), name=StepName.MACHINE_GONE, reason=Reason.FINISHED, machine="i-1"),
        Step(at=ago(10), name=StepName.RUNNER_RECORD_GONE),
    ]
    at_work.jobs.tell(key(1), told, torn_down_at=ago(10).isoformat(), machine="i-1")
    assert hops(at_work) == [
        "webhook_received",
        "event",
        "routed",
        "demand_sent",
        "launched",
        "called_home",
        "job_taken",
        "webhook_received",
        "taken",
        "first_output",
        "job_finished",
        "success",
        "machine_gone",
        "runner_record_gone",
    ]
    drawn = at_work.run("explain", "1").stdout
    lines = drawn.splitlines()
    assert lines[0] == "job 1 job-1 of acme/demo [docker]: success"
    assert lines[1] == (
        "2026-11-21 UTC, pool docker, attempt 1, rf-docker-000000000001, i-1, waited 24s, ran 16s"
    )
    assert "08:59:20.000   +10s  machine called home" in drawn
    assert "routed               to pool docker: its tags fit this pool" in drawn
    assert "machine gone         i-1: the job ended" in drawn
    assert lines[-1] == "→ it ended: success; its machine was gone 10s later"


def test_what_only_the_machine_knows_yet_is_joined_in() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    runner = with_runner(at_work)
    steps = machine_steps(StepName.CALLED_HOME, StepName.CREDENTIAL_READ, StepName.JOB_TAKEN)
    at_work.reports(runner, MachineState.BUSY, *steps, job_id=1)
    assert hops(at_work)[-4:] == ["launched", "called_home", "credential_read", "job_taken"]


def test_steps_of_another_job_on_the_same_machine_are_left_out() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    runner = with_runner(at_work)
    other = Step(at=ago(20), name=StepName.JOB_TAKEN, job_id=2)
    at_work.reports(runner, MachineState.BUSY, other, job_id=2)
    assert "job_taken" not in hops(at_work)


# What a job waits for


@pytest.mark.parametrize(
    ("reason", "says", "do"),
    [
        (Reason.ROUTED, "autoscaler's next round", ""),
        (Reason.AT_CEILING, "all 5 places of pool docker are in use", "raise its ceiling"),
        (Reason.PACED, "more jobs wait than are launched in one go", ""),
        (Reason.NO_CAPACITY_UNTIL, "asked again soon, at 09:01:00 UTC", "more instance_types"),
        (Reason.CONFIGURATION, "AWS refuses pool docker: no such image", "correct it"),
    ],
)
def test_a_waiting_job_says_for_what(reason: Reason, says: str, do: str) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.waits_because(1, reason)
    at_work.fleet.note_refused("docker", "no such image", "v")
    held = BackOff(until=AT + timedelta(seconds=60), failures=1, code="NoCapacity")
    at_work.fleet.note_back_off("docker", {"m7i.large/a/spot": held})
    told = verdict(at_work)
    assert says in told[0]
    assert do in told[1]


def test_a_job_whose_machine_boots_says_so() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    runner = with_runner(at_work, launched_s=50)
    says = f"{runner.id} boots for 50s; after 5m another is launched in its place"
    assert verdict(at_work) == (says, "")


def test_a_job_with_an_idle_runner_says_that_gitlab_is_next() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.reports(with_runner(at_work), MachineState.IDLE)
    assert "GitLab gives it this job" in verdict(at_work)[0]


def test_a_job_that_a_warm_runner_does_not_get_says_what_to_look_at_in_gitlab() -> None:
    at_work = AtWork().configure()
    at_work.job(1, waits_s=200)
    at_work.waits_because(1, Reason.COVERED)
    warm = at_work.runner(1, launched_s=4000)
    at_work.reports(warm, MachineState.IDLE, *machine_steps(StepName.CALLED_HOME, first_s=180))
    says, do = verdict(at_work)
    assert says == f"{warm.id} has been ready for 3m 00s, and GitLab does not give it this job"
    assert "Settings > CI/CD > Runners" in do
    told = json.loads(at_work.run("explain", "1", "--json").stdout)
    assert (told["runner_id"], told["machine"]) == (None, None)  # it is not the job's


def test_a_job_without_a_pool_says_what_to_correct() -> None:
    at_work = AtWork().configure()
    at_work.job(1, pool=None, reason=Reason.NO_POOL, tags=("gpu",))
    says, do = verdict(at_work)
    assert says.startswith("no pool of fleet.toml has all of its tags")
    assert "runner-fleet apply" in do


@pytest.mark.parametrize(
    ("heard_s", "do"), [(5, ""), (400, "if nothing moves in its log: cancel and retry it")]
)
def test_a_running_job_says_where_and_when_it_was_heard(heard_s: float, do: str) -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    runner = with_runner(at_work, launched_s=900)
    at_work.reports(runner, MachineState.BUSY, job_id=1, heartbeat_at=ago(heard_s))
    at_work.advance(job, "running", at=AT, started_at=ago(10), runner_id=runner.id)
    says, told = verdict(at_work)
    assert says.startswith(f"it runs on {runner.id}, last heard")
    assert told.startswith(do)
    assert bool(told) is bool(do)


def test_a_job_that_was_retried_and_is_not_pending_yet_says_so() -> None:
    at_work = AtWork().configure()
    job = replace(at_work.job(2), key=key(1))
    at_work.jobs.mark_on_demand(job, Step(at=AT, name=StepName.RETRY, retry_of=2), at=AT)
    assert verdict(at_work)[0] == "it is not pending yet: GitLab runs other jobs first"


def test_a_job_that_runs_on_a_machine_not_heard_yet_says_where() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    runner = with_runner(at_work)
    at_work.advance(job, "running", at=AT, started_at=AT, runner_id=runner.id)
    assert verdict(at_work) == (f"it runs on {runner.id}", "")


def test_a_finished_job_whose_machine_still_ends_says_so() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    runner = with_runner(at_work)
    at_work.advance(job, "success", at=AT, finished_at=AT, runner_id=runner.id)
    assert verdict(at_work)[0] == f"it ended: success; {runner.id} is being ended"


# Which job is meant


@pytest.mark.parametrize(
    ("text", "job_id", "project", "host"),
    [
        ("90210", 90210, None, None),
        ("77#90210", 90210, "77", None),
        ("acme/demo#90210", 90210, "acme/demo", None),
        ("https://gitlab.example.com/acme/demo/-/jobs/5", 5, "acme/demo", "gitlab.example.com"),
        (
            "http://127.0.0.1:8929/a/b/c/-/jobs/5/raw?x=1#L3",
            5,
            "a/b/c",
            "127.0.0.1:8929",
        ),
    ],
)
def test_a_job_is_named_in_three_ways(
    text: str, job_id: int, project: str | None, host: str | None
) -> None:
    asked = read_asked(text)
    assert (asked.job_id, asked.project, asked.host) == (job_id, project, host)


@pytest.mark.parametrize("text", ["", "unit-tests", "#5", "acme/demo", "https://x/acme/demo"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="name the job"):
        read_asked(text)


@pytest.mark.parametrize(
    "text", ["https://[x/acme/demo/-/jobs/5", "https://u:pw@x:99999/acme/demo/-/jobs/5"]
)
def test_an_address_that_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_asked(text)
    assert str(refused.value) == "this is no address of a job's page"


@pytest.mark.parametrize(
    "name", ["7#1", "acme/demo#1", "https://gitlab.example.com/acme/demo/-/jobs/1"]
)
def test_each_of_them_finds_the_job(name: str) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    assert at_work.run("explain", name).exit_code == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme/other#1", "job 1 is of another project (project=acme/demo)"),
        ("https://gitlab.com/acme/demo/-/jobs/1", "this fleet serves another GitLab"),
    ],
)
def test_another_projects_or_gitlabs_job_is_not_shown(name: str, says: str) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    result = at_work.run("explain", name)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {says}")


@pytest.mark.parametrize(
    "name", ["Acme/DEMO#1", "https://GitLab.example.com:443/acme/Demo/-/jobs/1"]
)
def test_neither_paths_nor_hosts_know_case(name: str) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    assert at_work.run("explain", name).exit_code == 0


def test_a_path_says_nothing_against_a_job_whose_path_is_not_known() -> None:
    at_work = AtWork().configure()
    at_work.job(1, project_path="", project_id=77)
    told = at_work.run("explain", "acme/demo#1")
    assert told.exit_code == 0
    assert told.stdout.startswith("job 1 job-1 of 77 [docker]: pending")


# Which runner is its


def runner_told(at_work: AtWork) -> tuple[str | None, str | None]:
    told = json.loads(at_work.run("explain", "1", "--json").stdout)
    return told["runner_id"], told["machine"]


def test_of_the_runners_launched_for_it_the_youngest_is_told() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.runner(1, launched_s=50, for_job=key(1))
    youngest = at_work.runner(2, launched_s=10, for_job=key(1))
    at_work.runner(3, launched_s=30, for_job=key(1))
    at_work.runner(4, launched_s=5, for_job=key(2))
    at_work.runner(5, launched_s=1)
    assert runner_told(at_work) == (youngest.id, "i-2")


def test_one_that_has_the_job_goes_before_any_that_was_launched_for_it() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    has = at_work.runner(1, launched_s=50)
    at_work.reports(has, MachineState.BUSY, job_id=1)
    at_work.runner(2, launched_s=10, for_job=key(1))
    assert runner_told(at_work) == (has.id, "i-1")


def test_without_one_there_is_none() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.runner(1, for_job=key(2))
    assert runner_told(at_work) == (None, None)


def test_what_was_launched_for_a_job_that_is_over_is_not_its_runner() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    at_work.runner(1, for_job=key(1))
    at_work.advance(job, "canceled", at=AT)
    assert runner_told(at_work) == (None, None)


def test_the_runner_that_took_it_is_told_although_another_was_launched_for_it() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    at_work.runner(1, for_job=key(1))
    other = at_work.runner(2)
    at_work.advance(job, "running", at=AT, started_at=AT, runner_id=other.id)
    assert runner_told(at_work) == (other.id, "i-2")


@pytest.mark.parametrize(
    ("facts", "waited_s", "ran_s"),
    [
        ({"started_at": ago(40), "finished_at": ago(10)}, 20.0, 30.0),
        ({"started_at": ago(40)}, 20.0, 35.0),  # until GitLab said so
        ({}, 55.0, None),
        ({"started_at": ago(61), "finished_at": ago(62)}, 0.0, 0.0),  # clocks differ
    ],
)
def test_how_long_it_waited_and_ran(
    facts: dict[str, datetime], waited_s: float, ran_s: float | None
) -> None:
    at_work = AtWork().configure()
    at_work.advance(at_work.job(1, waits_s=60), "success", at=ago(5), **facts)
    told = json.loads(at_work.run("explain", "1", "--json").stdout)
    assert (told["waited_s"], told["ran_s"]) == (waited_s, ran_s)


def test_a_job_without_a_pool_has_no_pools_words() -> None:
    at_work = AtWork().configure()
    at_work.job(1, pool=None, reason=Reason.NO_POOL, tags=())
    lines = at_work.run("explain", "1").stdout.splitlines()
    assert lines[0] == "job 1 job-1 of acme/demo (no tags): pending"
    assert lines[1] == "2026-11-21 UTC, no pool, attempt 1, waited 1m 00s, ran -"


# Jobs that the ledger does not know


def test_with_a_token_it_asks_for_the_project() -> None:
    result = AtWork().configure().run("explain", "9", env=TOKEN)
    assert "name it as project#9 to have GitLab asked" in result.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme/demo#9", "GitLab says pending, with the tags docker: it would go to pool docker"),
        ("acme/demo#10", "GitLab says pending, with the tags gpu: no pool of fleet.toml"),
        ("acme/demo#11", "GitLab has no such job in acme/demo either"),
        ("acme/nothing#9", "GitLab has no project acme/nothing"),
    ],
)
def test_gitlab_is_asked_about_an_unknown_job(name: str, says: str) -> None:
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    for number, tag in ((9, "docker"), (10, "gpu")):
        job = GitLabJob(id=number, project_id=7, name="unit", status="pending", tags=(tag,))
        at_work.gitlab.add(job)
    result = at_work.run("explain", name, env=TOKEN)
    assert result.exit_code == 1
    assert says in result.stderr
    assert at_work.connected == [("https://gitlab.example.com", "glpat-1")]


@pytest.mark.parametrize("call", ["project", "job"])
@pytest.mark.parametrize(
    "error",
    [
        Refused("GitLab does not know this token: make a new one", status=401),
        Transient("GitLab did not answer", call="GET /projects/7", error="ConnectTimeout"),
    ],
)
def test_a_gitlab_that_cannot_be_asked_is_not_a_hidden_project(
    call: str, error: FleetError
) -> None:
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    at_work.gitlab.failing[call] = error
    result = at_work.run("explain", "acme/demo#9", env=TOKEN)
    assert (result.exit_code, result.stdout) == (1, "")
    first = result.stderr.splitlines()[0]
    assert first == f"Error: the ledger has no job 9 of gitlab.example.com; {error}"


def test_a_token_that_cannot_be_one_is_refused_unsaid() -> None:
    at_work = AtWork().configure()
    result = at_work.run("explain", "acme/demo#9", env={"GITLAB_TOKEN": "glpat-\nsecret"})
    assert result.exit_code == 1
    assert "no GitLab token" in result.stderr
    assert "secret" not in result.output
    assert at_work.connected == []


def test_without_one_of_ours_the_fleets_own_token_is_used() -> None:
    at_work = AtWork().configure()
    at_work.secrets.gitlab["fleet-a/gitlab"] = "glpat-fleet"
    at_work.run("explain", "7#9", env=NO_TOKEN)
    assert at_work.connected == [("https://gitlab.example.com", "glpat-fleet")]


def test_all_that_is_said_of_a_job_that_nobody_knows() -> None:
    result = AtWork().configure().run("explain", "9", env=NO_TOKEN)
    assert result.stderr.splitlines() == [
        "Error: the ledger has no job 9 of gitlab.example.com",
        "  - put a GitLab token into GITLAB_TOKEN to have GitLab asked",
        "  - `runner-fleet webhook list`: is the project's or group's webhook there, "
        "and executable?",
        "  - [gitlab.watch] in fleet.toml: is the project watched? then lost webhooks do no harm",
        "  - the ledger keeps a job for 30 days after its last change",
    ]


def test_what_gitlab_says_takes_the_place_of_the_hint() -> None:
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    result = at_work.run("explain", "acme/demo#9", env=TOKEN)
    first, *checks = result.stderr.splitlines()
    assert first.endswith("; GitLab has no such job in acme/demo either")
    assert len(checks) == 3
    assert "GITLAB_TOKEN" not in result.stderr


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"tags": ()}, "GitLab says pending, with the tags (none): it has no tags and no pool"),
        (
            {"status": "running"},
            "GitLab says running, with the tags docker: a runner took it already",
        ),
        ({"status": "success"}, "GitLab says success, with the tags docker: GitLab says that"),
        ({"runner_id": 3}, "GitLab says pending, with the tags docker: a runner took it already"),
        (
            {"tags": ("docker", "gpu")},
            "GitLab says pending, with the tags docker, gpu: no pool of fleet.toml",
        ),
    ],
)
def test_why_an_unknown_job_is_none_of_the_fleets(facts: dict[str, Any], says: str) -> None:
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    told: dict[str, Any] = {"tags": ("docker",), "status": "pending"}
    at_work.gitlab.add(GitLabJob(id=9, project_id=7, name="unit", **(told | facts)))
    result = at_work.run("explain", "acme/demo#9", env=TOKEN)
    assert f"; {says}" in result.stderr


def test_the_token_of_another_variable_is_used() -> None:
    at_work = AtWork().configure()
    at_work.run("explain", "7#9", "--token-env", "MY", env=TOKEN | {"MY": "glpat-2"})
    assert at_work.connected == [("https://gitlab.example.com", "glpat-2")]


def test_a_known_job_costs_no_call_to_gitlab_and_no_secret() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.run("explain", "1", env=TOKEN)
    assert at_work.connected == []


def test_an_unknown_job_as_json() -> None:
    result = AtWork().configure().run("explain", "9", "--json", env=NO_TOKEN)
    assert result.exit_code == 1
    assert set(json.loads(result.stdout)) == {"says", "checks"}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("skipped", "it was skipped"),
        ("manual", "it waits for a person to start it"),
        ("created", "it waits for jobs before it"),
        ("scheduled", "it is delayed"),
        ("preparing", "GitLab prepares it"),
        ("waiting_for_resource", "another job holds its resource_group"),
        ("canceled", "it was cancelled before a runner took it"),
    ],
)
def test_a_job_that_no_webhook_is_owed_for_has_no_lost_one(status: str, says: str) -> None:
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    at_work.gitlab.add(GitLabJob(id=9, project_id=7, name="unit", status=status, tags=("docker",)))
    result = at_work.run("explain", "acme/demo#9", env=TOKEN)
    assert result.exit_code == 1
    assert f"GitLab says {status}, with the tags docker: {says}" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "webhook" not in result.stderr
