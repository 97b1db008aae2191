"""A runner's row joined with its machine's last report: what the fleet believes of it."""

from dataclasses import replace

from fleet.mailbox import MachineState, Report
from fleet.model import JobKey, Runner, RunnerState


def heard(runner: Runner, report: Report | None, instance: str) -> Runner:
    """The runner as its machine last told, where that is news; the row as it is without one.

    The `running` webhook may know of a job before the report does, so busy is never undone by
    an older "idle". A draining runner stays so until it is busy or done. `instance`: the GitLab
    that the report's job is of.
    """
    if report is None:
        return runner
    state = _state(runner, report)
    job = runner.job
    if report.job_id is not None:
        job = JobKey(instance=instance, job_id=report.job_id)
    changed = runner.changed_at
    if state is not runner.state:
        changed = report.steps[-1].at if report.steps else report.heartbeat_at
    return replace(
        runner,
        state=state,
        job=job,
        heartbeat_at=report.heartbeat_at,
        changed_at=changed,
        asks=report.state is MachineState.IDLE,
    )


def _state(runner: Runner, report: Report) -> RunnerState:
    if report.state is MachineState.DONE:
        return RunnerState.DONE
    if report.state is MachineState.BUSY:
        return RunnerState.BUSY
    if runner.state in {RunnerState.BUSY, RunnerState.DRAINING}:
        return runner.state
    return RunnerState.IDLE
