"""The CI/CD variables of pipelines and jobs, predefined and others. Pure.

Source: GitLab docs, "Predefined CI/CD variables" and "CI/CD variable precedence"; GitLab,
`Ci::Build#variables` and `Gitlab::Ci::Variables::Builder` for their order.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from local.gitlab.dates import iso_date
from local.gitlab.environments import environment_slug, tier_of
from local.gitlab.model import Job, MergeRequest, Pipeline, PipelineRequest, Project, Runner, User
from local.gitlab.secret_variables import variables_for

_SLUG_LENGTH = 63
_LONGEST_DESCRIPTION = 2700
_MOST_OPEN = 4  # merge requests in CI_OPEN_MERGE_REQUESTS
# Of a job name such as `unit: [a, b] 1/3`, the part that differs from its siblings.
_OWN_PART = re.compile(r"([\x08\s:]+((\[.*\])|(\d+[\s:/\\]+\d+))){1,3}\s*\Z")
_REFERENCE = re.compile(
    r"\$\$|%%|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})|%([A-Za-z_]\w*)%", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLabInstance:
    """The facts of the GitLab instance that variables have."""

    base_url: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CiVariable:
    """A value, and how the runner treats it."""

    value: str
    is_public: bool = True
    is_masked: bool = False
    is_file: bool = False
    is_raw: bool = False  # not expanded


Values = dict[str, CiVariable]


def slug(text: str) -> str:
    """GitLab's `…_SLUG`: lower-case letters, digits and dashes, 63 characters at most."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:_SLUG_LENGTH].strip("-")


def authorized_clone_url(base_url: str, project: Project, token: str) -> str:
    """The project's HTTP address with a job token as its login."""
    scheme, rest = base_url.split("://", 1)
    return f"{scheme}://gitlab-ci-token:{token}@{rest}/{project.full_path}.git"


def is_protected(request: PipelineRequest) -> bool:
    """Whether the pipeline is protected. Source: GitLab's `Pipeline#protected_ref?`.

    For a merge request's pipeline GitLab also asks whether its user may push to both branches.
    """
    project, merge_request = request.project, request.merge_request
    if request.is_tag:
        return project.is_protected_tag(request.ref)
    if merge_request is None:
        return project.is_protected(request.ref)
    branches = (merge_request.source_branch, merge_request.target_branch)
    return project.protects_merge_requests and all(map(project.is_protected, branches))


def pipeline_variables(request: PipelineRequest, instance: GitLabInstance) -> dict[str, str]:
    """The predefined variables known before the jobs: for `rules`, and for every job."""
    return {
        "CI": "true",
        "GITLAB_CI": "true",
        **_server_variables(instance),
        **_project_variables(request.project, instance.base_url),
        **_commit_variables(request),
        **_merge_request_variables(request, instance.base_url),
        "CI_PIPELINE_SOURCE": request.source,
        **_user_variables(request.user),
    }


def configured_variables(request: PipelineRequest) -> dict[str, str]:
    """The other variables that `rules` see: those of groups, the project and this pipeline."""
    secret = variables_for(request.project, environment=None, is_protected=is_protected(request))
    return {**{key: variable.value for key, variable in secret.items()}, **request.variables}


def _server_variables(instance: GitLabInstance) -> dict[str, str]:
    parts = urlsplit(instance.base_url)
    numbers = [*re.findall(r"\d+", instance.version), "0", "0", "0"]
    default_port = 443 if parts.scheme == "https" else 80
    return {
        "CI_SERVER_URL": instance.base_url,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": str(parts.port or default_port),
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_FQDN": parts.netloc,
        "CI_SERVER_SHELL_SSH_HOST": parts.hostname or "",
        "CI_SERVER_SHELL_SSH_PORT": "22",
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_VERSION": instance.version,
        "CI_SERVER_VERSION_MAJOR": numbers[0],
        "CI_SERVER_VERSION_MINOR": numbers[1],
        "CI_SERVER_VERSION_PATCH": numbers[2],
        "CI_SERVER_REVISION": "simulator",
        "CI_API_V4_URL": f"{instance.base_url}/api/v4",
        "CI_API_GRAPHQL_URL": f"{instance.base_url}/api/graphql",
        "CI_TEMPLATE_REGISTRY_HOST": "registry.gitlab.com",
        "GITLAB_FEATURES": "",
    }


def _project_variables(project: Project, base_url: str) -> dict[str, str]:
    return {
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": project.path,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_DESCRIPTION": "",
        "CI_PROJECT_PATH": project.full_path,
        "CI_PROJECT_PATH_SLUG": slug(project.full_path),
        "CI_PROJECT_NAMESPACE": project.group.full_path,
        "CI_PROJECT_NAMESPACE_ID": str(project.group.id),
        "CI_PROJECT_NAMESPACE_SLUG": slug(project.group.full_path),
        "CI_PROJECT_ROOT_NAMESPACE": project.group.lineage[-1].path,
        "CI_PROJECT_URL": f"{base_url}/{project.full_path}",
        "CI_PROJECT_VISIBILITY": "public" if project.is_public else "private",
        "CI_PROJECT_REPOSITORY_LANGUAGES": "",
        "CI_PROJECT_CLASSIFICATION_LABEL": "",
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_CONFIG_PATH": project.ci_config_path or ".gitlab-ci.yml",
    }


def _commit_variables(request: PipelineRequest) -> dict[str, str]:
    commit, merge_request = request.commit, request.merge_request
    title, _, description = commit.message.partition("\n")
    source_ref = merge_request.source_branch if merge_request else request.ref
    kind = {} if merge_request else {"CI_COMMIT_BRANCH": request.ref}
    if request.is_tag:
        kind = {"CI_COMMIT_TAG": request.ref, "CI_COMMIT_TAG_MESSAGE": request.tag_message}
    return {
        **kind,
        "CI_COMMIT_SHA": commit.sha,
        "CI_COMMIT_SHORT_SHA": commit.sha[:8],
        "CI_COMMIT_BEFORE_SHA": request.before_sha,
        "CI_COMMIT_REF_NAME": source_ref,
        "CI_COMMIT_REF_SLUG": slug(source_ref),
        "CI_COMMIT_REF_PROTECTED": _flag(is_protected(request)),
        "CI_COMMIT_MESSAGE": commit.message,
        "CI_COMMIT_MESSAGE_IS_TRUNCATED": "false",
        "CI_COMMIT_TITLE": title,
        "CI_COMMIT_DESCRIPTION": description.strip(),
        "CI_COMMIT_AUTHOR": f"{commit.author_name} <{commit.author_email}>",
        "CI_COMMIT_TIMESTAMP": iso_date(commit.authored_at) or "",
    }


def _merge_request_variables(request: PipelineRequest, base_url: str) -> dict[str, str]:
    """The variables of the pipeline's merge request, and the open merge requests of its branch."""
    project, own = request.project, request.merge_request
    branch = own.source_branch if own else request.ref
    opened = [
        f"{project.full_path}!{other.iid}"
        for other in project.merge_requests.values()
        if other.source_branch == branch and other.state == "opened" and not request.is_tag
    ]
    listed = {"CI_OPEN_MERGE_REQUESTS": ",".join(opened[:_MOST_OPEN])} if opened else {}
    return listed if own is None else {**listed, **_of_merge_request(own, request, base_url)}


def _of_merge_request(own: MergeRequest, request: PipelineRequest, base_url: str) -> dict[str, str]:
    project = own.project
    url = f"{base_url}/{project.full_path}"
    labels = {"CI_MERGE_REQUEST_LABELS": ",".join(own.labels)} if own.labels else {}
    return {
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",  # of merged results pipelines only
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "",
        "CI_MERGE_REQUEST_DIFF_ID": str(own.diffs),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": request.diff_base_sha,
        "CI_MERGE_REQUEST_ID": str(own.id),
        "CI_MERGE_REQUEST_IID": str(own.iid),
        "CI_MERGE_REQUEST_REF_PATH": own.ref,
        "CI_MERGE_REQUEST_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_PROJECT_PATH": project.full_path,
        "CI_MERGE_REQUEST_PROJECT_URL": url,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": own.target_branch,
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED": _flag(project.is_protected(own.target_branch)),
        "CI_MERGE_REQUEST_TITLE": own.title,
        "CI_MERGE_REQUEST_DRAFT": _flag(own.is_draft),
        "CI_MERGE_REQUEST_DESCRIPTION": own.description[:_LONGEST_DESCRIPTION],
        "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED": _flag(
            len(own.description) > _LONGEST_DESCRIPTION
        ),
        **labels,
        "CI_MERGE_REQUEST_SQUASH_ON_MERGE": _flag(own.is_squashed),
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": project.full_path,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": url,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": own.source_branch,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED": _flag(project.is_protected(own.source_branch)),
    }


def _flag(value: bool) -> str:
    return str(value).lower()


def _user_variables(user: User) -> dict[str, str]:
    return {
        "GITLAB_USER_ID": str(user.id),
        "GITLAB_USER_LOGIN": user.username,
        "GITLAB_USER_NAME": user.name,
        "GITLAB_USER_EMAIL": user.email,
    }


def job_variables(
    job: Job, instance: GitLabInstance, *, inherited: Mapping[str, str] | None = None
) -> Values:
    """The variables of one job, in GitLab's precedence and not expanded.

    `inherited` are those of the dotenv reports of earlier jobs.
    """
    pipeline, spec = job.pipeline, job.spec
    environment = spec.environment.name if spec.environment else None
    is_safe = is_protected(pipeline)
    secret = variables_for(job.project, environment=environment, is_protected=is_safe)
    from_file = {
        key: CiVariable(value=value, is_raw=key in spec.raw_variables)
        for key, value in spec.variables.items()
    }
    from_request = {
        key: CiVariable(value=value, is_public=False, is_file=key in pipeline.file_variables)
        for key, value in pipeline.variables.items()
    }
    return {
        **_persisted(job, instance.base_url),
        **_plain(pipeline_variables(pipeline, instance)),
        **_plain(_of_pipeline(pipeline)),
        **_plain(_of_job(job)),
        **from_file,
        **_plain(_user_variables(job.user)),
        **{k: CiVariable(value=v, is_public=False) for k, v in (inherited or {}).items()},
        **{
            key: CiVariable(
                value=variable.value,
                is_public=False,
                is_masked=variable.is_masked,
                is_file=variable.is_file,
                is_raw=variable.is_raw,
            )
            for key, variable in secret.items()
        },
        **from_request,
        **_plain(_of_environment(job)),
    }


def _plain(texts: Mapping[str, str]) -> Values:
    return {key: CiVariable(value=value) for key, value in texts.items()}


def _persisted(job: Job, base_url: str) -> Values:
    """The variables of the lowest precedence."""
    url = f"{base_url}/{job.project.full_path}"
    hidden = {
        "CI_JOB_TOKEN": job.token,
        "CI_REPOSITORY_URL": authorized_clone_url(base_url, job.project, job.token),
    }
    shown = {
        "CI_PIPELINE_ID": str(job.pipeline.id),
        "CI_PIPELINE_URL": f"{url}/-/pipelines/{job.pipeline.id}",
        "CI_JOB_ID": str(job.id),
        "CI_JOB_URL": f"{url}/-/jobs/{job.id}",
        "CI_JOB_STARTED_AT": iso_date(job.started_at) or "",
        "CI_JOB_TIMEOUT": str(job.timeout_s or job.project.build_timeout_s),
    }
    masked = {
        key: CiVariable(value=value, is_public=False, is_masked=True)
        for key, value in hidden.items()
    }
    return {**_plain(shown), **masked}


def _of_pipeline(pipeline: Pipeline) -> dict[str, str]:
    return {
        "CI_PIPELINE_IID": str(pipeline.iid),
        "CI_PIPELINE_CREATED_AT": iso_date(pipeline.created_at) or "",
        "CI_PIPELINE_NAME": pipeline.name or "",
    }


def _of_job(job: Job) -> dict[str, str]:
    spec = job.spec
    variables = {
        "CI_JOB_NAME": spec.name,
        "CI_JOB_NAME_SLUG": slug(spec.name),
        "CI_JOB_GROUP_NAME": _OWN_PART.sub("", spec.name).strip(),
        "CI_JOB_STAGE": spec.stage,
        "CI_JOB_TAGS": json.dumps(list(spec.tags)),
        "CI_JOB_RETRY_COUNT": str(job.retries_count),
        "CI_NODE_TOTAL": str(spec.id_in_parallel[1] if spec.id_in_parallel else 1),
        **(_of_runner(job.runner) if job.runner else {}),
    }
    if spec.id_in_parallel:
        variables["CI_NODE_INDEX"] = str(spec.id_in_parallel[0])
    if spec.image:
        variables["CI_JOB_IMAGE"] = spec.image.name
    if spec.when in ("manual", "delayed"):
        variables["CI_JOB_MANUAL"] = "true"
    return variables


def _of_runner(runner: Runner) -> dict[str, str]:
    return {
        "CI_RUNNER_ID": str(runner.id),
        "CI_RUNNER_DESCRIPTION": runner.description,
        "CI_RUNNER_TAGS": json.dumps(sorted(runner.tags)),
    }


def _of_environment(job: Job) -> dict[str, str]:
    """The variables of the highest precedence; the URL is not expanded."""
    spec = job.spec.environment
    if spec is None:
        return {}
    known = job.project.environments.get(spec.name)
    url = spec.url or (known.external_url if known else None)
    return {
        "CI_ENVIRONMENT_NAME": spec.name,
        "CI_ENVIRONMENT_SLUG": environment_slug(spec.name),
        "CI_ENVIRONMENT_ACTION": spec.action,
        "CI_ENVIRONMENT_TIER": spec.tier or (known.tier if known else tier_of(spec)),
        **({"CI_ENVIRONMENT_URL": url} if url else {}),
    }


def expand_all(variables: Values) -> Values:
    """The variables with their references expanded recursively, as GitLab sends them.

    References to unknown, raw and file variables, and circles, stay for the runner.
    """
    return {
        key: v if v.is_raw else replace(v, value=expand_in(v.value, variables, (key,)))
        for key, v in variables.items()
    }


def expand_in(text: str, variables: Values, trail: tuple[str, ...] = ()) -> str:
    """`text` with its references expanded recursively; `trail` are the names being expanded."""

    def value_of(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2] or reference[3]
        variable = variables.get(name) if name else None
        if variable is None or variable.is_raw or variable.is_file or name in trail:
            return reference[0]
        return expand_in(variable.value, variables, (*trail, name))

    return _REFERENCE.sub(value_of, text)
