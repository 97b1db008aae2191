"""The settings of a simulated GitLab; the defaults are GitLab's own."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """After how long GitLab drops a job."""

    pending_without_runner: timedelta = timedelta(hours=1)
    pending: timedelta = timedelta(hours=24)
    silent: timedelta = timedelta(hours=1)  # running or canceling, no call of the runner
    grace: timedelta = timedelta(minutes=15)  # past the job's own timeout, enforced by the server
    online: timedelta = timedelta(hours=2)  # a runner heard from within this is online
    stale: timedelta = timedelta(days=7)  # a runner silent for longer is stale
    contact_written_every: timedelta = timedelta(minutes=40)  # at the earliest
    contact_written_at_latest: timedelta = timedelta(minutes=55)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One simulated GitLab instance."""

    gitlab_version: str = "19.3.0"
    timeouts: Timeouts = field(default_factory=Timeouts)
    group_runner_limit: int = 1000  # GitLab.com's free plan: 50
    project_runner_limit: int = 1000
    build_timeout_s: int = 3600
    long_poll_s: float = 0.0  # how long jobs/request waits for a job; GitLab.com: 50
    trace_interval_s: int = 3  # sent to runners; GitLab sends 60 while no user reads the log
    trace_limit_bytes: int = 100 * 1024 * 1024
    cancels_gracefully: bool = False  # newer GitLab: canceling first, so that after_script runs
    hook_timeout_s: float = 10.0
    hook_lanes: int = 4  # deliveries under way at once per hook; one job's stay in order
    hook_calls_per_minute: int | None = None  # per top-level group; more are lost (GitLab.com)
    disables_hooks: bool = True  # feature flag auto_disabling_web_hooks
    sweep_every_s: float = 1.0
    seed: int = 0

    @property
    def has_signing_token(self) -> bool:
        """Whether hooks know `signing_token` (GitLab 19.0 and later)."""
        return int(self.gitlab_version.split(".", 1)[0]) >= 19


class Clock:
    """The present time in UTC, plus the time that was skipped."""

    def __init__(self) -> None:
        self._skipped = timedelta()

    def now(self) -> datetime:
        """The simulated instant."""
        return datetime.now(UTC) + self._skipped

    def advance(self, by: timedelta) -> None:
        """Skip `by`."""
        self._skipped += by
