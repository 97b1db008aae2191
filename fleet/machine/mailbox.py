"""A machine's mailbox: credential, report, order.

Pure: values and the items they are written as. The fleet writes credentials and orders, the
machine takes its credential once and writes reports. Items hold text, whole numbers, booleans,
lists and maps only; the adapters turn them into DynamoDB's own form.

The secret parts of a credential are those that `repr` leaves out. They are one text of the item,
sealed for this mailbox; the rest is plain. A machine may write anything: the reader bounds it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from fleet.steps import Outcome, Step, bounded_text, whole_number
from fleet.times import HasUtcTimes, in_utc

Item = Mapping[str, Any]

CREDENTIAL, REPORT, ORDER = "credential", "report", "order"
BEATS = "beats"  # of a report: the mailbox counts them
REPORT_KEPT_S = 7 * 86_400  # a report outlives its machine this long, for `explain`
STEPS_READ = 40  # of a report, from its first; an honest machine writes about ten
SEALED = "sealed"


class Sealer(Protocol):
    """What only the fleet does: seals a text so that the machine of one mailbox can open it."""

    def seal(self, text: str, mailbox_id: str) -> str:
        """The sealed text. Raises `Transient` or `Refused`."""


class Opener(Protocol):
    """What only the machine of a mailbox does: opens what was sealed for it."""

    def open(self, sealed: str, mailbox_id: str) -> str:
        """The text. Raises `Transient`, or `Refused` for another mailbox's."""


class MachineState(StrEnum):
    """The state of a machine by its own report."""

    BOOTED = "booted"  # called home, has no credential yet
    IDLE = "idle"  # its runner asks GitLab for a job
    BUSY = "busy"
    DONE = "done"  # said goodbye


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheBucket(HasUtcTimes):
    """The bucket of the jobs' cache, and temporary keys for the objects of one project."""

    bucket: str
    region: str
    prefix: str  # of every object key
    server: str | None = None  # host[:port] when it is not AWS
    insecure: bool = False  # plain HTTP
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    keys_end_at: datetime

    def item(self) -> dict[str, Any]:
        """As written inside the credential, without its secrets."""
        return _plain_of(self) | {"keys_end_at": _write_time(self.keys_end_at)}

    @classmethod
    def of_item(cls, item: Item) -> "CacheBucket":
        """The cache that `item` and its secrets wrote. Raises `KeyError` without the keys' end."""
        attributes = {name: item[name] for name in cls.__slots__ if name in item}
        return cls(**attributes | {"keys_end_at": _read_time(item["keys_end_at"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """The docker executor's settings, in gitlab-runner's words."""

    image: str  # for jobs that name none
    pull_policy: tuple[str, ...] = ()  # tried in this order: always, if-not-present, never
    privileged: bool = False
    volumes: tuple[str, ...] = ()
    helper_image: str | None = None
    cpus: str | None = None  # of the job's container: "1.5"
    memory: str | None = None  # of the job's container: "2g"
    registry_mirror: str | None = None  # URL; jobs see it as FLEET_REGISTRY_MIRROR

    def item(self) -> dict[str, Any]:
        """As written inside the credential."""
        attributes = {name: getattr(self, name) for name in self.__slots__}
        lists = {"pull_policy": list(self.pull_policy), "volumes": list(self.volumes)}
        return _present(attributes | lists)

    @classmethod
    def of_item(cls, item: Item) -> "Docker":
        """The settings that `item` wrote."""
        attributes = {name: item[name] for name in cls.__slots__ if name in item}
        lists = {name: tuple(attributes.get(name, ())) for name in ("pull_policy", "volumes")}
        return cls(**(attributes | lists))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential(HasUtcTimes):
    """All that one machine needs to serve one job. Read once; the token is never printed."""

    runner_id: str
    pool: str
    url: str  # of GitLab
    token: str = field(repr=False)
    executor: str  # "shell" or "docker"
    wait_timeout_s: int  # the runner ends without a job after this
    expires_at: datetime  # the machine ends then, at work or not
    name: str  # how the runner calls itself in GitLab's job logs
    cache: CacheBucket | None = None
    docker: Docker | None = None
    env: Mapping[str, str] = field(default_factory=dict)  # of every job
    tls_ca: str | None = None  # PEM of the authority that GitLab's certificate is from
    proxy: str | None = None  # address of the proxy to GitLab

    def item(self, mailbox_id: str, sealer: Sealer) -> dict[str, Any]:
        """The whole item, its secrets sealed; DynamoDB forgets it when the machine has expired."""
        secrets = _secrets_of(self)
        if self.cache:
            secrets["cache"] = _secrets_of(self.cache)
        attributes = {
            "pk": mailbox_id,
            "sk": CREDENTIAL,
            SEALED: sealer.seal(json.dumps(secrets), mailbox_id),
            "runner_id": self.runner_id,
            "pool": self.pool,
            "url": self.url,
            "executor": self.executor,
            "wait_timeout_s": self.wait_timeout_s,
            "expires_at": _write_time(self.expires_at),
            "name": self.name,
            "ttl": int(self.expires_at.timestamp()),
            "cache": self.cache.item() if self.cache else None,
            "docker": self.docker.item() if self.docker else None,
            "env": dict(self.env) or None,
            "tls_ca": self.tls_ca,
            "proxy": self.proxy,
        }
        return _present(attributes)

    @classmethod
    def of_item(cls, item: Item, opener: Opener) -> "Credential":
        """The credential that `item` wrote. Raises `KeyError` when a part is missing."""
        secrets = json.loads(opener.open(item[SEALED], item["pk"]))
        cache = item.get("cache")
        return cls(
            runner_id=item["runner_id"],
            pool=item["pool"],
            url=item["url"],
            token=secrets["token"],
            executor=item["executor"],
            wait_timeout_s=int(item["wait_timeout_s"]),
            expires_at=_read_time(item["expires_at"]),
            name=item["name"],
            cache=CacheBucket.of_item({**cache, **secrets["cache"]}) if cache else None,
            docker=Docker.of_item(item["docker"]) if item.get("docker") else None,
            env=dict(item.get("env", {})),
            tls_ca=item.get("tls_ca"),
            proxy=item.get("proxy"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(HasUtcTimes):
    """A machine's report on itself. Written whole, except that steps are added to the list."""

    heartbeat_at: datetime
    state: MachineState
    runner_id: str | None = None  # unknown until the credential is read
    job_id: int | None = None
    outcome: Outcome | None = None
    detail: str | None = None
    steps: tuple[Step, ...] = ()
    beats: int = 0  # reports written into this mailbox; counted by it, not by the machine

    @property
    def mark(self) -> str:
        """Text that differs from report to report, also where the machine's clock stands still."""
        return f"{self.beats} {_write_time(self.heartbeat_at)}"

    def item(self) -> dict[str, Any]:
        """The attributes without the keys; `steps` holds only the new ones when writing."""
        attributes = {
            "runner_id": self.runner_id,
            "heartbeat_at": _write_time(self.heartbeat_at),
            "state": self.state.value,
            "job_id": self.job_id,
            "outcome": self.outcome.value if self.outcome else None,
            "detail": self.detail,
            "ttl": int(self.heartbeat_at.timestamp()) + REPORT_KEPT_S,
        }
        return _present(attributes) | {"steps": [step.item() for step in self.steps]}

    @classmethod
    def of_item(cls, item: Item) -> "Report":
        """The report that `item` wrote, within bounds. Raises as `Step.of_report` otherwise."""
        return cls(
            heartbeat_at=_read_time(item["heartbeat_at"]),
            state=MachineState(item["state"]),
            runner_id=bounded_text(item.get("runner_id")),
            job_id=whole_number(item.get("job_id")),
            outcome=Outcome(item["outcome"]) if item.get("outcome") else None,
            detail=bounded_text(item.get("detail")),
            steps=tuple(Step.of_report(step) for step in item.get("steps", ())[:STEPS_READ]),
            beats=whole_number(item.get(BEATS)) or 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(HasUtcTimes):
    """The fleet tells a machine to drain: take no new job, finish the one it has."""

    reason: str
    at: datetime
    order: str = "drain"

    def item(self, mailbox_id: str, *, expires_at: datetime) -> dict[str, Any]:
        """The whole item."""
        return {
            "pk": mailbox_id,
            "sk": ORDER,
            "order": self.order,
            "reason": self.reason,
            "at": _write_time(self.at),
            "ttl": int(expires_at.timestamp()),
        }

    @classmethod
    def of_item(cls, item: Item) -> "Order":
        """The order that `item` wrote."""
        return cls(order=item["order"], reason=item["reason"], at=_read_time(item["at"]))


def _secrets_of(part: Credential | CacheBucket) -> dict[str, Any]:
    return _present(
        {
            attribute.name: getattr(part, attribute.name)
            for attribute in fields(part)
            if not attribute.repr
        }
    )


def _plain_of(part: CacheBucket) -> dict[str, Any]:
    return _present(
        {
            attribute.name: getattr(part, attribute.name)
            for attribute in fields(part)
            if attribute.repr
        }
    )


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if value is not None}


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_time(text: str) -> datetime:
    return in_utc(datetime.fromisoformat(text))
