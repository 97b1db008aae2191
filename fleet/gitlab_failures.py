"""Why a job failed, in words: GitLab's `failure_reason`, for `status`, `jobs`, `explain`, pages.

Source: GitLab's `Enums::Ci::CommitStatus` and its `CommitStatusPresenter`.
"""

from collections.abc import Mapping

_OVER_TIME = "it ran over its time limit and its runner did not end it, so GitLab did"
_SILENT = "its runner sent GitLab nothing for too long"
_OUTDATED = "its environment has a newer deployment already"

FAILURES: Mapping[str, str] = {
    "unknown_failure": "GitLab does not say why",
    # the job itself
    "script_failure": "a command of its script failed",
    "job_execution_timeout": "it ran longer than its time limit",
    "missing_dependency_failure": "artifacts of a job that it depends on are missing",
    "trace_size_exceeded": "its log grew larger than GitLab allows",
    "job_token_expired": "its job token expired while it ran",
    "secrets_provider_not_found": "its secrets need a provider that is not configured",
    # its runner and machine
    "runner_system_failure": "its runner or its machine failed, not its script",
    "runner_interrupted": "its machine was ended or taken back while it ran",
    "runner_unsupported": "its runner lacks something that it asks for: a newer one may have it",
    "runner_configuration_error": "its runner's configuration is wrong for it",
    "runner_external_dependency_failure": "a service that its runner needs did not answer",
    "image_pull_failure": "its image could not be pulled",
    "no_updates_running": _SILENT,
    "no_updates_canceling": f"it was cancelled, and then {_SILENT}",
    "job_execution_server_timeout": _OVER_TIME,
    "server_timeout_running": _OVER_TIME,
    "server_timeout_canceling": _OVER_TIME,
    # no runner
    "no_matching_runner": "GitLab knows no runner that fits it",
    "stuck_pending_no_matching_runners": "it waited over an hour and no runner online fits it",
    "stuck_pending_with_matching_runners": "it waited a day and no runner that fits took it",
    "stuck_or_timeout_failure": "it waited or ran for too long, and GitLab ended it",
    "scheduler_failure": "GitLab could not give it to the runner that asked",
    "job_router_failure": "GitLab's job router could not give it to a runner",
    # GitLab
    "api_failure": "a call to GitLab's API failed",
    "data_integrity_failure": "GitLab's own data of it are damaged",
    "unmet_prerequisites": "GitLab could not prepare what it needs before it starts",
    "stale_schedule": "its delayed start was missed",
    "archived_failure": "it is archived, and can no longer run",
    "pipeline_loop_detected": "its pipelines start each other in a circle",
    "ci_quota_exceeded": "the compute minutes of its group are used up",
    "builds_disabled": "its project has CI/CD switched off",
    "project_deleted": "its project was deleted",
    "user_blocked": "the user who started it is blocked",
    "ip_restriction_failure": "its group does not allow its address",
    # deployments
    "environment_creation_failure": "GitLab could not create its environment",
    "deployment_rejected": "its deployment was rejected",
    "protected_environment_failure": "its environment is protected from the user who started it",
    "forward_deployment_failure": _OUTDATED,
    "failed_outdated_deployment_job": _OUTDATED,
}


def failure_words(failure: str) -> str:
    """A `failure_reason` in words; one of a newer GitLab as GitLab writes it."""
    return FAILURES.get(failure, failure)
