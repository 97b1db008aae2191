"""Puts a fleet.toml in force: runner records in GitLab, their tokens, watched projects, the text.

Every part may be repeated: it leaves what is right already.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from adapters.aws.secrets import SecretStore
from adapters.gitlab.client import GitLab
from adapters.gitlab.values import GitLabProject
from adapters.ledger.configuration import StoredConfig
from adapters.ledger.fleet import FleetRows
from adapters.ledger.runners import RunnerRows
from fleet.config.reading import FleetConfig, raw_tables, read_config
from fleet.config.values import duration_text
from fleet.errors import Refused
from fleet.job_event import instance_of
from operations.fleet_handle import Deployed
from operations.pool_records import PoolRecords, end_pool

# Reconcile routes the jobs of a removed pool again within minutes, as soon as GitLab answers.
REMEMBERED = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What `apply` changed, by the names of pools, and notes for the operator."""

    version: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    gitlab_changed: bool = False  # the table [gitlab]
    is_rewritten: bool = False  # the text differs, if only by a comment
    records_made: tuple[str, ...] = ()  # pools whose runner record is new in GitLab
    records_updated: tuple[str, ...] = ()
    records_deleted: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()  # removed pools that still have a runner; apply again later
    watched: tuple[str, ...] = ()  # paths of the projects that fleet.toml names
    notes: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether anything is different from before."""
        pools = (*self.added, *self.changed, *self.removed)
        records = (*self.records_made, *self.records_updated, *self.records_deleted)
        return bool(pools or records or self.gitlab_changed or self.is_rewritten)


def check_lambda_pools(config: FleetConfig, *, wall: timedelta, largest: str) -> None:
    """Raise `Refused` for a Lambda pool that the stack's functions do not serve.

    `wall`: when Lambda ends a runner; `largest`: the size of the largest function, such as "8GB".
    """
    for pool in config.pools:
        if pool.backend != "lambda":
            continue
        if _gigabytes(pool.size) > _gigabytes(largest):
            raise Refused(
                f"this stack's Lambda runners have up to {largest.upper()}, and pool {pool.name}"
                f" wants {pool.size}: choose a smaller size, or deploy with --parameter"
                f" LargestRunner={pool.size.lower()}"
            )
        if pool.max_lifetime > wall:
            seconds = int(pool.max_lifetime.total_seconds())
            raise Refused(
                f"Lambda ends this stack's runners after {duration_text(wall)}, and the"
                f" max_lifetime of pool {pool.name} is {duration_text(pool.max_lifetime)}: set it"
                f" lower, or deploy with --parameter LambdaTimeout={seconds}"
            )


def _gigabytes(size: str) -> int:
    return int(size.upper().removesuffix("GB"))


def apply_config(  # noqa: PLR0913  # one collaborator for each place that it writes to
    text: str,
    *,
    fleet: FleetRows,
    runners: RunnerRows,
    secrets: SecretStore,
    gitlab: GitLab,
    pool_secret_prefix: str,
    at: datetime,
    tls_ca: str | None = None,
) -> Applied:
    """Put the text of a fleet.toml in force and return what changed. `tls_ca`: its file's PEM.

    Raises `ConfigError` for a wrong text, before any change, and `Refused` or `Transient` of
    GitLab and AWS: the next run goes on where this one stopped.
    """
    config = read_config(text)
    stored = fleet.config()
    difference = _difference(stored, text)
    watched = _watch(config, fleet, gitlab, at)
    records = PoolRecords(secrets=secrets, gitlab=gitlab, prefix=pool_secret_prefix)
    records_changed = records.keep(config, project_id=watched[0].id if watched else None)
    for pool, record_id in records_changed.former.items():
        fleet.note_made(pool, record_id, at)
    for pool in records_changed.made:
        fleet.note_renewed(pool)
    leaving_pools = _leaving_pools(difference, stored, config)
    wanted = StoredConfig(
        text=text,
        version=config.version,
        applied_at=at,
        leaving=leaving_pools,
        removed=_removed(difference, stored, config, at),
        tls_ca=tls_ca,
    )
    fleet.store_config(wanted)
    ended = tuple(pool for pool in leaving_pools if end_pool(runners, pool, at=at))
    deleted = tuple(pool for pool in ended if records.delete(pool))
    remaining = replace(wanted, leaving=tuple(pool for pool in leaving_pools if pool not in ended))
    if remaining != wanted:
        fleet.store_config(remaining)
    _drop_holds_and_back_offs(fleet, config)
    fleet.forget_token_life()
    for trouble in fleet.troubles():
        fleet.drop_trouble(trouble.kind)  # the fleet tries the new configuration at once
    return replace(
        difference,
        version=config.version,
        gitlab_changed=difference.gitlab_changed
        or (stored is not None and stored.tls_ca != tls_ca),
        is_rewritten=stored is not None and stored.version != config.version,
        records_made=records_changed.made,
        records_updated=records_changed.updated,
        records_deleted=deleted,
        leaving=remaining.leaving,
        watched=tuple(project.path for project in watched),
        notes=records_changed.notes,
    )


def apply_to(deployed: Deployed, text: str, gitlab: GitLab, *, tls_ca: str) -> Applied:
    """Put the text in force on a deployed fleet: see `apply_config`. `tls_ca` may be empty."""
    instance = instance_of(read_config(text).gitlab.url)
    return apply_config(
        text,
        fleet=deployed.fleet,
        runners=RunnerRows(deployed.table, deployed.mailboxes, instance),
        secrets=deployed.secrets,
        gitlab=gitlab,
        pool_secret_prefix=deployed.pool_secret_prefix,
        at=deployed.clock(),
        tls_ca=tls_ca or None,
    )


def _difference(stored: StoredConfig | None, text: str) -> Applied:
    """The pools and tables in which the new text differs from the old text."""
    before = raw_tables(stored.text) if stored else {}
    after = raw_tables(text)
    old: Mapping[str, Any] = before.get("pools", {})
    new: Mapping[str, Any] = after["pools"]
    return Applied(
        version="",
        added=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and old[name] != new[name]),
        removed=tuple(name for name in old if name not in new),
        gitlab_changed=stored is not None and before.get("gitlab") != after["gitlab"],
    )


def _watch(
    config: FleetConfig, fleet: FleetRows, gitlab: GitLab, at: datetime
) -> tuple[GitLabProject, ...]:
    """Put the projects that the file names on the list of those whose pending jobs are read."""
    instance = instance_of(config.gitlab.url)
    projects = tuple(gitlab.project(name) for name in config.gitlab.watch.projects)
    for project in projects:
        fleet.watch(instance, project.id, project.path, at=at)
    return projects


def _leaving_pools(
    difference: Applied, stored: StoredConfig | None, config: FleetConfig
) -> tuple[str, ...]:
    """Removed pools, and those that still leave since an earlier `apply`."""
    before = stored.leaving if stored else ()
    leaving = [name for name in before if config.pool(name) is None]
    return tuple(dict.fromkeys([*difference.removed, *leaving]))


def _removed(
    difference: Applied, stored: StoredConfig | None, config: FleetConfig, at: datetime
) -> Mapping[str, datetime]:
    """The pools that were removed lately, by the time: jobs may still wait there."""
    before = stored.removed if stored else {}
    known = {
        name: since
        for name, since in before.items()
        if at - since < REMEMBERED and config.pool(name) is None
    }
    return dict.fromkeys(difference.removed, at) | known


def _drop_holds_and_back_offs(fleet: FleetRows, config: FleetConfig) -> None:
    """Drop holds and back-offs: the fleet asks AWS and GitLab again at once."""
    fleet.drop_holds()
    for pool in config.pools:
        fleet.forgive(pool.name)
