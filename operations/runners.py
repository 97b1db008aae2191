"""The runners that live, and those that ended in a period."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from adapters.ledger.runners import RunnerRows
from fleet.job_event import instance_of
from fleet.model import Runner
from fleet.past import PastRun
from fleet.rules.liveness import by_our_clock
from fleet.rules.problems.runners import state_word
from fleet.times import seconds_between
from operations.fleet_handle import Deployed, check_pool
from operations.periods import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRunner:
    """One runner. `state`: requested … done, or `ended`; `since`: of that state."""

    runner_id: str
    pool: str
    backend: str
    state: str
    since: datetime
    launched_at: datetime
    called_home_at: datetime | None  # of an ended one
    taken_at: datetime | None  # of an ended one
    finished_at: datetime | None  # of an ended one
    ended_at: datetime | None
    expires_at: datetime | None  # of a live one
    lived_s: float
    machine: str | None
    capacity: str | None
    job_id: int | None  # the job that it has or had
    for_job: int | None  # the job that it was launched for
    heard_s: float | None  # of a live one: since its last report
    reason: str | None  # why it ended
    usd: float | None  # of an ended one


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnersView:
    """Live runners, longest first, then ended ones, newest first; counts of the live by state."""

    at: datetime
    runners: tuple[ListedRunner, ...]
    states: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        plain = asdict(self) | {"at": self.at.isoformat(), "states": dict(self.states)}
        return plain | {"runners": [_plain(line) for line in plain["runners"]]}


def list_runners(
    deployed: Deployed, *, ended_in: Period | None = None, pool: str | None = None
) -> RunnersView:
    """The live runners; with `ended_in` also those that ended then.

    Raises `Refused` for a pool that fleet.toml lacks, unless it had runners then.
    """
    at = deployed.clock()
    config, stored = deployed.config(), deployed.stored()
    rows = RunnerRows(deployed.table, deployed.mailboxes, instance_of(config.gitlab.url))
    names = dict.fromkeys([*(pool.name for pool in config.pools), *stored.leaving, *stored.removed])
    live = [
        _live(by_our_clock(runner, at), at)
        for name in names
        if pool in (None, name)
        for runner in rows.live(name)
    ]
    live.sort(key=lambda line: (line.launched_at, line.runner_id))
    ended = deployed.history.between(ended_in.since, ended_in.until) if ended_in else []
    past = [ended_line(run) for run in reversed(ended) if run.had_machine]
    runners = (*live, *(line for line in past if pool in (None, line.pool)))
    if pool is not None and not runners and pool not in names:
        check_pool(config, pool)
    return RunnersView(
        at=at,
        runners=runners,
        states=dict(Counter(line.state for line in live)),
    )


def ended_line(run: PastRun) -> ListedRunner:
    """A past run as a line."""
    launched_at = run.launched_at or run.ended_at
    return ListedRunner(
        runner_id=run.id,
        pool=run.pool or "",
        backend=run.backend or "",
        state="ended",
        since=run.ended_at,
        launched_at=launched_at,
        called_home_at=run.called_home_at,
        taken_at=run.taken_at,
        finished_at=run.finished_at,
        ended_at=run.ended_at,
        expires_at=None,
        lived_s=seconds_between(launched_at, run.ended_at) or 0.0,
        machine=run.machine,
        capacity=run.capacity,
        job_id=run.job_id,
        for_job=run.for_job,
        heard_s=None,
        reason=run.reason,
        usd=None if run.usd is None else float(run.usd),
    )


def _live(runner: Runner, at: datetime) -> ListedRunner:
    return ListedRunner(
        runner_id=runner.id,
        pool=runner.pool,
        backend=runner.backend,
        state=state_word(runner),
        since=runner.since,
        launched_at=runner.launched_at,
        called_home_at=None,
        taken_at=None,
        finished_at=None,
        ended_at=None,
        expires_at=runner.expires_at,
        lived_s=seconds_between(runner.launched_at, at) or 0.0,
        machine=runner.machine_id,
        capacity=runner.capacity,
        job_id=runner.job.job_id if runner.job else None,
        for_job=runner.for_job.job_id if runner.for_job else None,
        heard_s=seconds_between(runner.heartbeat_at, at),
        reason=None,
        usd=None,
    )


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in line.items()
    }
