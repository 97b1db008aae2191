"""One job with gitlab-runner in earnest: the stand-in always, the real binary if there is one."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.guest.one_job import NOTICES, Workplace, run_one_job
from adapters.guest.reporter import Reporter
from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.machine.mailbox import Credential, Order
from fleet.machine.runner_log import RunnerLog
from fleet.machine.stop import Why
from fleet.steps import StepName
from local.machines.keeper import ROOT
from tests.integration.local.coordinator import Answer, Coordinator, make_job
from tests.integration.runs import PATH, REAL, TOKEN, Letters, eventually, is_alive
from tests.private_ca import make_ca, small_proxy, tls_door

STAND_IN = str(ROOT / "local/bin/gitlab-runner")
BINARIES = [
    pytest.param(STAND_IN, id="stand-in"),
    pytest.param(
        REAL,
        id="real",
        marks=[
            pytest.mark.real_runner,
            pytest.mark.skipif(not REAL, reason=f"{BINARY_VARIABLE} names no binary"),
        ],
    ),
]
FORBIDDEN = Answer(
    status=403, headers={"Content-Type": "application/json"}, body=b'{"message":"403 Forbidden"}'
)


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def gitlab() -> Iterator[Coordinator]:
    with Coordinator() as running:
        yield running


class Machine:
    """A credential, a mailbox and a workplace for one job."""

    def __init__(self, binary: str, gitlab: Coordinator, folder: Path) -> None:
        self.letters = Letters()
        self.credential = Credential(
            runner_id="rf-test-1",
            pool="test",
            url=gitlab.url,
            token=TOKEN,
            executor="shell",
            wait_timeout_s=3,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            name="rf-test-1",
        )
        self.workplace = Workplace(
            home=folder / "work",
            ends_at=datetime.now(UTC) + timedelta(hours=1),
            environment={
                "PATH": PATH,
                BINARY_VARIABLE: binary,
                "AWS_SECRET_ACCESS_KEY": "aws-secret",
                "FLEET_LEDGER_TABLE": "ledger",
            },
        )

    def run(self) -> RunnerLog:
        with Reporter(self.letters, heartbeat_s=0.1) as reporter:
            return run_one_job(self.credential, self.workplace, reporter)

    def ends_in(self, seconds: float) -> None:
        ends_at = datetime.now(UTC) + timedelta(seconds=seconds)
        self.workplace = replace(self.workplace, ends_at=ends_at)


@pytest.fixture
def machine(binary: str, gitlab: Coordinator, tmp_path: Path) -> Machine:
    return Machine(binary, gitlab, tmp_path)


def log(gitlab: Coordinator, job_id: int) -> str:
    return gitlab.traces.get(str(job_id), b"").decode()


def final(gitlab: Coordinator) -> dict[str, object]:
    return gitlab.requests_of("update")[-1].fields


def test_a_job_succeeds(machine: Machine, gitlab: Coordinator) -> None:
    gitlab.offer(make_job(11, "echo hello from the job"))
    end = machine.run()
    assert (end.outcome, end.job_id) == ("succeeded", 11)
    assert "hello from the job" in log(gitlab, 11)
    assert "runner-fleet: this machine ends at" in log(gitlab, 11)
    assert final(gitlab)["state"] == "success"
    assert sorted(machine.letters.steps[:3]) == ["first_output", "job_finished", "job_taken"]
    assert machine.letters.steps[3:] == ["runner_exited"]


def test_a_jobs_image_and_services_are_reported_and_its_log_says_that_they_are_not_used(
    machine: Machine, gitlab: Coordinator
) -> None:
    """Variables of the job are in the image's name in the log of gitlab-runner 17.9."""
    job = make_job(
        11,
        "echo THE SCRIPT",
        image={"name": "ruby:$RUBY"},
        services=[{"name": "postgres:16"}, {"name": "redis"}],
        variables=[{"key": "RUBY", "value": "3.3"}],
    )
    gitlab.offer(job)
    assert machine.run().outcome == "succeeded"
    named = [(step.name, step.job_id, step.detail) for step in machine.letters.history]
    requested = [step for step in named if step[0] in {StepName.IMAGE, StepName.SERVICES}]
    assert requested == [
        (StepName.IMAGE, 11, "ruby:$RUBY"),
        (StepName.SERVICES, 11, "postgres:16"),
        (StepName.IMAGE, 11, "ruby:3.3"),
    ]
    before_script, _, _ = log(gitlab, 11).partition("THE SCRIPT")
    assert "runner-fleet: image: 'ruby:3.3' is not used" in before_script
    assert "runner-fleet: services: are not started" in before_script


def test_a_job_cannot_have_another_file_read_as_the_name_of_its_image(
    machine: Machine, gitlab: Coordinator, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    image = machine.workplace.home / "image"
    script = f"rm -f {image}; ln -s {secret} {image}"
    gitlab.offer(make_job(11, script, image={"name": "$NONE"}))
    assert machine.run().outcome == "succeeded"
    details = [step.detail for step in machine.letters.history if step.name is StepName.IMAGE]
    assert details == ["$NONE"]


@pytest.mark.real_runner
@pytest.mark.skipif(not REAL, reason=f"{BINARY_VARIABLE} names no binary")
def test_a_job_over_a_proxy_from_a_gitlab_with_a_private_authority(
    gitlab: Coordinator, tmp_path: Path
) -> None:
    """The job sees both: its git and its tools reach GitLab as gitlab-runner does."""
    ca = make_ca(tmp_path)
    machine = Machine(REAL, gitlab, tmp_path)
    look = 'cat "$CI_SERVER_TLS_CA_FILE"; echo "$https_proxy $HTTPS_PROXY"'
    gitlab.offer(make_job(11, look))
    with tls_door(gitlab.url, ca) as door, small_proxy(leads_to=door) as proxy:
        machine.credential = replace(
            machine.credential,
            url="https://gitlab.example.com",
            tls_ca=ca.pem,
            proxy=proxy.url,
        )
        end = machine.run()
    assert (end.outcome, end.job_id) == ("succeeded", 11)
    assert "BEGIN CERTIFICATE" in log(gitlab, 11)
    assert f"{proxy.url} {proxy.url}" in log(gitlab, 11)
    assert set(proxy.connects) == {"CONNECT gitlab.example.com:443"}


def test_a_script_fails(machine: Machine, gitlab: Coordinator) -> None:
    gitlab.offer(make_job(12, "exit 3"))
    end = machine.run()
    assert (end.outcome, end.detail) == ("failed", "exit status 3")
    assert final(gitlab)["failure_reason"] == "script_failure"


def test_the_job_sees_neither_token_nor_keys(machine: Machine, gitlab: Coordinator) -> None:
    """Not in its environment, not on any command line, not in a file below its machine's folder."""
    home = machine.workplace.home
    # A process may end while `cat` reads it.
    commands = "(cat /proc/[0-9]*/cmdline || true) | tr '\\0' ' '"
    look = f"env; {commands}; grep -r glrt- {home} || echo no file"
    gitlab.offer(make_job(13, look))
    assert machine.run().outcome == "succeeded"
    shown = log(gitlab, 13)
    assert "no file" in shown
    assert TOKEN not in shown
    assert "aws-secret" not in shown
    assert "FLEET_LEDGER_TABLE" not in shown


def test_no_process_of_a_job_is_left(machine: Machine, gitlab: Coordinator, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    daemon = f"(setsid bash -c 'echo $$ >{pid}; exec sleep 300' >/dev/null 2>&1 </dev/null &)"
    gitlab.offer(make_job(14, daemon, f"until test -s {pid}; do sleep 0.05; done"))
    assert machine.run().outcome == "succeeded"
    assert not is_alive(int(pid.read_text()))


def test_no_job_in_time_is_an_outcome(machine: Machine) -> None:
    assert machine.run().outcome == "no_job"


def test_a_revoked_token_ends_the_machine_soon(machine: Machine, gitlab: Coordinator) -> None:
    gitlab.answer_next("request", *[FORBIDDEN] * 5)
    end = machine.run()
    assert end.outcome == "forbidden"
    assert "stopped" in machine.letters.steps


def test_the_jobs_log_names_the_end_of_the_machine(machine: Machine, gitlab: Coordinator) -> None:
    gitlab.offer(make_job(15, "echo begun; sleep 300; echo not reached"))
    machine.ends_in(48)
    end = machine.run()
    assert end.outcome == "interrupted"
    assert NOTICES[Why.END_OF_MACHINE] in log(gitlab, 15)
    assert "\nnot reached" not in log(gitlab, 15)
    assert final(gitlab)["state"] == "failed"


@pytest.mark.real_runner
@pytest.mark.skipif(not REAL, reason="15 s of a deaf job; the rules have their own tests")
def test_a_deaf_job_still_gets_its_final_status(gitlab: Coordinator, tmp_path: Path) -> None:
    machine = Machine(REAL, gitlab, tmp_path)
    pid = tmp_path / "pid"
    gitlab.offer(make_job(16, f"echo $$ >{pid}; trap '' TERM; sleep 300; sleep 300"))
    machine.ends_in(47)
    assert machine.run().outcome == "interrupted"
    assert final(gitlab)["state"] == "failed"
    assert not is_alive(int(pid.read_text()))


@pytest.mark.real_runner
@pytest.mark.skipif(not REAL, reason="15 s of a deaf job; the rules have their own tests")
@pytest.mark.parametrize("word", ["canceling", "canceled"])
def test_a_canceled_job_that_ignores_it_is_ended_in_time(
    gitlab: Coordinator, tmp_path: Path, word: str
) -> None:
    """gitlab-runner itself would let it run for ten minutes. Its after_script is let be."""
    machine = Machine(REAL, gitlab, tmp_path)
    pid = tmp_path / "pid"
    deaf = f"echo $$ >{pid}; trap '' TERM; (setsid sleep 300 &); sleep 300; sleep 300"
    gitlab.offer(make_job(18, deaf, after_script=["sleep 1", "echo tidied up"]))

    def echo(line: str) -> None:
        if "received" in line:
            eventually(pid.exists, within_s=20)
            gitlab.job_status = word

    machine.workplace = replace(machine.workplace, echo=echo)
    began = time.monotonic()
    assert machine.run().outcome == "canceled"
    assert time.monotonic() - began < 75
    assert not is_alive(int(pid.read_text()))
    assert ("tidied up" in log(gitlab, 18)) is (word == "canceling")


def test_a_drain_order_lets_the_job_finish(
    machine: Machine, gitlab: Coordinator, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    gitlab.offer(make_job(17, f"until test -e {go_on}; do sleep 0.05; done; echo finished"))
    machine.letters.waiting = Order(reason="surplus", at=datetime.now(UTC))

    def echo(line: str) -> None:
        if "Requested quit" in line:
            go_on.touch()

    machine.workplace = replace(machine.workplace, echo=echo)
    assert machine.run().outcome == "succeeded"
    assert "drained" in machine.letters.steps
    assert "finished" in log(gitlab, 17)
    eventually(lambda: final(gitlab)["state"] == "success")
