"""Pools' own runner tokens: shown to GitLab, and made anew before they expire.

Anew, not reset: a reset kills the old token at once, which machines may share. The record before
stays until nothing uses it.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile

from adapters.aws.secrets import PoolToken
from adapters.gitlab.values import CreatedRunner, NewRunner
from adapters.gitlab.wanted_record import wanted_record
from adapters.ledger.pools import PoolRow
from fleet.config.model import PoolConfig, RunnersIn
from fleet.errors import FleetError, Refused, Transient
from fleet.events import ERROR, WARNING, WorkPutOff, emit
from fleet.rules.pool_token import UNSURE_FOR, is_dead, is_presence_due, is_renewal_due, outlived
from fleet.rules.runner_record import RecordName, pool_record_name, read_record_name
from orchestrator.world import World


def show_presence(world: World, has_time: Callable[[], bool]) -> None:
    """Verify each pool's own runner record with GitLab, so that no job there counts as stuck."""
    for pool in takewhile(lambda _: has_time(), world.config.pools):
        try:
            keep_token(world, pool)
        except FleetError as exc:
            doing = f"presence of pool {pool.name}"
            emit(WorkPutOff(doing=doing, error=str(exc)), level=WARNING)


def keep_token(world: World, pool: PoolConfig) -> None:
    """Show the pool's token to GitLab; replace one that expires soon or is not valid."""
    at = world.clock()
    row = world.fleet.pool(pool.name)
    made_at, expires_at = row.token_made_at, row.token_expires_at
    if is_renewal_due(pool, made_at=made_at, expires_at=expires_at, at=at):
        row = _renew_in_time(world, pool, row)
    if not is_presence_due(row.verified_at, at):
        return
    token = _token(world, pool)
    try:
        expires_at = world.gitlab.verify_runner(token.token)
    except Refused as exc:
        if not is_dead(exc):
            raise
        _renew(world, pool)
        token = _token(world, pool)
        expires_at = world.gitlab.verify_runner(token.token)
    world.fleet.note_verified(pool.name, at, expires_at=expires_at)
    _drop_former(world, pool, row, token.runner_id)


def _renew_in_time(world: World, pool: PoolConfig, row: PoolRow) -> PoolRow:
    """Renew the token; while that fails, the old one is shown as long as it is valid."""
    try:
        _renew(world, pool)
    except FleetError as exc:
        emit(WorkPutOff(doing=f"renew pool {pool.name}", error=str(exc)), level=ERROR)
        return row
    return world.fleet.pool(pool.name)


def _renew(world: World, pool: PoolConfig) -> None:
    """Make a new record and put its token in force.

    Both records are noted first: a record that a crash leaves unused is deleted later.
    """
    at = world.clock()
    if not world.fleet.claim_renewal(pool.name, at=at):
        return  # another pass renews it
    try:
        before = _token(world, pool)
        created = world.gitlab.create_runner(_wanted(world, pool, before))
        for record_id in (created.id, before.runner_id):
            world.fleet.note_made(pool.name, record_id, at)
        _put_in_force(world, pool, created)
    except FleetError as exc:
        world.fleet.note_renewal_failed(pool.name, str(exc), at=at)
        raise
    world.fleet.note_renewed(pool.name)


def _put_in_force(world: World, pool: PoolConfig, created: CreatedRunner) -> None:
    """Put the token of a new record into the secret; delete the record where AWS refuses that.

    Else a missing permission makes another record each minute, up to GitLab's limit.
    """
    token = PoolToken(runner_id=created.id, token=created.token)
    try:
        world.pool_secrets.store(pool, token)
    except Refused:
        with suppress(FleetError):
            world.gitlab.delete_runner(created.id)
            world.fleet.forget_record(pool.name, created.id)
        raise
    except Transient:
        world.fleet.put_off_renewal(pool.name, until=world.clock() + UNSURE_FOR)
        raise


def _wanted(world: World, pool: PoolConfig, before: PoolToken) -> NewRunner:
    """The record to make: of the configured owner, or of that of the record before."""
    owner = world.config.gitlab.runners_in
    if owner.kind == "project" and owner.id is None:
        record = world.gitlab.runner(before.runner_id)
        owners = record.project_ids if record else ()
        if not owners:
            raise Refused("no project is known for the pool's record: run `runner-fleet apply`")
        owner = RunnersIn(kind="project", id=owners[0])
    return wanted_record(pool, owner, pool_record_name(pool.name))


def _drop_former(world: World, pool: PoolConfig, row: PoolRow, current: int) -> None:
    """Delete the pool's former records that no machine uses."""
    if not row.former:
        return
    name = RecordName(pool=pool.name)
    used = [runner.pool_record_id for runner in world.runners.live(pool.name)]
    for record_id in outlived(row.former, current=current, used=used, at=world.clock()):
        record = world.gitlab.runner(record_id)
        if record is not None and read_record_name(record.description) == name:
            if world.gitlab.runner_jobs(record_id, status="running"):
                continue
            world.gitlab.delete_runner(record_id)
        world.fleet.forget_record(pool.name, record_id)


def _token(world: World, pool: PoolConfig) -> PoolToken:
    token = world.pool_secrets.find(pool)
    if token is None:
        raise Refused("the pool has no runner record: run `runner-fleet apply`", pool=pool.name)
    return token
