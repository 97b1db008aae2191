"""`explain`: the history of a job, which job and runner are meant, and jobs outside the ledger."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.gitlab.values import GitLabJob, GitLabProject
from adapters.ledger.jobs import JobRow
from fleet.errors import FleetError, Refused, Transient
from fleet.machine.mailbox import MachineState
from fleet.model import Runner
from fleet.reasons import Reason
from fleet.rules.capacity import BackOff
from fleet.steps import Outcome, Step, StepName
from operations.explain import NEVER_PENDING, read_reference
from operations.last_line import LastLine, last_line
from operations.trail import hops_of
from tests.unit.cli.fleet_at_work import AT, AtWork, ago, key
from tests.unit.cli.session import Session
from tests.unit.fleet.rules.standings import CASES, HOLD, TROUBLE, job

Screen = Callable[[str, str], None]
TOKEN = {"GITLAB_TOKEN": "glpat-1"}
NO_TOKEN = {"GITLAB_TOKEN": ""}
FAILED: Mapping[str, Any] = {"attempt": 2, "attempts": 3, "cause": Reason.WENT_UNSERVED}
# Each way in which a step makes words.
STEPS = (
    Step(at=AT, name=StepName.WEBHOOK_RECEIVED, delivery_id="d1"),
    Step(at=AT, name=StepName.EVENT, detail="job.pending"),
    Step(at=AT, name=StepName.IGNORED, reason=Reason.STALE_EVENT),
    Step(at=AT, name=StepName.ROUTED, reason=Reason.ROUTED, pool="docker"),
    Step(at=AT, name=StepName.ROUTED, reason=Reason.NO_POOL),
    Step(at=AT, name=StepName.WAITS, reason=Reason.AT_CEILING),
    # Why a machine was launched is what the job waited for, which an earlier step says.
    Step(
        at=AT,
        name=StepName.LAUNCHED,
        reason=Reason.BACKLOG,
        runner="rf-docker-1",
        machine="i-1",
        pool="docker",
    ),
    Step(at=AT, name=StepName.SERVED_ANOTHER, runner="rf-docker-1", job_id=7),
    Step(at=AT, name=StepName.MACHINE_GONE, reason=Reason.SPOT_NOTICE, machine="i-1"),
    Step(at=AT, name=StepName.STOPPED, failure="of a newer fleet"),
    Step(at=AT, name=StepName.DEMAND_SENT),
    Step(at=AT, name=StepName.DEMAND_SENT, attempt=1, pool="docker"),
    Step(at=AT, name=StepName.DEMAND_SENT, reason=Reason.RENEWED, pool="docker"),
    Step(at=AT, name=StepName.DEMAND_SENT, reason=Reason.WENT_UNSERVED, **FAILED),
    Step(at=AT, name=StepName.GIVEN_UP, reason=Reason.ATTEMPTS_USED, **FAILED),
    Step(at=AT, name=StepName.PIPELINE_READ, job_id=7),
    Step(at=AT, name=StepName.PIPELINE_READ),
    Step(at=AT, name=StepName.LEFT_POOL, reason=Reason.POOL_GONE, pool="docker"),
    Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retry_of=7),
    Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, retried_as=8),
    Step(at=AT, name=StepName.RETRY, reason=Reason.INFRA_RETRY, detail="403"),
    Step(at=AT, name=StepName.RETRY, reason=Reason.RETRY_OFF),
    Step(at=AT, name=StepName.RUNNER_EXITED, outcome=Outcome.NO_JOB, detail="x"),
    Step(at=AT, name=StepName.JOB_FINISHED, outcome=Outcome.SUCCEEDED),
    Step(at=AT, name=StepName.FAILED, failure="script_failure", runner="rf-docker-1"),
    Step(at=AT, name=StepName.TAKEN, detail="theirs"),
)


def trail_of(at_work: AtWork, job: str = "1") -> dict[str, Any]:
    """What `--json` prints."""
    printed: dict[str, Any] = json.loads(at_work.run("explain", job, "--json").stdout)
    return printed


def hops(at_work: AtWork) -> list[str]:
    return [hop["step"] for hop in trail_of(at_work)["hops"]]


def machine_steps(*names: StepName, first_s: float = 40) -> list[Step]:
    """Steps of the machine, two seconds apart, from so many seconds before now."""
    return [
        Step(at=ago(first_s - 2 * place), name=name, job_id=1) for place, name in enumerate(names)
    ]


def with_runner(at_work: AtWork, launched_s: float = 50) -> Runner:
    """The runner that was launched for job 1."""
    runner = at_work.runner(1, launched_s=launched_s, for_job=key(1))
    step = Step(at=ago(launched_s), name=StepName.LAUNCHED, reason=Reason.COVERED, runner=runner.id)
    at_work.jobs.note_reasons({key(1): step})
    return runner


def with_gitlab_job(**facts: Any) -> AtWork:
    """GitLab has job 9 of acme/demo, and the ledger does not."""
    at_work = AtWork().configure()
    at_work.gitlab.add_project(GitLabProject(id=7, path="acme/demo"))
    plain: dict[str, Any] = {"tags": ("docker",), "status": "pending"}
    at_work.gitlab.add(GitLabJob(id=9, project_id=7, name="unit", **(plain | facts)))
    return at_work


# The words, whole


def test_a_finished_job_reads_in_the_order_of_its_life(screen: Screen) -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    at_work.jobs.extend(key(1), [Step(at=ago(59), name=StepName.DEMAND_SENT)])
    runner = with_runner(at_work)
    took = ago(36)
    at_work.jobs.extend(key(1), [Step(at=took, name=StepName.WEBHOOK_RECEIVED, delivery_id="d2")])
    at_work.advance(job, "running", at=took, started_at=took, runner_id=runner.id)
    at_work.advance(job, "success", at=ago(20), started_at=took, finished_at=ago(20))
    at_its_end = [
        Step(at=ago(40), name=StepName.CALLED_HOME),
        Step(at=ago(37), name=StepName.JOB_TAKEN),
        Step(at=ago(35), name=StepName.FIRST_OUTPUT),
        Step(at=ago(21), name=StepName.JOB_FINISHED),
        Step(at=ago(10), name=StepName.MACHINE_GONE, reason=Reason.FINISHED, machine="i-1"),
        Step(at=ago(10), name=StepName.RUNNER_RECORD_GONE),
    ]
    at_work.jobs.extend(key(1), at_its_end, torn_down_at=ago(10).isoformat(), machine="i-1")
    assert at_work.run("explain", "1").exit_code == 0
    at_work.job(2, pool=None, reason=Reason.NO_POOL, tags=(), project_path="", project_id=77)
    at_work.run("explain", "--stack", "blue", "2")
    at_work.run("explain", "2", "--json")
    screen("explain", str(at_work.session))


def test_every_step_and_every_last_line_has_its_words(screen: Screen) -> None:
    lines = []
    for step in STEPS:
        (hop,) = hops_of(JobRow(job=job(), steps=(step,), changed_at=AT), None)
        assert hop.reason == (step.reason or step.failure)
        lines.append(f"{hop.label:28} {hop.sentence}")
    names: dict[LastLine, list[str]] = {}
    for name, case in CASES.items():
        line = last_line(case.facts, case.diagnosis, refused=case.refused)
        names.setdefault(line, []).append(name)
    for line, alike in names.items():
        lines += ["", f"{' / '.join(alike)}:", f"→ {line.sentence}"]
        lines += [f"  {line.do}"] if line.do else []
    screen("explain_lines", "\n".join(lines))


# What is read


@pytest.mark.parametrize(
    ("reason", "standing", "words"),
    [
        (Reason.ROUTED, "routed", ""),
        (Reason.AT_CEILING, "at_ceiling", "5"),
        (Reason.PACED, "waiting", ""),
        (Reason.NO_CAPACITY_UNTIL, "no_capacity", "09:01:00 UTC"),
        (Reason.CONFIGURATION, "pool_refused", "no such image"),
        (Reason.GITLAB_REFUSES, "held", "401 Unauthorized"),
    ],
)
def test_a_job_waits_for_what_its_pool_and_gitlab_say(
    reason: Reason, standing: str, words: str
) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.waits_because(1, reason)
    at_work.fleet.note_refused("docker", "no such image", "v")
    later = BackOff(until=AT + timedelta(seconds=60), failures=1, code="NoCapacity")
    at_work.fleet.note_back_off("docker", {"m7i.large/a/spot": later})
    if standing == "held":
        at_work.fleet.note_hold(HOLD)
    trail = trail_of(at_work)
    assert trail["standing"] == standing
    assert words in trail["verdict"]


def test_a_job_stands_as_its_machine_reports() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    runner = with_runner(at_work, launched_s=900)
    assert trail_of(at_work)["standing"] == "booting"
    at_work.reports(runner, MachineState.IDLE)
    assert trail_of(at_work)["standing"] == "ready"
    at_work.advance(job, "running", at=AT, started_at=AT, runner_id=runner.id)
    at_work.reports(runner, MachineState.BUSY, job_id=1, heartbeat_at=ago(400))
    trail = trail_of(at_work)
    assert (trail["standing"], bool(trail["do"])) == ("running", True)
    at_work.advance(job, "success", at=AT, finished_at=AT, runner_id=runner.id)
    trail = trail_of(at_work)
    assert (trail["standing"], runner.id in trail["verdict"]) == ("ended", True)


def test_a_runner_that_gitlab_gives_nothing_is_not_the_jobs() -> None:
    at_work = AtWork().configure()
    at_work.job(1, waits_s=200)
    at_work.waits_because(1, Reason.COVERED)
    warm = at_work.runner(1, launched_s=4000)
    at_work.reports(warm, MachineState.IDLE, *machine_steps(StepName.CALLED_HOME, first_s=180))
    trail = trail_of(at_work)
    assert (trail["standing"], trail["runner_id"], trail["machine"]) == ("withheld", None, None)


def test_explain_knows_a_job_that_is_not_pending_yet_and_an_unusable_gitlab() -> None:
    at_work = AtWork().configure()
    first = at_work.job(2)
    retry = replace(first, key=key(1))
    at_work.jobs.mark_on_demand(retry, Step(at=AT, name=StepName.RETRY, retry_of=2), at=AT)
    assert trail_of(at_work)["standing"] == "created"
    at_work.fleet.note_trouble(TROUBLE)
    assert trail_of(at_work, "2")["standing"] == "gitlab_unusable"
    unknown = trail_of(at_work, "9")
    assert unknown["checks"][0] == TROUBLE.do
    assert TROUBLE.says in unknown["says"]


# Which runner is its


def runner_of(at_work: AtWork) -> tuple[str | None, str | None]:
    trail = trail_of(at_work)
    return trail["runner_id"], trail["machine"]


def test_of_the_runners_launched_for_it_the_youngest_is_its() -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    at_work.runner(1, launched_s=50, for_job=key(1))
    at_work.runner(2, launched_s=10, for_job=key(1))
    at_work.runner(3, launched_s=30, for_job=key(1))
    at_work.runner(4, launched_s=5, for_job=key(2))
    at_work.runner(5, launched_s=1)
    assert runner_of(at_work) == ("rf-docker-000000000002", "i-2")
    claims_it = at_work.runner(6, launched_s=60)
    at_work.reports(claims_it, MachineState.BUSY, job_id=1)  # a claim is no launch
    assert runner_of(at_work) == ("rf-docker-000000000002", "i-2")


def test_the_runner_that_took_it_goes_before_the_one_that_was_launched_for_it() -> None:
    at_work = AtWork().configure()
    job = at_work.job(1)
    at_work.runner(1, for_job=key(1))
    other = at_work.runner(2)
    at_work.advance(job, "running", at=AT, started_at=AT, runner_id=other.id)
    assert runner_of(at_work) == (other.id, "i-2")
    at_work.advance(at_work.job(2), "canceled", at=AT)
    at_work.runner(3, for_job=key(2))
    assert trail_of(at_work, "2")["runner_id"] is None  # it is over


# Which job is meant


@pytest.mark.parametrize(
    ("text", "job_id", "project", "host"),
    [
        ("90210", 90210, None, None),
        ("77#90210", 90210, "77", None),
        ("acme/demo#90210", 90210, "acme/demo", None),
        ("https://gitlab.example.com/acme/demo/-/jobs/5", 5, "acme/demo", "gitlab.example.com"),
        ("http://127.0.0.1:8929/a/b/c/-/jobs/5/raw?x=1#L3", 5, "a/b/c", "127.0.0.1:8929"),
    ],
)
def test_a_job_is_named_in_three_ways(
    text: str, job_id: int, project: str | None, host: str | None
) -> None:
    reference = read_reference(text)
    assert (reference.job_id, reference.project, reference.host) == (job_id, project, host)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unit-tests", "#5", "acme/demo", "https://x/acme/demo"),
        "https://[x/acme/demo/-/jobs/5",
        "https://u:pw@x:99999/acme/demo/-/jobs/5",
    ],
)
def test_any_other_name_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_reference(text)
    assert refused.value.facts == {}
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        *("7#1", "acme/demo#1", "Acme/DEMO#1"),
        "https://gitlab.example.com/acme/demo/-/jobs/1",
        "https://GitLab.example.com:443/acme/Demo/-/jobs/1",
    ],
)
def test_each_of_them_finds_the_job_whatever_its_case(name: str) -> None:
    at_work = AtWork().configure()
    at_work.job(1)
    assert at_work.run("explain", name).exit_code == 0


# Jobs that the ledger does not know


def test_an_unknown_job_prints_what_to_check(screen: Screen) -> None:
    session = Session()
    at_work = with_gitlab_job()
    at_work.session = session
    at_work.job(1)
    for name in ("1 unit", "acme/other#1", "https://gitlab.com/acme/demo/-/jobs/1"):
        assert at_work.run("explain", name).exit_code == (2 if name == "1 unit" else 1)
    assert at_work.run("explain", "9", env=NO_TOKEN).exit_code == 1
    assert at_work.run("explain", "9", env=TOKEN).exit_code == 1
    assert at_work.connected == [("https://gitlab.example.com", "glpat-1")]
    for name in ("acme/demo#9", "acme/demo#11", "acme/nothing#9"):
        assert at_work.run("explain", name, env=TOKEN).exit_code == 1
    for tags in ((), ("docker", "gpu")):
        unrouted = with_gitlab_job(tags=tags)
        unrouted.session = session
        assert unrouted.run("explain", "acme/demo#9", env=TOKEN).exit_code == 1
    screen("explain_unknown", str(session))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"status": "running"}, "running"),
        ({"status": "success"}, "success"),
        ({"runner_id": 3}, "a runner took it already"),
    ],
)
def test_a_job_that_waits_no_more_needs_no_pool(facts: dict[str, Any], words: str) -> None:
    result = with_gitlab_job(**facts).run("explain", "acme/demo#9", "--json", env=TOKEN)
    assert words in json.loads(result.stdout)["says"]


@pytest.mark.parametrize("status", [*NEVER_PENDING, "canceled"])
def test_a_job_that_needs_no_webhook_has_no_check(status: str) -> None:
    result = with_gitlab_job(status=status).run("explain", "acme/demo#9", "--json", env=TOKEN)
    assert result.exit_code == 1
    unknown = json.loads(result.stdout)
    assert unknown["checks"] == []
    assert NEVER_PENDING.get(status, "cancelled") in unknown["says"]


def test_a_job_that_was_cancelled_while_it_ran_had_a_webhook() -> None:
    at_work = with_gitlab_job(status="canceled", started_at=AT)
    assert unknown_of(at_work)["checks"]


def unknown_of(at_work: AtWork) -> dict[str, Any]:
    result = at_work.run("explain", "acme/demo#9", "--json", env=TOKEN)
    unknown: dict[str, Any] = json.loads(result.stdout)
    return unknown


@pytest.mark.parametrize("call", ["project", "job"])
@pytest.mark.parametrize(
    "error",
    [
        Refused("GitLab does not know this token: make a new one", status=401),
        Transient("GitLab did not answer", call="GET /projects/7", error="ConnectTimeout"),
    ],
    ids=["refused", "silent"],
)
def test_a_gitlab_that_cannot_be_asked_is_not_a_hidden_project(
    call: str, error: FleetError
) -> None:
    at_work = with_gitlab_job()
    at_work.gitlab.failing[call] = error
    assert unknown_of(at_work)["says"].endswith(f"; {error}")


def test_the_token_is_the_environments_else_the_fleets() -> None:
    at_work = AtWork().configure()
    at_work.secrets.gitlab["fleet-a/gitlab"] = "glpat-fleet"
    at_work.run("explain", "7#9", env=NO_TOKEN)
    at_work.run("explain", "7#9", "--token-env", "MY", env=TOKEN | {"MY": "glpat-2"})
    assert [token for _, token in at_work.connected] == ["glpat-fleet", "glpat-2"]
    at_work.job(1)
    at_work.run("explain", "1", env=TOKEN)  # a job of the ledger costs no call to GitLab
    assert len(at_work.connected) == 2
