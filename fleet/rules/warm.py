"""Warm launches whose machine comes to nothing: back off, then stop until the next `apply`.

A launch for a job is bounded by the job's attempts. A warm one has no job: without this memory an
image that never serves is launched for as long as the pool keeps runners warm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.machine.mailbox import Report
from fleet.model import Runner, RunnerState
from fleet.reasons import Reason
from fleet.steps import Outcome, StepName
from fleet.times import HasUtcTimes

# The wait after the first failure, and at most. Each failure doubles it.
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(minutes=30)
# Failures that lie further apart are not in a row: AWS takes single machines back without a word.
IN_A_ROW_WITHIN = timedelta(hours=2)
# A machine that dies later than this after its launch could serve.
DIES_WITHIN = timedelta(minutes=10)
# Ends that a machine causes by itself; the fleet causes the others.
_OWN_ENDS = frozenset(
    {
        Reason.BOOT_DEADLINE,
        Reason.MACHINE_GONE,
        Reason.WENT_UNSERVED,
        Reason.STALLED,
        Reason.INVOCATION_FAILED,
    }
)
_CANNOT_SERVE = frozenset({Outcome.SYSTEM_FAILURE, Outcome.FORBIDDEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmMemory(HasUtcTimes):
    """The warm launches of a pool that failed, in a row since the last `apply`."""

    failures: int = 0  # launches, however many machines each had
    failed_at: datetime | None = None  # when the last one was counted
    why: str | None = None  # of the last one: what its machine said, else how it ended

    def stops(self, attempts: int) -> bool:
        """Whether nothing is launched to be kept warm until the next `apply`."""
        return self.failures >= attempts

    @property
    def ask_at(self) -> datetime | None:
        """When the next warm machine may be launched; None: at any time."""
        if self.failed_at is None or not self.failures:
            return None
        doubled: int = 2 ** min(self.failures - 1, 16)
        return self.failed_at + min(LONGEST_WAIT, FIRST_WAIT * doubled)


def why_no_warm(memory: WarmMemory, *, attempts: int, at: datetime) -> Reason | None:
    """Why no machine may be launched to be kept warm at `at`; None: it may."""
    if memory.stops(attempts):
        return Reason.WARM_STOPPED
    return Reason.WARM_FAILED if memory.ask_at is not None and at < memory.ask_at else None


def why_failed(
    runner: Runner, report: Report | None, reason: Reason, *, at: datetime
) -> str | None:
    """Why a warm machine that ends at `at` never could serve a job, in words; None where it could.

    The fleet's own part is not counted: a runner that was drained, or left without a credential.
    """
    is_warm = runner.for_job is None and runner.job is None and runner.claim is None
    is_own_end = reason in _OWN_ENDS and runner.machine_id is not None
    if not is_warm or not is_own_end or runner.is_called_off:
        return None
    if report is None:
        return "its machine never called home"
    if report.outcome in _CANNOT_SERVE:
        return report.detail or "its agent could not serve a job"
    if StepName.CREDENTIAL_READ not in {step.name for step in report.steps}:
        # Nothing lay in its mailbox, or it did not read what lay there.
        return "its agent did not start" if runner.equipped else None
    is_silent_end = runner.state is not RunnerState.DONE and at - runner.launched_at < DIES_WITHIN
    return "its agent ended without a word" if is_silent_end else None


def is_news(memory: WarmMemory, runner: Runner) -> bool:
    """Whether its launch knew of the failure before: machines of one launch fail once."""
    return memory.failed_at is None or runner.launched_at > memory.failed_at


def after_failure(
    memory: WarmMemory, live: Iterable[Runner], *, why: str, at: datetime
) -> WarmMemory:
    """The memory with one more failure at `at`; `live`: the pool's other runners.

    A runner that was launched after the last failure and reported ends the row of failures.
    """
    last = memory.failed_at
    is_ended = last is None or at - last > IN_A_ROW_WITHIN
    if last is not None:
        is_ended |= any(runner.launched_at > last and _serves(runner) for runner in live)
    return WarmMemory(failures=1 if is_ended else memory.failures + 1, failed_at=at, why=why)


def is_forgotten(memory: WarmMemory, runner: Runner, *, attempts: int) -> bool:
    """Whether the failures before a runner that served are forgotten; a stop stays."""
    return memory.failures > 0 and is_news(memory, runner) and not memory.stops(attempts)


def is_proof(runner: Runner, report: Report | None) -> bool:
    """Whether an ended runner shows that the pool's machines can serve."""
    if runner.job is not None:
        return True
    steps = {step.name for step in report.steps} if report else set()
    good = report is not None and report.outcome not in _CANNOT_SERVE
    return good and runner.state is RunnerState.DONE and StepName.CREDENTIAL_READ in steps


def _serves(runner: Runner) -> bool:
    return runner.asks or runner.state is RunnerState.BUSY or runner.job is not None
