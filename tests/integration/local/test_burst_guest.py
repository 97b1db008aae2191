"""A guest of a burst: its reports to the ledger and its words to GitLab, without an engine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gitlab
import pytest

from fleet.machine.mailbox import Credential, MachineState, Order, Report
from fleet.steps import Outcome, StepName
from local.burst.guest import OUTPUT, Life, live
from local.gitlab.server import SimulatorServer
from local.gitlab.states import Status
from tests.integration.local.gitlab.site import Site


@dataclass
class FakeMailbox:
    """Holds at most one credential and one order, and keeps what is reported."""

    credential: Credential | None = None
    ordered: Order | None = None
    reports: list[Report] = field(default_factory=list)

    def take_credential(
        self, deadline: datetime, *, pause: Callable[[float], None]
    ) -> Credential | None:
        taken, self.credential = self.credential, None
        return taken

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def order(self) -> Order | None:
        return self.ordered

    @property
    def last(self) -> Report:
        return self.reports[-1]

    @property
    def steps(self) -> list[StepName]:
        """Every reported step, in order."""
        return [step.name for report in self.reports for step in report.steps]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with SimulatorServer(tmp_path) as server:
        yield Site(server, gitlab.Gitlab(server.url, private_token=server.root_token))


def credential(site: Site, token: str, *, wait_timeout_s: int = 0) -> Credential:
    return Credential(
        runner_id="rf-burst-0123456789ab",
        pool="burst",
        url=site.server.url,
        token=token,
        executor="shell",
        wait_timeout_s=wait_timeout_s,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        name="rf-burst-0123456789ab",
    )


def life(mailbox: FakeMailbox, *, is_up: Callable[[], bool] = lambda: True) -> Life:
    return Life(
        mailbox=mailbox,
        system_id="s_1",
        boot_s=1,
        job_s=1,
        is_up=is_up,
        pause=lambda _: None,
    )


def test_a_job_is_run_and_every_step_is_reported(site: Site) -> None:
    site.start()
    mailbox = FakeMailbox(credential(site, site.register("ec2"), wait_timeout_s=60))
    site.server.ask(lambda world: world.calls.clear())
    assert live(life(mailbox)) is Outcome.SUCCEEDED
    assert site.server.ask(lambda world: dict(world.calls)) == {  # as many as a runner's
        "POST /jobs/request": 1,
        "PATCH /jobs/{job}/trace": 1,
        "PUT /jobs/{job}": 1,
    }
    assert site.statuses() == {"unit": "success"}
    (job,) = site.server.ask(lambda world: list(world.ci.jobs.values()))
    assert bytes(job.trace) == OUTPUT
    assert mailbox.steps == [
        *(StepName.CALLED_HOME, StepName.CREDENTIAL_READ, StepName.JOB_TAKEN),
        *(StepName.FIRST_OUTPUT, StepName.JOB_FINISHED, StepName.RUNNER_EXITED, StepName.ENDED),
    ]
    last = mailbox.last
    assert (last.state, last.job_id) == (MachineState.DONE, job.id)
    assert last.outcome is Outcome.SUCCEEDED
    assert last.runner_id == "rf-burst-0123456789ab"


def test_without_a_credential_it_says_goodbye() -> None:
    mailbox = FakeMailbox()
    assert live(life(mailbox)) is Outcome.NO_JOB
    assert (mailbox.last.state, mailbox.last.outcome) == (MachineState.DONE, Outcome.NO_JOB)


def test_without_a_job_it_ends_at_its_time_at_an_order_or_as_forbidden(site: Site) -> None:
    token, order = site.register("ec2"), Order(reason="surplus", at=datetime.now(UTC))
    for mailbox, outcome in (
        (FakeMailbox(credential(site, token)), Outcome.NO_JOB),
        (FakeMailbox(credential(site, token, wait_timeout_s=3600), order), Outcome.NO_JOB),
        (FakeMailbox(credential(site, "glrt-unknown", wait_timeout_s=60)), Outcome.FORBIDDEN),
    ):
        assert live(life(mailbox)) is outcome
        assert mailbox.last.outcome is outcome
        assert StepName.JOB_TAKEN not in mailbox.steps


def test_a_machine_that_is_gone_takes_nothing_with_it(site: Site) -> None:
    site.start()
    mailbox = FakeMailbox(credential(site, site.register("ec2"), wait_timeout_s=60))
    assert live(life(mailbox, is_up=lambda: False)) is Outcome.INTERRUPTED
    assert mailbox.reports == []
    assert site.count(Status.PENDING) == 1


def test_a_machine_that_goes_during_its_job_says_nothing_more_to_gitlab(site: Site) -> None:
    site.start()
    mailbox = FakeMailbox(credential(site, site.register("ec2"), wait_timeout_s=60))
    outcome = live(life(mailbox, is_up=lambda: site.count(Status.RUNNING) == 0))
    assert outcome is Outcome.INTERRUPTED
    assert site.count(Status.RUNNING) == 1
