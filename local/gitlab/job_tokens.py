"""Which other projects a job may read with its token. Pure.

Source: GitLab docs, "CI/CD job token", limits to a project's access.
"""

from local.gitlab.model import Job, Project, Role


def reading_is_allowed(job: Job, target: Project) -> bool:
    """Whether the lists of the target admit the job; its own jobs need no list."""
    if job.project is target or target.is_public or not target.limits_job_tokens:
        return True
    groups = {group.id for group in job.project.group.lineage}
    return job.project.id in target.job_token_projects or bool(
        groups & target.job_token_groups.keys()
    )


def user_may_read(job: Job, target: Project) -> bool:
    """Whether the user who started the job may read the target; the token allows no more."""
    if job.project is target or target.is_public or job.user.is_admin:
        return True
    return target.role_of(job.user) >= Role.REPORTER
