"""A machine's runner record and credential. Every part may be repeated."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapters.aws.cache_keys import CacheScope
from adapters.gitlab.values import NewRunner
from adapters.gitlab.wanted_record import wanted_record
from adapters.ledger.pools import PoolRow
from fleet.config.model import PoolConfig
from fleet.errors import FleetError, Transient
from fleet.events import WARNING, CacheNotGiven, RunnerNotEquipped, emit
from fleet.holds import Hold
from fleet.machine.mailbox import CacheBucket, Credential, Docker
from fleet.model import Runner
from fleet.rules.equipping import cache_project, patience
from fleet.rules.holds import CredentialRequest, asks_again_in_s, held_by, hold_for, lifted
from fleet.rules.outdated import serves
from fleet.rules.pool_token import is_check_due
from fleet.times import HasUtcTimes
from orchestrator.world import World

# Of the machine's own engine, mounted into every job container.
SOCKET = "/var/run/docker.sock:/var/run/docker.sock"
# Runner records made at once in GitLab; the client's call allowance paces them over the minute.
EQUIP_AT_ONCE = 8
# When to look again where there is more to do at once.
SOON_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(HasUtcTimes):
    """A runner token, and when GitLab lets it expire."""

    text: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Runners whose machines may be launched; `tokens` by runner id, of those that have a record.

    `hold`: why the others may not.
    """

    runners: tuple[Runner, ...] = ()
    tokens: Mapping[str, Token] = field(default_factory=dict)
    hold: Hold | None = None


def prepare(
    world: World, pool: PoolConfig, row: PoolRow, wanted: Sequence[Runner], holds: Sequence[Hold]
) -> Ready:
    """Ask GitLab before the cloud: a machine without a credential costs money and serves no job.

    The first runner gets its record here, the others theirs while their machines boot; all of
    them here while `holds` remember that GitLab gave none. Where machines share the pool's token,
    GitLab says whether it is valid.
    """
    at = world.clock()
    first = wanted[0]
    try:
        if world.shares_record(pool.name):
            _check_token(world, pool, row, in_doubt=bool(holds))
            ready = Ready(runners=tuple(wanted))
        else:
            made, token = _make(world, pool, first)
            ready = Ready(runners=(made, *wanted[1:]), tokens={made.id: token})
    except FleetError as exc:
        return Ready(hold=_remember(world, pool, first, exc, holds))
    for hold in lifted(holds, pool.name, first.project_id, at):
        world.fleet.note_hold(hold)
    if holds and not world.shares_record(pool.name):
        return _make_others(world, pool, ready, wanted[1:])
    return ready


def _check_token(world: World, pool: PoolConfig, row: PoolRow, *, in_doubt: bool) -> None:
    """Ask GitLab whether the pool's own token is valid. GitLab notes that as presence, too."""
    at = world.clock()
    token = world.pool_token(pool.name).token
    if is_check_due(row.verified_at, at, in_doubt=in_doubt):
        expires_at = world.gitlab.verify_runner(token)
        world.fleet.note_verified(pool.name, at, expires_at=expires_at)


def _make_others(world: World, pool: PoolConfig, ready: Ready, others: Sequence[Runner]) -> Ready:
    """A record for each of the others, until GitLab gives none."""
    failures: list[FleetError] = []

    def make(runner: Runner) -> tuple[Runner, Token] | None:
        if failures:
            return None
        try:
            return _make(world, pool, runner)
        except FleetError as exc:
            failures.append(exc)
            return None

    with ThreadPoolExecutor(max_workers=EQUIP_AT_ONCE) as pacer:
        made = [pair for pair in pacer.map(make, others) if pair is not None]
    return Ready(
        runners=(ready.runners[0], *(runner for runner, _ in made)),
        tokens={**ready.tokens, **{runner.id: token for runner, token in made}},
        hold=_remember(world, pool, ready.runners[0], failures[0], ()) if failures else None,
    )


def discard(world: World, runners: Iterable[Runner]) -> None:
    """Delete the records of runners that are not launched; the sweep finds what stays."""
    for runner in runners:
        if runner.gitlab_runner_id is not None:
            with suppress(FleetError):
                world.gitlab.delete_runner(runner.gitlab_runner_id)


def equip(
    world: World,
    pool: PoolConfig,
    runners: Iterable[Runner],
    *,
    tokens: Mapping[str, Token] | None = None,
    holds: Sequence[Hold] = (),
) -> int | None:
    """Give each runner its credential, of its own or the pool's; `tokens` of records made already.

    In how many seconds to try again for those that got none; None: not before the minute's tick.
    After the first refusal of GitLab, the other runners of its scope wait.
    """
    bare = [runner for runner in runners if runner.mailbox and not runner.equipped]
    round_ = _Equipping(world=world, pool=pool, tokens=tokens or {}, holds=holds)
    with ThreadPoolExecutor(max_workers=EQUIP_AT_ONCE) as pacer:
        calls = [pacer.submit(round_.give, runner) for runner in bare]
    for call in calls:
        call.result()
    for hold in round_.changed.values():
        world.fleet.note_hold(hold)
    return max(round_.waits, default=None)


@dataclass(slots=True, kw_only=True)
class _Equipping:
    """Credentials for some runners of one pool, and what GitLab's answers teach about holds."""

    world: World
    pool: PoolConfig
    tokens: Mapping[str, Token]
    holds: Sequence[Hold]
    changed: dict[object, Hold] = field(default_factory=dict)  # by scope
    waits: list[int] = field(default_factory=list)

    def give(self, runner: Runner) -> None:
        """One credential; on failure the row lets any later pass equip it."""
        hold = None if runner.id in self.tokens else self._held_by(runner)
        if hold is not None:
            _note_left_bare(self.world, runner)
            self._wait(asks_again_in_s(hold, self.world.clock()))
            return
        try:
            with_record, token = self._token(runner)
        except FleetError as exc:
            self._fails(runner, exc)
            hold = _hold_of(self.world, self.pool, runner, exc, self.holds)
            self.changed[hold.scope] = hold
            self._wait(asks_again_in_s(hold, self.world.clock()))
            return
        credential = _credential(self.world, self.pool, with_record, token)
        try:
            if not self.world.runners.equip(with_record, credential):
                discard(self.world, [with_record])
        except FleetError as exc:
            self._fails(runner, exc)
            self._wait(SOON_S if isinstance(exc, Transient) else None)

    def _held_by(self, runner: Runner) -> Hold | None:
        holds = (*self.holds, *self.changed.copy().values())
        return held_by(holds, self.pool.name, runner.project_id, self.world.clock())

    def _token(self, runner: Runner) -> tuple[Runner, Token]:
        """The token for a runner, with the record that it is of."""
        if runner.id in self.tokens:
            return runner, self.tokens[runner.id]
        if self.world.shares_record(self.pool.name):
            record = self.world.pool_token(self.pool.name)
            ends = self.world.fleet.pool(self.pool.name).token_expires_at
            token = Token(text=record.token, expires_at=ends)
            return replace(runner, pool_record_id=record.runner_id), token
        made = _make(self.world, self.pool, runner)
        for hold in lifted(self.holds, self.pool.name, runner.project_id, self.world.clock()):
            self.changed.setdefault(hold.scope, hold)
        return made

    def _fails(self, runner: Runner, failure: FleetError) -> None:
        _log_failure(runner, failure)
        _note_left_bare(self.world, runner)

    def _wait(self, wait_s: int | None) -> None:
        if wait_s is not None:
            self.waits.append(wait_s)


def _note_left_bare(world: World, runner: Runner) -> None:
    if not runner.left_bare:
        world.runners.note_left_bare(runner)


def _remember(
    world: World, pool: PoolConfig, runner: Runner, failure: FleetError, holds: Iterable[Hold]
) -> Hold:
    """Hold what would fail as this did."""
    _log_failure(runner, failure)
    hold = _hold_of(world, pool, runner, failure, holds)
    world.fleet.note_hold(hold)
    return hold


def _log_failure(runner: Runner, failure: FleetError) -> None:
    event = RunnerNotEquipped(runner_id=runner.id, pool=runner.pool, error=str(failure))
    emit(event, level=WARNING)


def _hold_of(
    world: World, pool: PoolConfig, runner: Runner, failure: FleetError, known: Iterable[Hold]
) -> Hold:
    """The hold that follows from a failure to get a runner's credential."""
    request = CredentialRequest(
        pool=pool.name, project_id=runner.project_id, shared=world.shares_record(pool.name)
    )
    return hold_for(request, failure, known, world.clock())


def _make(world: World, pool: PoolConfig, runner: Runner) -> tuple[Runner, Token]:
    """A runner with a record of its own in GitLab, and the record's token."""
    record = world.gitlab.create_runner(_wanted(world, pool, runner))
    token = Token(text=record.token, expires_at=record.token_expires_at)
    kind = serves(pool, world.config.gitlab.runners_in)
    return replace(runner, gitlab_runner_id=record.id, serves=kind), token


def _wanted(world: World, pool: PoolConfig, runner: Runner) -> NewRunner:
    """The record to make for one machine."""
    owner = world.config.gitlab.runners_in
    if owner.id is None:
        owner = owner.model_copy(update={"id": runner.project_id})
    return wanted_record(pool, owner, world.description(runner.id))


def _cache(world: World, pool: PoolConfig, runner: Runner) -> CacheBucket | None:
    """The cache of the project whose jobs GitLab gives this runner; None where it may be any.

    Without keys jobs run without a cache.
    """
    project_id = cache_project(world.config.gitlab.runners_in, runner)
    if world.cache is None or project_id is None:
        return None
    scope = CacheScope(
        project_id=project_id,
        is_protected=pool.protected_only,
        session=runner.id,
        lasts=pool.boot_deadline + pool.wait_timeout + pool.max_job_time,
    )
    try:
        return world.cache(scope)
    except FleetError as exc:
        withheld = CacheNotGiven(runner_id=runner.id, pool=pool.name, error=str(exc))
        emit(withheld, level=WARNING)
        return None


def _credential(world: World, pool: PoolConfig, runner: Runner, token: Token) -> Credential:
    wait = patience(pool, runner, token_expires_at=token.expires_at, at=world.clock())
    docker = None
    if pool.executor == "docker":
        docker = Docker(
            image=pool.docker.image,
            pull_policy=(pool.docker.pull_policy,),
            privileged=pool.docker.privileged,
            volumes=pool.docker.volumes + ((SOCKET,) if pool.docker.socket else ()),
            helper_image=pool.docker.helper_image,
            cpus=f"{pool.docker.cpus:g}" if pool.docker.cpus else None,
            memory=pool.docker.memory,
            registry_mirror=pool.docker.registry_mirror,
        )
    return Credential(
        runner_id=runner.id,
        pool=pool.name,
        url=world.config.gitlab.url,
        token=token.text,
        executor=pool.executor,
        wait_timeout_s=int(wait.total_seconds()),
        expires_at=runner.expires_at,
        name=runner.id,
        cache=_cache(world, pool, runner),
        tls_ca=world.tls_ca,
        proxy=world.config.gitlab.proxy,
        docker=docker,
        env=pool.env,
    )
