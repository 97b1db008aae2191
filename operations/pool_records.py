"""Each pool's own runner record in GitLab: what shows GitLab that the pool is there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.aws.secrets import PoolToken, SecretStore, pool_secret
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import GitLabRunner, NewRunner
from adapters.gitlab.wanted_record import wanted_record
from adapters.ledger.runners import RunnerRows
from fleet.config.model import PoolConfig, RunnersIn
from fleet.config.reading import FleetConfig
from fleet.errors import Refused
from fleet.model import RunnerState
from fleet.reasons import Reason
from fleet.rules.runner_record import RecordName, pool_record_name, read_record_name

FORBIDDEN = 403  # GitLab's word for a runner token that is not valid
NO_PROJECT = (
    "no pool shows in GitLab while it has no machine: a job that waits there for over an hour "
    'fails as stuck; name a project in [gitlab.watch], or use runners_in = "group:<number>"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChanges:
    """Which pools got a new record, and whose record was changed."""

    made: tuple[str, ...] = ()
    former: Mapping[str, int] = field(default_factory=dict)  # by pool: records that jobs run on
    updated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecords:
    """The runner records of pools, each with its token in a secret; see `pool_secret`."""

    secrets: SecretStore
    gitlab: GitLab
    prefix: str

    def keep(self, config: FleetConfig, *, project_id: int | None) -> RecordChanges:
        """Keep a record for each pool, with the pool's tags.

        `project_id`: the owner of the records where runners are made in the jobs' projects.
        """
        owner = config.gitlab.runners_in
        if owner.kind == "project" and owner.id is None:
            if project_id is None:
                return RecordChanges(notes=(NO_PROJECT,))
            owner = RunnersIn(kind="project", id=project_id)
        made, updated = [], []
        former: dict[str, int] = {}
        for pool in config.pools:
            wanted = wanted_record(pool, owner, pool_record_name(pool.name))
            secret, other_secret = self._names(pool)
            token = self.secrets.find_pool_token(secret)
            record = self.gitlab.runner(token.runner_id) if token else None
            if record is None or not _is_in_place(record, wanted) or not self._is_valid(token):
                if self._make(secret, pool.name, wanted, record) and record is not None:
                    former[pool.name] = record.id
                made.append(pool.name)
            elif not _is_as_wanted(record, wanted):
                self.gitlab.update_runner(record.id, wanted)
                updated.append(pool.name)
            stays = self._drop(other_secret, pool.name)  # from before a change of `protected_only`
            if stays is not None:
                former[pool.name] = stays
        return RecordChanges(made=tuple(made), former=former, updated=tuple(updated))

    def delete(self, pool: str) -> bool:
        """Delete the record and the token of this pool; whether there was a token."""
        was_stored = False
        for name in pool_secrets(self.prefix, pool):
            token = self.secrets.find_pool_token(name)
            if token is None:
                continue
            was_stored = True
            record = self.gitlab.runner(token.runner_id)
            if record is not None and _is_of_pool(record, pool):
                self.gitlab.delete_runner(record.id)
            self.secrets.delete_pool_token(name)
        return was_stored

    def _names(self, pool: PoolConfig) -> tuple[str, str]:
        """The pool's secret, and that of its other trust level."""
        names = [
            pool_secret(self.prefix, pool.name, is_protected=is_protected)
            for is_protected in (pool.protected_only, not pool.protected_only)
        ]
        return names[0], names[1]

    def _drop(self, name: str, pool: str) -> int | None:
        """Delete a secret and its record; the record's number where it stays, as jobs run on it."""
        token = self.secrets.find_pool_token(name)
        if token is None:
            return None
        stays = self._retire(self.gitlab.runner(token.runner_id), pool)
        self.secrets.delete_pool_token(name)
        return token.runner_id if stays else None

    def _is_valid(self, token: PoolToken | None) -> bool:
        """Whether GitLab knows the token; it may be expired or reset while its record is there."""
        try:
            if token is not None:
                self.gitlab.verify_runner(token.token)
        except Refused as exc:
            if exc.facts.get("status") != FORBIDDEN:
                raise
            return False
        return token is not None

    def _make(self, name: str, pool: str, wanted: NewRunner, before: GitLabRunner | None) -> bool:
        """Make a new record; delete the record before it unless a job runs there.

        Whether the record before it stays.
        """
        created = self.gitlab.create_runner(wanted)
        token = PoolToken(runner_id=created.id, token=created.token)
        self.secrets.store_pool_token(name, token)
        return self._retire(before, pool)

    def _retire(self, before: GitLabRunner | None, pool: str) -> bool:
        """Delete a record of the pool unless a job runs there; whether it stays."""
        if before is None or not _is_of_pool(before, pool):
            return False
        if self.gitlab.runner_jobs(before.id, status="running"):
            return True
        self.gitlab.delete_runner(before.id)
        return False


def pool_secrets(prefix: str, pool: str) -> tuple[str, str]:
    """The names of a pool's secrets, of both trust levels: a removed pool may have had either."""
    return (
        pool_secret(prefix, pool, is_protected=False),
        pool_secret(prefix, pool, is_protected=True),
    )


def end_pool(runners: RunnerRows, pool: str, *, at: datetime) -> bool:
    """Order the runners of a removed pool to end after their job; whether all are gone."""
    living = runners.live(pool)
    for runner in living:
        if runner.state is not RunnerState.DRAINING:
            runners.drain(runner, Reason.SURPLUS, at=at)
    return not living


def _is_of_pool(record: GitLabRunner, pool: str) -> bool:
    return read_record_name(record.description) == RecordName(pool=pool)


def _is_in_place(record: GitLabRunner, wanted: NewRunner) -> bool:
    """Whether it is the pool's record, and of the group or project that it should be of."""
    owners = {"group_type": record.group_ids, "project_type": record.project_ids}
    in_place = wanted.kind not in owners or wanted.owner_id in owners[wanted.kind]
    return (
        record.description == wanted.description and record.runner_type == wanted.kind and in_place
    )


def _is_as_wanted(record: GitLabRunner, wanted: NewRunner) -> bool:
    protected = record.access_level == "ref_protected"
    return (
        set(record.tags) == set(wanted.tags)
        and record.run_untagged == wanted.run_untagged
        and record.maximum_timeout_s == wanted.maximum_timeout_s
        and protected == wanted.protected_only
    )
