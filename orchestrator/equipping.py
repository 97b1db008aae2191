"""A machine's runner record and credential. Every part may be repeated."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

from adapters.gitlab import NewRunner
from fleet.config import PoolConfig
from fleet.errors import FleetError, Transient
from fleet.events import WARNING, RunnerNotEquipped, emit
from fleet.mailbox import Credential, Docker
from fleet.model import Runner
from orchestrator.world import World

# Runner records made at once in GitLab; the client's budget paces them over the minute.
EQUIP_AT_ONCE = 8
# Whoever launched a machine equips it within this; until then nobody else makes it a record too.
LAUNCHER_TAKES = timedelta(minutes=1)
# When to look again: there is more to do at once, or the budget of GitLab calls is used up.
SOON_S = 1
PAUSE_S = 10
# GitLab takes no `maximum_timeout` below ten minutes. Source: runners API.
SHORTEST_MAXIMUM_TIMEOUT = timedelta(minutes=10)


def equip(world: World, pool: PoolConfig, runners: Iterable[Runner]) -> int | None:
    """Give each runner its credential, of its own or the pool's.

    In how many seconds to try again for those that got none; None: not before the minute's tick.
    """
    bare = [one for one in runners if one.mailbox and not one.equipped]
    with ThreadPoolExecutor(max_workers=EQUIP_AT_ONCE) as pacer:
        waits = list(pacer.map(lambda runner: _equip(world, pool, runner), bare))
    return max((wait_s for wait_s in waits if wait_s is not None), default=None)


def is_nobodys(runner: Runner, at: datetime) -> bool:
    """Whether a runner that waits for its credential waits for no launch that is under way."""
    return runner.covers and (runner.left_bare or at - runner.launched_at > LAUNCHER_TAKES)


def _equip(world: World, pool: PoolConfig, runner: Runner) -> int | None:
    """One runner record and one credential; a record that came too late is deleted again.

    In how many seconds GitLab may take it; what it refuses waits for the minute's tick.
    """
    created: int | None = None
    shared: int | None = None
    try:
        if world.config.gitlab.credentials == "shared":
            record_of_pool = world.pool_token(pool.name)
            shared, token = record_of_pool.runner_id, record_of_pool.token
        else:
            record = world.gitlab.create_runner(_record(world, pool, runner))
            created, token = record.id, record.token
        equipped = replace(runner, gitlab_runner_id=created, pool_record_id=shared)
        credential = _credential(world, pool, equipped, token)
        if not world.runners.equip(equipped, credential) and created is not None:
            world.gitlab.delete_runner(created)
    except FleetError as exc:
        told = RunnerNotEquipped(runner_id=runner.id, pool=pool.name, error=str(exc))
        emit(told, level=WARNING)
        if not isinstance(exc, Transient):
            return None
        if not runner.left_bare:
            world.runners.leave_bare(runner)
        return PAUSE_S if "retry_after_s" in exc.facts else SOON_S
    return None


def _record(world: World, pool: PoolConfig, runner: Runner) -> NewRunner:
    where = world.config.gitlab.runners_in
    owner = where.id if where.id is not None else runner.project_id
    longest = max(pool.max_job_time, SHORTEST_MAXIMUM_TIMEOUT)
    return NewRunner(
        kind=f"{where.kind}_type",
        owner_id=owner,
        description=world.description(runner.id),
        tags=pool.tags,
        run_untagged=pool.run_untagged,
        maximum_timeout_s=int(longest.total_seconds()),
        locked=where.kind == "project",
        protected_only=pool.protected_only,
    )


def _credential(world: World, pool: PoolConfig, runner: Runner, token: str) -> Credential:
    lifetime = runner.expires_at - world.clock()
    # A warm runner stops waiting while a job that it takes last can still run to its end.
    patience = pool.wait_timeout
    if runner.for_job is None:
        patience = max(patience, lifetime - pool.max_job_time)
    docker = None
    if pool.executor == "docker":
        docker = Docker(
            image=pool.docker.image,
            pull_policy=(pool.docker.pull_policy,),
            privileged=pool.docker.privileged,
            volumes=pool.docker.volumes,
            helper_image=pool.docker.helper_image,
            registry_mirror=pool.docker.registry_mirror,
        )
    return Credential(
        runner_id=runner.id,
        pool=pool.name,
        url=world.config.gitlab.url,
        token=token,
        executor=pool.executor,
        wait_timeout_s=int(patience.total_seconds()),
        expires_at=runner.expires_at,
        name=runner.id,
        cache=world.cache,
        docker=docker,
        env=pool.env,
    )
