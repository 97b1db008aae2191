"""One invocation: claimed once, in a clean folder, reported to the end, and answered."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.guest.process_tree import Family
from adapters.guest.runner_process import BINARY_VARIABLE
from fleet.errors import Refused
from fleet.machine.mailbox import Credential, Report
from lambda_runner.handler import (
    UNCLEAN,
    Invocation,
    InvocationSetup,
    RunnerSettings,
    Served,
    serve,
)
from lambda_runner.sandbox import LambdaSandbox
from tests.integration import runs
from tests.integration.runs import BUSY, JOB, Letters, credential


@dataclass(slots=True)
class InvocationLetters(Letters):
    """The invocation's mailbox."""

    credential: Credential | None = None
    claimed: bool = False

    def claim(self, report: Report) -> bool:
        if not self.claimed:
            self.reports.append(report)
        first, self.claimed = not self.claimed, True
        return first

    def take_credential(self, deadline: datetime) -> Credential | None:
        """Give it once; a deadline is never waited for here."""
        assert deadline > datetime.now(UTC)
        taken, self.credential = self.credential, None
        return taken


def sandbox(letters: InvocationLetters, folder: Path, **changes: Any) -> InvocationSetup:
    standard = InvocationSetup(
        settings=RunnerSettings(
            mailbox_table="mailboxes",
            mailbox_key="key",
            heartbeat_s=0.05,
            work_dir=folder / "tmp",
        ),
        mailbox=letters,
        ends_at=datetime.now(UTC) + timedelta(minutes=15),
        sandbox=LambdaSandbox(folder / "tmp", Family()),
        environment={"PATH": runs.PATH, BINARY_VARIABLE: str(runs.FAKE)},
    )
    return replace(standard, **changes)


def test_one_job(tmp_path: Path) -> None:
    letters = InvocationLetters(credential=credential(JOB, tmp_path))
    answer = serve("rf-test-1", sandbox(letters, tmp_path))
    assert answer == Served(outcome="succeeded", job_id=101)
    assert letters.steps == [
        "called_home",
        "credential_read",
        "job_taken",
        "first_output",
        "job_finished",
        "runner_exited",
        "ended",
    ]
    assert letters.states[-1] == "done"
    assert {report.runner_id for report in letters.reports} == {"rf-test-1"}


def test_the_second_delivery_of_an_event_does_nothing(tmp_path: Path) -> None:
    letters = InvocationLetters(credential=credential(JOB, tmp_path), claimed=True)
    file = tmp_path / "tmp" / "of-a-job"
    file.parent.mkdir()
    file.touch()
    answer = serve("rf-test-1", sandbox(letters, tmp_path))
    assert answer == Served(outcome="duplicate")
    assert letters.reports == []
    assert letters.credential is not None
    assert file.exists()


def test_without_a_credential_the_answer_is_no_job(tmp_path: Path) -> None:
    letters = InvocationLetters()
    answer = serve("rf-test-1", sandbox(letters, tmp_path))
    assert answer == Served(outcome="no_job")
    assert letters.steps == ["called_home", "ended"]
    assert letters.reports[-1].detail == "no credential within 120 s"


def test_the_folder_is_clean_before_and_after_the_job(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    (folder / "of an earlier job").touch()
    listing = tmp_path / "listing"
    script = [("start", f"ls {folder} >{listing}; echo x >{folder}/mine"), ("wait", 0.3), *JOB]
    letters = InvocationLetters(credential=credential(script, tmp_path))
    serve("rf-test-1", sandbox(letters, tmp_path))
    assert "of an earlier job" not in listing.read_text()
    assert list(folder.iterdir()) == []


class Stained(LambdaSandbox):
    """A sandbox that is found clean so many times, and never again."""

    def __init__(self, folder: Path, *, clean_times: int) -> None:
        super().__init__(folder, Family())
        self.clean_times = clean_times

    def clean(self) -> str | None:
        """What the real one says, while it may."""
        self.clean_times -= 1
        return super().clean() if self.clean_times >= 0 else "a process is left"


def test_in_an_unclean_sandbox_no_credential_is_read(tmp_path: Path) -> None:
    letters = InvocationLetters(credential=credential(JOB, tmp_path))
    stained = Stained(tmp_path / "tmp", clean_times=0)
    served = serve("rf-test-1", sandbox(letters, tmp_path, sandbox=stained))
    assert served == Served(outcome="no_job", is_clean=False)
    assert letters.credential is not None
    assert letters.steps == ["called_home", "ended"]
    assert letters.reports[-1].detail == "a process is left"


def test_a_sandbox_that_a_job_left_unclean_is_reported(tmp_path: Path) -> None:
    letters = InvocationLetters(credential=credential(JOB, tmp_path))
    stained = Stained(tmp_path / "tmp", clean_times=1)
    served = serve("rf-test-1", sandbox(letters, tmp_path, sandbox=stained))
    assert served == Served(outcome="succeeded", job_id=101, is_clean=False)
    assert letters.reports[-1].steps[-1].detail == "a process is left"


@pytest.mark.parametrize(
    ("projects", "is_clean"),
    [
        (["acme/demo"], True),
        (["other/demo"], False),
        (["other/acme/demo"], False),
        (["other/demo", "acme/demo"], False),
        (["acme/demo", "other/demo"], False),
    ],
)
def test_after_a_job_of_another_project_the_sandbox_serves_no_other(
    projects: list[str], is_clean: bool, tmp_path: Path
) -> None:
    own_credential = credential(JOB, tmp_path)
    received = [
        ("say", runs.RECEIVED[1] | {"repo_url": f"https://h{own_credential.url}/{project}.git"})
        for project in projects
    ]
    Path(own_credential.url).write_text(
        json.dumps([runs.STARTED, *received, runs.STORED, runs.SUCCEEDED, ("exit", 0)])
    )
    letters = InvocationLetters(credential=own_credential)
    setup = sandbox(letters, tmp_path, project="acme/demo")
    assert serve("rf-test-1", setup).is_clean is is_clean


@pytest.mark.parametrize("is_clean", [True, False])
def test_the_runtime_of_an_unclean_sandbox_ends(is_clean: bool) -> None:
    code = "from lambda_runner.handler import Served, answer; "
    code += f"answer('rf', Served(outcome=None, is_clean={is_clean}))"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == (0 if is_clean else UNCLEAN)


def test_the_job_ends_before_lambda_does(tmp_path: Path) -> None:
    letters = InvocationLetters(credential=credential(BUSY, tmp_path))
    wall = datetime.now(UTC) + timedelta(seconds=46)
    answer = serve("rf-test-1", sandbox(letters, tmp_path, ends_at=wall))
    assert answer == Served(outcome="interrupted", job_id=101)
    stopped = [s.detail for r in letters.reports for s in r.steps if s.name == "stopped"]
    assert stopped == ["interrupt: end_of_machine"]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"runner_id": "rf-1"},
        {"mailbox": "lambda:rf-1"},
        {"runner_id": "", "mailbox": "m"},
        {"runner_id": "rf-1", "mailbox": 5},
        {"runner_id": "rf-1", "mailbox": "lambda:rf-1", "until": "soon"},
    ],
)
def test_a_foreign_event_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        Invocation.of(event)


def test_an_event_is_read() -> None:
    event = {"runner_id": "rf-1", "mailbox": "lambda:rf-1", "more": 1}
    assert Invocation.of(event) == Invocation(runner_id="rf-1", mailbox="lambda:rf-1")
    assert Invocation.of(event | {"until": "2026-08-01T14:00:00+02:00"}).until == datetime(
        2026, 8, 1, 12, tzinfo=UTC
    )


def test_on_lambda_the_folder_is_tmp() -> None:
    named = {"FLEET_MAILBOX_TABLE": "mailboxes", "FLEET_MAILBOX_KEY": "key"}
    assert RunnerSettings.of(named).work_dir == Path("/tmp")
