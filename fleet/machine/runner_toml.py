"""The `config.toml` that makes gitlab-runner serve one credential. Pure; the text holds the token.

Key names and spelling: gitlab-runner's `common/config.go`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fleet.machine.bundled import image_script
from fleet.machine.mailbox import CacheBucket, Credential, Docker
from fleet.proxy import proxy_environment

Value = str | bool | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPaths:
    """Where on the machine the runner works. Absolute paths."""

    builds_dir: str  # of shell jobs; a container has gitlab-runner's own, /builds and /cache
    cache_dir: str
    tls_ca: str  # file with the authority of GitLab's certificate, where the credential has one
    notice: str  # file; when it is there, an interrupted shell job prints it
    image: str  # file; a shell job writes the name of its image into it
    services: str  # file; when it is there, a shell job prints it at its start


def runner_toml(credential: Credential, paths: RunnerPaths, *, ends_at: datetime) -> str:
    """The configuration as text, ending with a newline. Shell jobs log `ends_at`."""
    runner: dict[str, Value] = {
        "name": credential.name,
        "url": credential.url,
        "token": credential.token,
        "executor": credential.executor,
    }
    if credential.executor == "shell":
        runner |= {"builds_dir": paths.builds_dir, "cache_dir": paths.cache_dir}
    if credential.tls_ca:
        runner["tls-ca-file"] = paths.tls_ca  # gitlab-runner has git trust it, too
    notice = [] if credential.cache is None else _cache_notice(credential.cache, ends_at)
    if credential.executor == "shell":
        runner["shell"] = "bash"
        notice = [
            *image_script(_quoted(paths.image), _quoted(paths.services)),
            *_shell_notice(paths.notice, ends_at),
            *notice,
        ]
    if notice:
        # Of a script of several lines the job's log shows the first only.
        runner["pre_build_script"] = "\n".join(["# runner-fleet", *notice])
    environment = _environment(credential)
    if environment:
        runner["environment"] = [f"{name}={value}" for name, value in environment.items()]
    tables = [("[[runners]]", runner)]
    if credential.docker and credential.executor == "docker":
        tables.append(("[runners.docker]", _docker(credential.docker)))
    # In its own log: no job can change it there.
    flags: dict[str, Value] = {"FF_LOG_IMAGES_CONFIGURED_FOR_JOB": True}
    if credential.cache:
        tables += _cache(credential.cache)
        # Up to 18 the newer S3 client of gitlab-runner leaves the session token out.
        flags["FF_USE_LEGACY_S3_CACHE_ADAPTER"] = True
    tables.append(("[runners.feature_flags]", flags))
    return "\n".join(["concurrent = 1", *(_table(head, rows) for head, rows in tables), ""])


def _environment(credential: Credential) -> dict[str, str]:
    """Variables of every job."""
    environment = proxy_environment(credential.proxy) | dict(credential.env)
    if credential.docker and credential.docker.registry_mirror:
        environment["FLEET_REGISTRY_MIRROR"] = credential.docker.registry_mirror
    return environment


def _shell_notice(notice: str, ends_at: datetime) -> list[str]:
    """Say in the job's log when the machine ends, and why it stopped if it must stop the job.

    `exit 143` is what bash would have done without the trap.
    """
    quoted = _quoted(notice)
    return [
        f"echo 'runner-fleet: this machine ends at {_shown(ends_at)}'",
        f"fleet_stopped() {{ test -r {quoted} && cat {quoted}; exit 143; }}",
        "trap fleet_stopped TERM",
    ]


def _quoted(text: str) -> str:
    """For bash."""
    return "'" + text.replace("'", "'\\''") + "'"


def _cache_notice(cache: CacheBucket, ends_at: datetime) -> list[str]:
    """Say in the job's log until when its cache can be saved, where a job may last longer."""
    if cache.keys_end_at >= ends_at:
        return []
    until = _shown(cache.keys_end_at)
    return [f"echo 'runner-fleet: this job can save its cache until {until}'"]


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _docker(docker: Docker) -> dict[str, Value]:
    rows: dict[str, Value] = {"image": docker.image, "privileged": docker.privileged}
    if docker.pull_policy:
        rows["pull_policy"] = docker.pull_policy
    if docker.volumes:
        rows["volumes"] = docker.volumes
    for name in ("helper_image", "cpus", "memory"):
        if setting := getattr(docker, name):
            rows[name] = setting
    return rows


def _cache(cache: CacheBucket) -> list[tuple[str, dict[str, Value]]]:
    top: dict[str, Value] = {"Type": "s3", "Shared": True, "Path": cache.prefix}
    s3: dict[str, Value] = {
        "BucketName": cache.bucket,
        "BucketLocation": cache.region,
        "AccessKey": cache.access_key,
        "SecretKey": cache.secret_key,
        "SessionToken": cache.session_token,
        "AuthenticationType": "access-key",
    }
    if cache.server:
        s3 |= {"ServerAddress": cache.server, "Insecure": cache.insecure}
    return [("[runners.cache]", top), ("[runners.cache.s3]", s3)]


def _table(head: str, rows: Mapping[str, Value]) -> str:
    return "\n".join(["", head, *(f"{key} = {_toml(value)}" for key, value in rows.items())])


def _toml(value: Value) -> str:
    """One TOML value. JSON's strings are TOML's basic strings, save that DEL must be escaped."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return "[" + ", ".join(_toml(item) for item in value) + "]"
