"""Checks that need more than one key: within a pool, between pools, with GitLab's table."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from fleet.config.gitlab_address import SAAS, host_of
from fleet.config.lines import Path
from fleet.config.model import (
    LAMBDA_MARGIN,
    LAMBDA_WALL,
    LONGEST_LAMBDA_WALL,
    GitLabConfig,
    PoolConfig,
)
from fleet.config.secret_words import is_named_secret, looks_secret
from fleet.config.values import architecture, did_you_mean, duration_text

_EC2_ONLY = ("instance_types", "market", "subnets", "image", "disk_gb", "docker")
# Alphabets with letters that look like those of a to z.
_LOOK_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "FULLWIDTH", "MATHEMATICAL")
_LAMBDA_ONLY = ("size",)
_LAMBDA_LAST_ORDERS = timedelta(seconds=15)  # wiping /tmp and saying goodbye

# GitLab.com's Free plan has 50 registered runners per group or project, paid plans and a
# self-managed GitLab 1,000 by default. Source: GitLab docs, "Instance limits".
_RUNNERS_ON_FREE = 50
_RUNNERS_BY_DEFAULT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An error at a path of the file, or a warning with which it may still be applied."""

    path: Path  # below the file's root
    message: str
    hint: str = ""
    is_warning: bool = False


def check_pool(pool: PoolConfig) -> Iterator[Finding]:
    """The findings within one pool."""
    if not pool.tags and not pool.run_untagged:
        yield _of(pool, "tags", "needs a tag or run_untagged = true: no job would come here")
    yield from _secrets(pool)
    yield from _mixed_letters(pool)
    yield from _lifetime(pool)
    yield from _idle(pool)
    yield from _docker(pool)
    if pool.backend == "ec2":
        yield from _ec2(pool)
    if pool.backend == "lambda":
        yield from _lambda(pool)
    if pool.executor == "shell" and "docker" in pool.model_fields_set and pool.backend != "lambda":
        yield _of(pool, "docker", 'has no effect with executor = "shell"', is_warning=True)


def _secrets(pool: PoolConfig) -> Iterator[Finding]:
    """Refuse values that look like a secret: the file is in Git, and every job reads `env`."""
    hint = "take it out and revoke it; jobs get secrets from GitLab's CI/CD variables"
    docker = pool.docker
    texts: list[tuple[Path, str | None]] = [
        *((("env", name), value) for name, value in pool.env.items()),
        *((("tags", index), tag) for index, tag in enumerate(pool.tags)),
        *((("docker", "volumes", index), each) for index, each in enumerate(docker.volumes)),
        (("docker", "image"), docker.image),
        (("docker", "helper_image"), docker.helper_image),
        (("docker", "registry_mirror"), docker.registry_mirror),
    ]
    for path, text in texts:
        where: Path = ("pools", pool.name, *path)
        if text is not None and looks_secret(text):
            message = "holds what looks like a secret (not shown here)"
            yield Finding(path=where, message=message, hint=hint)
        elif path[0] == "env" and text is not None and is_named_secret(str(path[1]), text):
            message = "is called like a secret, and every job of the pool reads it"
            yield Finding(path=where, message=message, hint=hint, is_warning=True)


def _mixed_letters(pool: PoolConfig) -> Iterator[Finding]:
    """Warn of a tag such as "docker" with a Cyrillic letter in it: no job will ever ask for it."""
    for index, tag in enumerate(pool.tags):
        foreign = [letter for letter in tag if unicodedata.name(letter, "").startswith(_LOOK_ALIKE)]
        if foreign and re.search(r"[A-Za-z]", tag):
            letter = f"U+{ord(foreign[0]):04X} {unicodedata.name(foreign[0])}"
            message = f"mixes letters that look alike: it has {letter}"
            path = ("pools", pool.name, "tags", index)
            yield Finding(path=path, message=message, is_warning=True)


def _lifetime(pool: PoolConfig) -> Iterator[Finding]:
    """A machine must outlive the longest job. (`_lambda` checks the limits of Lambda.)"""
    job, life = duration_text(pool.max_job_time), duration_text(pool.max_lifetime)
    beyond_wall = pool.backend == "lambda" and pool.max_job_time > longest_job(pool)
    if pool.max_lifetime > pool.max_job_time or beyond_wall:
        return
    if "max_lifetime" in pool.model_fields_set:
        yield _of(pool, "max_lifetime", f"must be more than max_job_time ({job}; is {life})")
    else:
        message = f"must be less than max_lifetime ({life}; is {job})"
        yield _of(pool, "max_job_time", message, "set max_lifetime, too")


def _idle(pool: PoolConfig) -> Iterator[Finding]:
    counts: list[tuple[Path, int]] = [(("idle", "count"), pool.idle.count)]
    counts += [
        (("idle", "schedule", index, "count"), window.count)
        for index, window in enumerate(pool.idle.schedule)
    ]
    for path, count in counts:
        if count > pool.ceiling:
            message = f"must be {pool.ceiling} or less, the pool's ceiling (is {count})"
            yield Finding(path=("pools", pool.name, *path), message=message)
    if pool.backend == "lambda" and any(count for _, count in counts):
        message = "keeps Lambda runners waiting, which is billed; a cold one starts in seconds"
        yield _of(pool, "idle", message, is_warning=True)


def _ec2(pool: PoolConfig) -> Iterator[Finding]:
    for key in _given(pool, _LAMBDA_ONLY):
        yield _of(pool, key, 'is only for pools with backend = "lambda"')
    if not pool.instance_types:
        hint = 'such as ["m7i.large", "m7a.large", "m6i.large"]'
        yield _of(pool, "instance_types", "must name an instance type", hint)
    by_kind = {architecture(kind): kind for kind in reversed(pool.instance_types)}
    if len(by_kind) > 1:
        types = " and ".join(f"{kind} ({name})" for name, kind in sorted(by_kind.items()))
        message = f"mixes processors: {types}; one image boots on one of them"
        yield _of(pool, "instance_types", message, "make two pools")
    if len(pool.instance_types) == 1 and pool.market != "on-demand":
        message = "is one type: when spot has none of it, every job waits or costs more"
        hint = "name three or more of about one size"
        yield _of(pool, "instance_types", message, hint, is_warning=True)


def _docker(pool: PoolConfig) -> Iterator[Finding]:
    for index, volume in enumerate(pool.docker.volumes):
        if "docker.sock" in volume:
            path = ("pools", pool.name, "docker", "volumes", index)
            message = "mounts the engine's socket"
            yield Finding(path=path, message=message, hint="write socket = true instead")
    helper = pool.docker.helper_image
    if helper is not None and not re.search(r"@sha256:[0-9a-f]{64}$", helper):
        message = "is not named by its digest: a person who moves the tag reads every job's sources"
        yield Finding(
            path=("pools", pool.name, "docker", "helper_image"),
            message=message,
            hint="name it …@sha256:…",
            is_warning=True,
        )


def _lambda(pool: PoolConfig) -> Iterator[Finding]:
    for key in _given(pool, _EC2_ONLY):
        yield _of(pool, key, 'is only for pools with backend = "ec2"')
    if pool.executor != "shell":
        message = 'must be "shell": there is no Docker engine in Lambda (is "docker")'
        yield _of(pool, "executor", message)
    yield from _wall(pool)


def longest_job(pool: PoolConfig) -> timedelta:
    """The longest job of a Lambda pool: its runner ends at its `max_lifetime`, or at the wall."""
    return min(pool.max_lifetime, LONGEST_LAMBDA_WALL) - LAMBDA_MARGIN


def _wall(pool: PoolConfig) -> Iterator[Finding]:
    """The limits of time: Lambda ends everything at its wall."""
    longest, life = longest_job(pool), duration_text(pool.max_lifetime)
    if pool.max_lifetime > LONGEST_LAMBDA_WALL:
        wall = duration_text(LONGEST_LAMBDA_WALL)
        yield _of(pool, "max_lifetime", f"must be {wall} or less, as Lambda is (is {life})")
    elif pool.max_lifetime > LAMBDA_WALL:
        seconds = int(pool.max_lifetime.total_seconds())
        message = f"is more than Lambda's {duration_text(LAMBDA_WALL)} in most accounts"
        hint = f"runner-fleet deploy --parameter LambdaTimeout={seconds}"
        yield _of(pool, "max_lifetime", message, hint, is_warning=True)
    if pool.max_job_time > longest:
        is_now = duration_text(pool.max_job_time)
        message = (
            f"must be {duration_text(longest)} or less: Lambda ends everything at "
            f"{duration_text(min(pool.max_lifetime, LONGEST_LAMBDA_WALL))} (is {is_now})"
        )
        yield _of(pool, "max_job_time", message, "longer jobs need an EC2 pool")
    elif pool.max_job_time + pool.wait_timeout + _LAMBDA_LAST_ORDERS > pool.max_lifetime:
        message = f"with max_job_time is more than Lambda's {life}: a job taken late is cut off"
        yield _of(pool, "wait_timeout", message, is_warning=True)


def _given(pool: PoolConfig, keys: Sequence[str]) -> Iterator[str]:
    return (key for key in keys if key in pool.model_fields_set)


def check_pools(pools: Sequence[PoolConfig], names: Sequence[str]) -> Iterator[Finding]:
    """The findings between pools, in file order. `names` has the invalid pools, too."""
    by_name = {pool.name: pool for pool in pools}
    overflows = {pool.overflow for pool in pools}
    for index, pool in enumerate(pools):
        yield from _overflow(pool, by_name, names)
        if pool.name not in overflows:
            yield from _shadow(pool, pools[:index])
        yield from _shared_tags(pool, pools[:index])


def _overflow(
    pool: PoolConfig, by_name: dict[str, PoolConfig], names: Sequence[str]
) -> Iterator[Finding]:
    if pool.overflow is None:
        return
    if pool.overflow not in names:
        message = f'no pool is called "{pool.overflow}"'
        yield _of(pool, "overflow", message, did_you_mean(pool.overflow, names))
        return
    chain = _chain(pool, by_name)
    if chain[-1] == pool.name:
        shortened = chain if len(chain) <= 8 else [*chain[:6], "…", chain[-1]]
        message = "leads back to this pool: " + " → ".join(shortened)
        yield _of(pool, "overflow", message)
    elif pool.overflow in by_name:
        yield from _who_stays(pool, by_name[pool.overflow])


def _chain(pool: PoolConfig, by_name: dict[str, PoolConfig]) -> list[str]:
    """Follow the overflow from pool to pool until it ends or meets a pool again."""
    chain, met = [pool.name], {pool.name}
    following: PoolConfig | None = pool
    while following is not None and following.overflow is not None:
        is_ring = following.overflow in met
        met.add(following.overflow)
        chain.append(following.overflow)
        following = None if is_ring else by_name.get(following.overflow)
    return chain


def _who_stays(pool: PoolConfig, roomier: PoolConfig) -> Iterator[Finding]:
    """Warn of jobs that the overflow may not take: GitLab matches all tags of a job."""
    lacking = [f'"{tag}"' for tag in pool.tags if tag not in roomier.tags]
    if lacking:
        asking = " or ".join(lacking)
        message = f'jobs tagged {asking} stay here: pool "{roomier.name}" lacks the tag'
        hint = f'add it to the tags of "{roomier.name}", or tag such jobs otherwise'
        yield _of(pool, "overflow", message, hint, is_warning=True)
    if pool.run_untagged and not roomier.run_untagged:
        message = f'jobs without tags stay here: pool "{roomier.name}" has run_untagged = false'
        yield _of(pool, "overflow", message, is_warning=True)
    if roomier.protected_only and not pool.protected_only:
        message = f'jobs of unprotected branches stay here: "{roomier.name}" is protected_only'
        yield _of(pool, "overflow", message, is_warning=True)


def _shadow(pool: PoolConfig, earlier: Sequence[PoolConfig]) -> Iterator[Finding]:
    """Warn when an earlier pool takes every job that this one may take."""
    for other in earlier:
        takes_tagged = set(pool.tags) <= set(other.tags)
        takes_untagged = other.run_untagged or not pool.run_untagged
        takes_unprotected = pool.protected_only or not other.protected_only
        if takes_tagged and takes_untagged and takes_unprotected:
            message = f'never gets a job: pool "{other.name}" is before it and has all its tags'
            hint = "put the pool with fewer tags first, or give this one a tag of its own"
            yield _of(pool, "tags", message, hint, is_warning=True)
            return


def _shared_tags(pool: PoolConfig, earlier: Sequence[PoolConfig]) -> Iterator[Finding]:
    """Warn of jobs that either of two pools may take, where each also has jobs of its own.

    GitLab gives a job to the first fitting runner that asks; the fleet launches a machine in the
    first pool. A pool with all tags of another is allowed: overflow needs that.
    """
    tags = set(pool.tags)
    for other in earlier:
        shared = tags.intersection(other.tags)
        if shared and shared != tags and len(shared) < len(other.tags):
            names = " and ".join(f'"{tag}"' for tag in sorted(shared)[:3])
            message = (
                f'shares {names} with pool "{other.name}": a job with no other tag runs in either'
            )
            hint = f'the fleet counts on "{other.name}"; ask for a tag that only one pool has'
            yield _of(pool, "tags", message, hint, is_warning=True)
            return


def check_instance_types(pools: Sequence[PoolConfig], known: Collection[str]) -> Iterator[Finding]:
    """The instance types that AWS does not have, by the list `known`; none when it is empty.

    A family that the list lacks may be newer than the list, so it is only a warning.
    """
    families = {kind.partition(".")[0] for kind in known}
    for pool in pools if known else ():
        for index, kind in enumerate(pool.instance_types):
            if kind in known:
                continue
            path = ("pools", pool.name, "instance_types", index)
            family = kind.partition(".")[0]
            hint = did_you_mean(kind, [name for name in known if name.startswith(family[:1])])
            if family in families:
                message = f'AWS has no "{kind}"'
                yield Finding(path=path, message=message, hint=hint)
            else:
                message = f'is not in AWS\'s list of this version: "{kind}"'
                yield Finding(path=path, message=message, hint=hint, is_warning=True)


def check_gitlab(gitlab: GitLabConfig, pools: Sequence[PoolConfig]) -> Iterator[Finding]:
    """The findings within `[gitlab]`, and between it and the pools."""
    any_project = gitlab.runners_in.kind == "project" and gitlab.runners_in.id is None
    if any_project and gitlab.credentials == "shared":
        message = '"shared" needs one place for the runner, and runners_in = "project" has many'
        hint = '"project:<number>", "group:<number>" or "instance"'
        yield Finding(path=("gitlab", "credentials"), message=message, hint=hint)
    for pool in pools if any_project else ():
        if pool.idle.count or any(window.count for window in pool.idle.schedule):
            message = 'needs a project to wait for, and runners_in = "project" names none'
            hint = 'name its owner there: "group:<number>" or "project:<number>"'
            yield _of(pool, "idle", message, hint)
    is_saas = host_of(gitlab.url) == SAAS
    if is_saas and gitlab.runners_in.kind == "instance":
        message = f"{SAAS} lets no user make runners for all of it"
        hint = 'write "group:<number>" or "project:<number>"'
        yield Finding(path=("gitlab", "runners_in"), message=message, hint=hint)
    yield from _doubts(gitlab, any_project)
    if gitlab.runners_in.kind != "project":
        yield from _shared_by_projects(pools)
    alone = [pool for pool in pools if gitlab.credentials != "shared" or pool.protected_only]
    if alone:
        yield from _too_many_runners(alone, len(pools), is_saas=is_saas)


def _doubts(gitlab: GitLabConfig, any_project: bool) -> Iterator[Finding]:
    on_loopback = re.match(r"http://(localhost|127\.|\[::1\])", gitlab.url)
    if gitlab.url.startswith("http:") and not on_loopback:
        message = "is not encrypted: tokens and sources travel in the open"
        yield Finding(path=("gitlab", "url"), message=message, is_warning=True)
    watched = gitlab.watch.projects or gitlab.watch.groups
    if not watched and (any_project or gitlab.runners_in.kind == "instance"):
        message = (
            "names nothing: a job whose webhook is lost is met only in projects of earlier jobs"
        )
        yield Finding(path=("gitlab", "watch"), message=message, is_warning=True)


def _shared_by_projects(pools: Sequence[PoolConfig]) -> Iterator[Finding]:
    """Warn of what runners do not have, or give away, that may get any project's job."""
    hint = 'write "project" or "project:<number>"'
    message = "keeps no job cache: a runner may get any project's job, and cache keys are for one"
    yield Finding(path=("gitlab", "runners_in"), message=message, hint=hint, is_warning=True)
    for pool in pools:
        key = _gives_root(pool)
        if key is not None:
            message = (
                "puts root of the machine into the job's hands, and with it a runner token "
                "that gets other projects' jobs"
            )
            path = ("pools", pool.name, *key)
            hint = 'runners_in = "project" makes runners that get one project\'s jobs only'
            yield Finding(path=path, message=message, hint=hint, is_warning=True)


def _gives_root(pool: PoolConfig) -> Path | None:
    """The key by which every job of the pool is root on its machine, or can be; None without."""
    if pool.backend != "ec2":
        return None
    if pool.executor == "shell":
        return ("executor",)
    if pool.docker.socket:
        return ("docker", "socket")
    if pool.docker.privileged:
        return ("docker", "privileged")
    binds = (
        index for index, volume in enumerate(pool.docker.volumes) if re.match(r"/[^:]*:", volume)
    )
    index = next(binds, None)
    return None if index is None else ("docker", "volumes", index)


def _too_many_runners(
    alone: Sequence[PoolConfig], pools: int, *, is_saas: bool
) -> Iterator[Finding]:
    """Warn when GitLab would refuse the last machines of pools a runner record of their own."""
    machines = sum(pool.ceiling for pool in alone)
    limit = _RUNNERS_ON_FREE if is_saas else _RUNNERS_BY_DEFAULT
    if machines + pools > limit:
        plan = " on its Free plan" if is_saas else " by default"
        message = (
            f"all ceilings together are {machines}, with a runner for each pool "
            f"{machines + pools}; GitLab allows {limit} runners{plan}"
        )
        hint = 'credentials = "shared" needs one runner per pool'
        yield Finding(path=("gitlab", "credentials"), message=message, hint=hint, is_warning=True)


def _of(
    pool: PoolConfig, key: str, message: str, hint: str = "", *, is_warning: bool = False
) -> Finding:
    return Finding(
        path=("pools", pool.name, key), message=message, hint=hint, is_warning=is_warning
    )
