"""Why a plan is as it is: one enum, read by logs, metrics, tests and people.

A value is the field in a log line, the dimension of a metric and the id of a test;
`SENTENCES` is what `explain` prints for it.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Every answer a rule can give, doing nothing included."""

    # route
    ROUTED = "routed"
    OVERFLOW = "overflow"
    IMAGE = "image"
    SERVICES = "services"
    NO_POOL = "no_pool"
    UNTAGGED = "untagged"
    UNPROTECTED = "unprotected"
    PROTECTION_UNKNOWN = "protection_unknown"
    NOT_PENDING = "not_pending"
    TAKEN = "taken"
    UNKNOWN_JOB = "unknown_job"
    UNDER_WAY = "under_way"
    POOL_GONE = "pool_gone"
    POOL_UNFIT = "pool_unfit"
    # scale
    BACKLOG = "backlog"
    IDLE_TARGET = "idle_target"
    COVERED = "covered"
    AT_CEILING = "at_ceiling"
    NO_CAPACITY_UNTIL = "no_capacity_until"
    PACED = "paced"
    CONFIGURATION = "configuration"
    GITLAB_REFUSES = "gitlab_refuses"
    GITLAB_OUT = "gitlab_out"
    PAUSED = "paused"
    BUDGET = "budget"
    SURPLUS = "surplus"
    OUTDATED = "outdated"
    BALANCED = "balanced"
    ATTEMPTS_USED = "attempts_used"
    WARM_FAILED = "warm_failed"
    WARM_STOPPED = "warm_stopped"
    # settle and reap
    RUNNING = "running"
    FINISHED = "finished"
    GRACE = "grace"
    MACHINE_GONE = "machine_gone"
    BOOT_DEADLINE = "boot_deadline"
    WENT_UNSERVED = "went_unserved"
    LAUNCH_FAILED = "launch_failed"
    EXPIRED = "expired"
    ORDERED = "ordered"
    STALLED = "stalled"
    STALLED_BUT_BUSY = "stalled_but_busy"
    NO_RECORD = "no_record"
    UNCONFIRMED = "unconfirmed"
    FOREIGN = "foreign"
    OUTSIDE = "outside"
    SPOT_NOTICE = "spot_notice"
    INVOCATION_FAILED = "invocation_failed"
    SWALLOWED = "swallowed"
    STILL_BUSY = "still_busy"
    ENDS_ALONE = "ends_alone"
    HEALTHY = "healthy"
    STALE_EVENT = "stale_event"
    # deploy
    QUOTA_SHARED = "quota_shared"
    QUOTA_SMALL = "quota_small"
    # reconcile and retry
    WEBHOOK_LOST = "webhook_lost"
    STILL_PENDING = "still_pending"
    FINISHED_UNSEEN = "finished_unseen"
    TAKEN_UNSEEN = "taken_unseen"
    RENEWED = "renewed"
    FORGIVEN = "forgiven"
    INFRA_RETRY = "infra_retry"
    SCRIPT_FAILED = "script_failed"
    ALREADY_RETRIED = "already_retried"
    RETRY_OFF = "retry_off"
    RETRIED_BEFORE = "retried_before"
    DEPLOYS = "deploys"
    MACHINE_LOST = "machine_lost"


# Why no pool gets a job.
WITHOUT_POOL = frozenset(
    {Reason.NO_POOL, Reason.UNTAGGED, Reason.UNPROTECTED, Reason.PROTECTION_UNKNOWN}
)

SENTENCES: dict[Reason, str] = {
    Reason.ROUTED: "its tags fit this pool, the first in the file that may take it",
    Reason.OVERFLOW: "it cannot fit in the pool its tags name, so it goes to that pool's overflow",
    Reason.IMAGE: "its image is not there: it goes to the overflow of the pool of its tags",
    Reason.SERVICES: "its services are not there: it goes to the overflow of the pool of its tags",
    Reason.NO_POOL: "no pool of fleet.toml has all of its tags; add them to a pool, then `apply`",
    Reason.UNTAGGED: "it has no tags and no pool says run_untagged = true",
    Reason.UNPROTECTED: "every pool with its tags is protected_only, and its ref is unprotected",
    Reason.PROTECTION_UNKNOWN: "every pool with its tags is protected_only, and GitLab does not "
    "say whether its ref is protected",
    Reason.NOT_PENDING: "GitLab says that it no longer waits",
    Reason.TAKEN: "a runner took it already",
    Reason.UNKNOWN_JOB: "GitLab does not know it, or our token may not read it",
    Reason.UNDER_WAY: "another event of its pipeline has all of its jobs routed just now",
    Reason.POOL_GONE: "its pool is no longer in fleet.toml",
    Reason.POOL_UNFIT: "its pool was changed, and GitLab gives its runners this job no more",
    Reason.BACKLOG: "it waits and no runner that is alive or booting is there for it",
    Reason.IDLE_TARGET: "the pool keeps this many runners warm at this hour",
    Reason.COVERED: "a runner for it is booting or idle",
    Reason.AT_CEILING: "the pool runs as many runners as its ceiling allows",
    Reason.NO_CAPACITY_UNTIL: "the cloud had no machine of the pool's kinds; asked again soon",
    Reason.PACED: "more jobs wait than are launched in one go; the next go follows",
    Reason.CONFIGURATION: "AWS refuses the pool's configuration: correct it, then `apply`",
    Reason.GITLAB_REFUSES: "GitLab refuses its machine a credential; launched when it gives one",
    Reason.GITLAB_OUT: "GitLab does not answer: no machine is launched until it does",
    Reason.PAUSED: "a person paused its pool: nothing is launched there until it is resumed",
    Reason.BUDGET: "the day's budget of its pool or project is used up; it is new at 00:00 UTC",
    Reason.SURPLUS: "more runners than the backlog and the warm target need",
    Reason.OUTDATED: "its pool was changed since its launch, so GitLab gives it other jobs",
    Reason.BALANCED: "as many runners as are needed",
    Reason.ATTEMPTS_USED: "every launch for it failed; its demand is in the dead-letter queue",
    Reason.WARM_FAILED: "a warm machine failed; another is tried soon",
    Reason.WARM_STOPPED: "its warm machines failed: no more are launched until `apply`",
    Reason.RUNNING: "a runner took it",
    Reason.FINISHED: "the job ended",
    Reason.GRACE: "the machine is given a moment to end by itself",
    Reason.MACHINE_GONE: "the machine is gone",
    Reason.BOOT_DEADLINE: "the machine did not call home before its boot deadline",
    Reason.WENT_UNSERVED: "the machine ended and GitLab had given it no job; see its last steps",
    Reason.LAUNCH_FAILED: "no machine could be launched",
    Reason.EXPIRED: "the machine reached its longest lifetime",
    Reason.ORDERED: "a person ordered its end",
    Reason.STALLED: "no sign of life, and GitLab or AWS agrees that nothing runs there",
    Reason.STALLED_BUT_BUSY: "no sign of life, but GitLab and AWS say that it works: left alone",
    Reason.NO_RECORD: "the ledger does not know it",
    Reason.UNCONFIRMED: "only an event says that it ended, and its cloud or its mailbox does not",
    Reason.FOREIGN: "its event is of another project than the job",
    Reason.OUTSIDE: "its event is of a webhook whose group has no such project",
    Reason.SPOT_NOTICE: "AWS takes the spot machine back",
    Reason.INVOCATION_FAILED: "the Lambda invocation failed before a job was taken",
    Reason.SWALLOWED: "its Lambda invocation took no credential; launched again at no cost",
    Reason.STILL_BUSY: "another job runs on it",
    Reason.ENDS_ALONE: "its job is over, and only it can end itself: it counts until it does",
    Reason.HEALTHY: "alive and within its limits",
    Reason.STALE_EVENT: "a later event arrived before",
    Reason.QUOTA_SHARED: "the runners share what the account allows beside the orchestrator's part",
    Reason.QUOTA_SMALL: "the account allows too few functions at once to keep a share for any",
    Reason.WEBHOOK_LOST: "GitLab lists it as pending; the fleet had handled no webhook of it",
    Reason.STILL_PENDING: "GitLab lists it as pending, against an earlier event",
    Reason.FINISHED_UNSEEN: "the fleet asked GitLab before it handled a webhook of its end",
    Reason.TAKEN_UNSEEN: "the fleet asked GitLab before it handled a webhook of its start",
    Reason.RENEWED: "its attempts were used before the last `apply`: it has all of them again",
    Reason.FORGIVEN: "a person gave it all attempts again",
    Reason.INFRA_RETRY: "the machine failed it, not its script: it runs once more, on demand",
    Reason.SCRIPT_FAILED: "its own script failed it",
    Reason.ALREADY_RETRIED: "another run of it was asked for already",
    Reason.RETRY_OFF: "the pool says infra_retry = false",
    Reason.RETRIED_BEFORE: "it was the retry: what two machines failed is not run a third time",
    Reason.DEPLOYS: "it deploys to an environment: whether that runs again is for people",
    Reason.MACHINE_LOST: "its machine is gone, but GitLab still says that it runs",
}
