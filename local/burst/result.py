"""The options, the progress and the result of a burst."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local.burst.tally import Tally

CEILING = 400
TRANSITIONS_PER_JOB = 10
GITLAB_CALLS_PER_JOB = 2
LAUNCHES = 4  # CreateFleet calls for as many jobs as may run at once, up to
LAUNCHED_BY_THEM = 200
WRITES_A_SECOND = 1000  # of one partition; see `local.aws.partitions`


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstOptions:
    """How many jobs, on what fleet."""

    jobs: int
    projects: int = 1
    credentials: str = "per-machine"  # or "shared"
    ceiling: int = CEILING
    job_s: float = 1.0
    timeout_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at a burst that runs."""

    seconds: float
    jobs: dict[str, int]  # by status
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstResult:
    """Counts and times of a burst. `seconds`: from the push to the end of the last job."""

    jobs: int
    finished: int
    seconds: float
    closed_s: float  # from the push until nothing was left
    waited_s: dict[str, float]
    peak_memory_mb: float
    tally: Tally
    guests: dict[str, int]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Every job ran, nothing is left, no limit was exceeded."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        tally = self.tally
        return {
            "ok": self.ok,
            "jobs": self.jobs,
            "finished": self.finished,
            "seconds": round(self.seconds, 1),
            "closed_s": round(self.closed_s, 1),
            "waited_s": self.waited_s,
            "peak_memory_mb": round(self.peak_memory_mb),
            "calls": dict(tally.calls),
            "per_job": dict(tally.per_job),
            "units": dict(tally.units),
            "control_plane_usd_per_1000": float(round(tally.usd_per_1000, 4)),
            "partition_writes": dict(tally.partitions),
            "guest_calls": dict(tally.guest_calls),
            "guests": self.guests,
            "problems": list(self.problems),
        }


def over_limits(tally: Tally, options: BurstOptions) -> Iterator[str]:
    """A sentence for each limit that was exceeded."""
    for name, limit in (
        ("states.transitions", TRANSITIONS_PER_JOB),
        ("gitlab", GITLAB_CALLS_PER_JOB),
    ):
        if tally.per_job[name] > limit:
            yield f"{name}: {tally.per_job[name]} per job, at most {limit}"
    launches = tally.calls.get("ec2.CreateFleet", 0)
    at_once = options.jobs <= min(LAUNCHED_BY_THEM, options.ceiling)
    if at_once and launches > LAUNCHES:
        yield f"ec2.CreateFleet: {launches} calls, at most {LAUNCHES}"
    for key, units in tally.partitions.items():
        if units > WRITES_A_SECOND:
            yield f"{key}: {units:.0f} write units in a second, at most {WRITES_A_SECOND}"
