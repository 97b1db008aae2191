"""GitLab's failure reasons, and which of them `retry: when` catches. Pure.

Source: GitLab's `CommitStatusEnums` and `Gitlab::Ci::Build::AutoRetry`.
"""

from collections.abc import Collection

UNKNOWN = "unknown_failure"
STUCK_NO_RUNNER = "stuck_pending_no_matching_runners"
STUCK_PENDING = "stuck_pending_with_matching_runners"
SILENT_RUNNING = "no_updates_running"
SILENT_CANCELING = "no_updates_canceling"
SERVER_TIMEOUT = "job_execution_server_timeout"
TRACE_TOO_LARGE = "trace_size_exceeded"

# Everything that ends a job because of time alone; `stuck_or_timeout_failure` stands for them all.
_STUCK = frozenset(
    {
        STUCK_NO_RUNNER,
        STUCK_PENDING,
        SILENT_RUNNING,
        SILENT_CANCELING,
        SERVER_TIMEOUT,
        "server_timeout_running",
        "server_timeout_canceling",
        "stuck_or_timeout_failure",
        "no_matching_runner",
    }
)

# The reasons that GitLab accepts from a runner; `features.failure_reasons` lists them.
FROM_RUNNER = (
    UNKNOWN,
    "script_failure",
    "api_failure",
    "runner_system_failure",
    "missing_dependency_failure",
    "runner_unsupported",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "image_pull_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
)


def is_caught(reason: str, wanted: Collection[str]) -> bool:
    """Whether `retry: when: wanted` covers a failure for `reason`."""
    if "always" in wanted or reason in wanted:
        return True
    return "stuck_or_timeout_failure" in wanted and reason in _STUCK
